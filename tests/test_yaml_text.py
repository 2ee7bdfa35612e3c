"""One reader of YAML for recipes, tasks and prompts: the same care, the same lines, each its own kind of error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palmette.core.errors import MissingExtra, RecipeError, UsageError
from palmette.core.yaml_text import as_yaml, document
from palmette.prompts.files.prompt import parse_prompt
from palmette.prompts.files.task_file import load_task
from palmette.weights.recipe.document import documents

READERS: dict[str, Callable[[str, Path], Any]] = {
    "task": lambda text, home: load_task(_kept(home / "task.yaml", text)),
    "prompt": lambda text, home: parse_prompt(f"---\n{text}\n---\n{{{{question}}}}", "p.prompt.md"),
    "recipe": lambda text, home: documents(text),
}
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
WRONG = [
    ("x: 1\nb: 2\nx: 3", 3, "the key 'x' occurs twice"),
    ("x: 1\ny: {b: 1, b: 2}", 2, "the key 'b' occurs twice"),
    ("x: 1\ny: [1, 2", 2, "no YAML: expected ',' or ']'"),
    ("x: 1\ny: !!python/object:os.system []", 2, "no YAML: could not determine a constructor"),
    ("x: 1\ny: &a [*a]", 2, "nested more than 64 levels deep"),
    ("x: 1\n\ty: 2", 2, "no YAML: found character"),
    (BOMB, 6, "aliases write out to more than 200000 values"),
]


def _kept(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(("text", "line", "reason"), WRONG, ids=lambda v: str(v)[:16])
def test_what_is_wrong_is_told_with_the_line_of_the_file(
    kind: str, text: str, line: int, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        READERS[kind](text, tmp_path)
    assert f"line {line + (kind == 'prompt')}: {reason}" in str(caught.value)
    assert isinstance(caught.value, RecipeError) == (kind == "recipe")
    assert {"task": "task.yaml", "prompt": "p.prompt.md", "recipe": "recipe"}[kind] in str(caught.value)


def test_aliases_and_merge_keys_are_read_and_what_is_written_is_read_back() -> None:
    text = "base: &b {x: 1, y: [2]}\nmore: {<<: *b, x: 3}\nlist: *b\n"
    wanted = {"base": {"x": 1, "y": [2]}, "more": {"x": 3, "y": [2]}, "list": {"x": 1, "y": [2]}}
    assert document(text, "t") == wanted == document(as_yaml(wanted), "t")
    assert document("", "t") is None and document("---\n", "t") is None
    with pytest.raises(UsageError, match="2 documents"):
        document("a: 1\n---\nb: 2", "t")


def test_the_library_is_an_extra_and_each_reader_names_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match=r"palmette\[merge\]"):
        documents("a: 1")
    with pytest.raises(MissingExtra, match=r"palmette\[prompts\]"):
        document("a: 1", "t")
