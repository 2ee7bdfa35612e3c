"""The house: layers, cycles, sizes of files, lazy imports, tables that are the single source, and docs that run."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

import palmette
from palmette.cli.main import VERBS
from palmette.cli.main import palmette as command
from palmette.core.engine import Strategy
from palmette.prompts.techniques import TECHNIQUES
from palmette.tokens import strategies, views
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.views import VIEWS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "palmette"
FILES = sorted(SOURCE.rglob("*.py"))
LAYERS = {"core": 0, "tokens": 1, "prompts": 1, "weights": 1, "knowledge": 2, "models": 3, "serve": 4, "cli": 5}
HEAVY = {"torch", "transformers", "matplotlib", "numpy", "rich", "tokenizers", "safetensors", "huggingface_hub"}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every palmette module a file imports, lazy imports included, type-checking ones left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    known = {module_of(f) for f in FILES}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {full if (full := f"{node.module}.{alias.name}") in known else node.module for alias in node.names}
    return {name for name in found if name.startswith("palmette")}


def test_imports_go_down_the_layers_only() -> None:
    for path in FILES:
        parts = path.relative_to(SOURCE).parts
        if parts[0] not in LAYERS:
            continue
        for name in imports_of(path):
            target = name.split(".")[1] if "." in name else ""
            if target in LAYERS:
                down = LAYERS[target] < LAYERS[parts[0]] or target == parts[0]
                assert down, f"{path} imports {name}"


def test_there_is_no_import_cycle_lazy_imports_included() -> None:
    graph = {module_of(p): imports_of(p) for p in FILES}
    done: set[str] = set()

    def visit(name: str, above: Sequence[str]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, [*above, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_fits_one_sitting_and_opens_with_its_purpose(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_palmette_loads_no_library() -> None:
    assert not loaded_after("import palmette") & HEAVY


def test_help_loads_no_array_library() -> None:
    statement = "from palmette.cli.main import main\nimport contextlib, io\n"
    statement += "with contextlib.redirect_stdout(io.StringIO()):\n    main(['--help'])"
    assert not loaded_after(statement) & (HEAVY - {"rich"})


def test_using_the_toy_loads_no_torch() -> None:
    assert "torch" not in loaded_after("import palmette; palmette.model('zoo:seedling', max_tokens=2)('Once')")


def test_public_names_resolve_and_are_listed_once() -> None:
    assert sorted(palmette.__all__) == sorted({*palmette._WHERE, "__version__"})
    for name in palmette.__all__:
        assert getattr(palmette, name) is not None
    assert set(STRATEGIES) | set(VIEWS) <= set(palmette.__all__)
    assert set(STRATEGIES) <= set(strategies.__all__) and set(VIEWS) <= set(views.__all__)
    with pytest.raises(AttributeError, match="Did you mean 'greedy'"):
        _ = palmette.gredy


def test_a_new_strategy_is_found_on_every_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(times: int = 2) -> Strategy:
        """Say nothing new.

        Args:
            times: how often.
        """
        return strategies.greedy()

    monkeypatch.setitem(STRATEGIES, "echo", echo)  # type: ignore[arg-type]
    run = CliRunner().invoke
    assert "echo(times=2)" in run(command, ["strategies"]).output
    assert "how often." in run(command, ["strategies", "echo"]).output
    done = run(command, ["run", "Once", "--strategy", "echo:3", "--max-tokens", "3", "--json"])
    assert '"strategy": "echo:3"' in done.output


@pytest.mark.parametrize("name", [*STRATEGIES, *VIEWS, *TECHNIQUES, *VERBS])
def test_the_readme_names_everything_that_can_be_named(name: str) -> None:
    assert re.search(rf"\b{name}\b", (ROOT / "README.md").read_text())


def test_the_readme_python_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("math", "code", "base"):  # the models that it merges
        shutil.copytree(SOURCE / "models" / "zoo" / "seedling", tmp_path / name)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 9
    for block in blocks:
        exec(compile(block, "README.md", "exec", dont_inherit=True), {})  # noqa: S102 - our own README
