"""What is on this disk is found where each program keeps it, listed without being loaded, and run under its name."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny

from palmette.cli.main import main
from palmette.core.errors import UnknownModel
from palmette.core.gguf_write import write_gguf
from palmette.models.discover.disk import gguf_named, on_disk
from palmette.models.discover.found import Found
from palmette.models.local import local_model
from palmette.models.resolve import ZOO, folder_of, parse_reference


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it."""
    for name in ("HF_HUB_CACHE", "HF_HOME", "OLLAMA_MODELS", "LLAMA_CACHE", "XDG_CACHE_HOME", "PALMETTE_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(path, {"general.architecture": "llama", "llama.context_length": 64}, {"w": np.ones((4, 32))}, "F16")
    return path


def listed() -> dict[str, Found]:
    return {found.reference: found for found in on_disk()}


def test_a_bare_machine_has_the_zoo_alone() -> None:
    assert list(listed()) == [f"zoo:{name}" for name in ZOO]
    found = listed()["zoo:seedling"]
    assert (found.parameters, found.family, found.trouble) == (935_040, "llama", "")


def test_hugging_face_s_cache_is_read_and_its_models_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = home / ".cache" / "huggingface" / "hub"
    for name, rev in (
        ("models--o--m", "abc"),
        ("models--o--m", "old"),
        ("models--o--part", "x"),
        ("models--o--bin", "x"),
    ):
        folder = hub / name / "snapshots" / rev
        shutil.copytree(tiny.folder("llama"), folder)
    (hub / "models--o--m" / "refs").mkdir()
    (hub / "models--o--m" / "refs" / "main").write_text("abc")
    part, pickled = hub / "models--o--part" / "snapshots" / "x", hub / "models--o--bin" / "snapshots" / "x"
    (part / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    gguf(hub / "models--o--q" / "snapshots" / "x" / "m.Q8.gguf")
    (hub / "models--..--etc" / "snapshots" / "x").mkdir(parents=True)
    found = listed()
    assert found["hf:o/m"].path.name == "abc" and not found["hf:o/m"].trouble
    assert found["hf:o/part"].trouble == "it is not complete: model-2.safetensors is missing"
    assert found["hf:o/bin"].trouble == "its weights are pickled (pytorch_model.bin)"
    assert found["gguf:huggingface/o/q/m.Q8.gguf"].format == "F16"
    assert not any("etc" in name for name in found)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    assert gguf_named("huggingface/o/q/m.Q8.gguf").name == "m.Q8.gguf"


def test_ollama_s_manifests_lead_to_blobs_and_nowhere_else(home: Path) -> None:
    store = home / ".ollama" / "models"
    blob = gguf(store / "blobs" / "file")
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    blob.rename(store / "blobs" / f"sha256-{digest}")

    def manifest(place: str, digest: str, kind: str = "model") -> None:
        path = store / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        layer = {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": 1}
        path.write_text(json.dumps({"layers": [layer]}))

    manifest("registry.ollama.ai/library/qwen3/8b", f"sha256:{digest}")
    manifest("registry.ollama.ai/somebody/own/latest", f"sha256:{digest}")
    manifest("registry.ollama.ai/library/evil/1", "sha256:../../../../etc/passwd")
    manifest("registry.ollama.ai/library/adapter/1", f"sha256:{digest}", "adapter")
    (store / "manifests" / "registry.ollama.ai" / "library" / "broken").mkdir()
    (store / "manifests" / "registry.ollama.ai" / "library" / "broken" / "1").write_text("[" * 100_000)
    found = {name: row for name, row in listed().items() if row.source == "Ollama"}
    assert list(found) == ["gguf:ollama/qwen3:8b", "gguf:ollama/somebody/own:latest"]
    assert found["gguf:ollama/qwen3:8b"].parameters == 128 and found["gguf:ollama/qwen3:8b"].context == 64
    assert gguf_named("ollama/qwen3:8b") == store / "blobs" / f"sha256-{digest}"


def test_other_stores_and_own_folders_are_read(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf(home / ".lmstudio" / "models" / "o" / "m" / "m-Q4.gguf")
    gguf(home / ".lmstudio" / "models" / "o" / "m" / "mmproj.gguf")
    gguf(home / ".cache" / "llama.cpp" / "x.gguf")
    (home / ".cache" / "llama.cpp" / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    shutil.copytree(tiny.folder("llama"), tmp_path / "here" / "mine")
    shutil.copytree(tiny.folder("gpt2"), tmp_path / "store" / "theirs")
    monkeypatch.setenv("PALMETTE_MODELS", str(tmp_path / "store"))
    found = listed()
    assert {"gguf:lmstudio/o/m/m-Q4.gguf", "gguf:llamacpp/x.gguf", "./mine"} <= set(found)
    assert not any("mmproj" in name for name in found)
    assert found["gguf:llamacpp/broken.gguf"].trouble
    theirs = found[f"{tmp_path / 'store'}/theirs"]
    assert not theirs.trouble and local_model(theirs.reference, engine="numpy").engine.vocabulary > 0


def test_a_link_that_goes_in_circles_is_not_followed(home: Path) -> None:
    models = home / ".lmstudio" / "models"
    gguf(models / "o" / "m" / "m.gguf")
    (models / "o" / "m" / "again").symlink_to(models)
    assert [name for name in listed() if "lmstudio" in name] == ["gguf:lmstudio/o/m/m.gguf"]


def test_an_unknown_name_names_the_near_miss(home: Path) -> None:
    gguf(home / ".cache" / "llama.cpp" / "qwen.gguf")
    with pytest.raises(UnknownModel, match=r"Did you mean 'llamacpp/qwen\.gguf'"):
        gguf_named("llamacpp/qwne.gguf")


def test_the_command_lists_names_that_can_be_run(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert "zoo:seedling" in text and "935k" in text and "openai:MODEL  by OPENAI_API_KEY" in text
    assert "sk-very-secret" not in text
    assert main(["models", "--json", "seed"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["reference"] for row in report["weights"]] == ["zoo:seedling"]
    assert {"name": "openai", "key": "OPENAI_API_KEY"} in report["providers"]
    assert main(["models", "--of", "opnai"]) == 2 and "Did you mean 'openai'" in capsys.readouterr().err


def test_pulling_refuses_what_is_here_or_unsafe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "zoo:seedling"]) == 2 and "on this disk already" in capsys.readouterr().err
    assert main(["pull", "hf:o/m", "--file", "x.bin"]) == 2 and "pickled" in capsys.readouterr().err
    assert main(["pull", "hf:../x"]) == 2
    assert main(["pull", "hf:o/not-cached"]) == 1 and "not in the local cache" in capsys.readouterr().err
    assert folder_of(parse_reference("zoo:seedling")).is_dir()
