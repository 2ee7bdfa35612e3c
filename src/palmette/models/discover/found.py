"""A model that was found on this disk, and how one folder or file is looked at: headers alone, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palmette.core.checkpoint import read_header, read_json
from palmette.core.errors import PalmetteError
from palmette.core.gguf import read_gguf_header

__all__ = ["Found", "entries", "folder_found", "gguf_found", "printable_name"]

DEEPEST = 4  # folders within a folder that is searched
MOST = 20_000  # entries of it that are looked at


@dataclass(frozen=True)
class Found:
    """A model on this disk.

    Args:
        reference: what `palmette run` calls it.
        source: whose store it lies in.
        path: the folder or file.
        size: bytes of its weights.
        family: the architecture.
        parameters: how many, 0 if that is not told.
        format: "safetensors" or a GGUF quantisation.
        context: the longest context in tokens, 0 if that is not told.
        trouble: why it cannot be run, or an empty text.
    """

    reference: str
    source: str
    path: Path
    size: int
    family: str = ""
    parameters: int = 0
    format: str = ""
    context: int = 0
    trouble: str = ""


def gguf_found(reference: str, source: str, path: Path) -> Found:
    """A GGUF file; one that is broken is listed with what is wrong."""
    size = path.stat().st_size
    try:
        header = read_gguf_header(path)
    except (PalmetteError, OSError) as error:
        return Found(reference, source, path, size, trouble=str(error))
    return Found(reference, source, path, size, header.architecture, header.parameters, header.quantisation,
                 header.context_length)  # fmt: skip


def folder_found(reference: str, source: str, folder: Path) -> Found | None:
    """A folder in Hugging Face format, or None if it is none."""
    if not (folder / "config.json").is_file():
        return None
    weights = sorted(folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in weights if file.exists())
    try:
        config = read_json(folder / "config.json")
        trouble = _trouble(folder, weights)
        parameters = 0 if trouble else sum(_count(file) for file in weights)
    except (PalmetteError, OSError) as error:
        return Found(reference, source, folder, size, format="safetensors", trouble=str(error))
    return Found(reference, source, folder, size, _family(config), parameters, "safetensors", _context(config), trouble)


def entries(folder: Path, ending: str) -> Iterator[Path]:
    """Files of a name's ending below a folder, in order; bounded, and no link to a folder is followed."""
    left = MOST
    waiting = [(folder, 0)]
    while waiting and left > 0:
        place, depth = waiting.pop(0)
        try:
            rows = sorted(place.iterdir())
        except OSError:
            continue
        for row in rows:
            left -= 1
            if row.is_dir() and not row.is_symlink():
                if depth < DEEPEST and not row.name.startswith("."):
                    waiting.append((row, depth + 1))
            elif row.name.endswith(ending) and row.is_file():
                yield row


def printable_name(text: str) -> bool:
    """Whether a name is fit to be shown and to be a reference."""
    return bool(text) and text.isprintable() and ".." not in text.split("/") and not text.startswith("/")


def _trouble(folder: Path, weights: list[Path]) -> str:
    if not weights:
        pickled = next(folder.glob("*.bin"), None)
        return f"its weights are pickled ({pickled.name})" if pickled else "it has no safetensors weights"
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(name for name in wanted if not (folder / str(name)).exists())
        if missing:
            return f"it is not complete: {missing[0]} is missing"
    if not (folder / "tokenizer.json").is_file():
        return "it has no tokenizer.json"
    return ""


def _count(file: Path) -> int:
    total = 0
    for info in read_header(file).values():
        size = 1
        for length in info.shape:
            size *= length
        total += size
    return total


def _family(config: dict[str, Any]) -> str:
    kind = config.get("model_type")
    return kind if isinstance(kind, str) else ""


def _context(config: dict[str, Any]) -> int:
    for key in ("max_position_embeddings", "n_positions", "n_ctx"):
        if isinstance(config.get(key), int):
            return int(config[key])
    return 0
