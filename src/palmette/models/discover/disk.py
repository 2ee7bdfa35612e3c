"""Weights that are already on this disk: where each program keeps them, and how they are run from here.

A store is a function from nothing to what it holds; a new one is a function and a line in STORES. Names of GGUF files
begin with their store: `gguf:ollama/qwen3:8b`, `gguf:lmstudio/OWNER/MODEL/FILE.gguf`, `gguf:llamacpp/FILE.gguf`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from palmette.core.errors import UnknownModel
from palmette.models.discover.found import Found, entries, folder_found, gguf_found, printable_name
from palmette.models.embedded import ZOO, zoo_folder

__all__ = ["STORES", "gguf_named", "on_disk"]

MANIFEST = 1 << 20  # bytes of one of Ollama's manifests
_WEIGHTS = "application/vnd.ollama.image.model"


def zoo() -> Iterator[Found]:
    """The models that ship with Palmette."""
    for name in ZOO:
        found = folder_found(f"zoo:{name}", "palmette", zoo_folder(name))
        if found is not None:
            yield found


def hub_cache() -> Iterator[Found]:
    """Hugging Face's cache: the snapshots that `main`, or the newest revision, stands for."""
    home = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
    for place in _folders(Path(home).expanduser(), "models--*"):
        name = place.name.removeprefix("models--").replace("--", "/", 1)
        snapshots = sorted(_folders(place / "snapshots", "*"), key=lambda p: p.stat().st_mtime, reverse=True)
        ref = place / "refs" / "main"
        if ref.is_file():
            chosen = place / "snapshots" / ref.read_text(encoding="utf-8").strip()[:64]
            snapshots = [chosen] if chosen in snapshots else snapshots
        if not snapshots or not printable_name(name):
            continue
        found = folder_found(f"hf:{name}", "Hugging Face", snapshots[0])
        if found is not None and (found.size or not any(snapshots[0].glob("*.gguf"))):
            yield found
        for file in sorted(snapshots[0].glob("*.gguf")):
            yield gguf_found(f"gguf:huggingface/{name}/{file.name}", "Hugging Face", file)


def ollama() -> Iterator[Found]:
    """Ollama's manifests, which lead to blobs in GGUF."""
    homes = [os.environ.get("OLLAMA_MODELS"), "~/.ollama/models", "/usr/share/ollama/.ollama/models"]
    home = next((p for h in homes if h and (p := Path(h).expanduser()).is_dir()), None)
    if home is None:
        return
    for manifest in entries(home / "manifests", ""):
        *owner, name, tag = manifest.relative_to(home / "manifests").parts
        shown = "/".join([*(part for part in owner[1:] if part != "library"), f"{name}:{tag}"])
        blob = _blob(home, manifest)
        if blob is not None and printable_name(shown):
            yield gguf_found(f"gguf:ollama/{shown}", "Ollama", blob)


def lm_studio() -> Iterator[Found]:
    """LM Studio's folders: OWNER/MODEL/FILE.gguf."""
    for home in ("~/.lmstudio/models", "~/.cache/lm-studio/models"):
        yield from _files(Path(home).expanduser(), "lmstudio", "LM Studio")


def llama_cpp() -> Iterator[Found]:
    """What llama.cpp's programs have fetched."""
    cache = os.environ.get("LLAMA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "llama.cpp"
    yield from _files(Path(cache).expanduser(), "llamacpp", "llama.cpp")


def own_folders() -> Iterator[Found]:
    """Folders and GGUF files in PALMETTE_MODELS (folders, separated as in PATH) and in the working directory."""
    places = [p for p in os.environ.get("PALMETTE_MODELS", "").split(os.pathsep) if p]
    for place in [Path("."), *(Path(p).expanduser() for p in places)]:
        shown = "./" if place == Path(".") else f"{place}/"
        for folder in [place, *_folders(place, "*")]:
            inner = "" if folder == place else folder.name
            found = folder_found(f"{shown}{inner}", "folder", folder)
            if found is not None and found.size:
                yield found
        for file in sorted(place.glob("*.gguf")) if place.is_dir() else []:
            yield gguf_found(f"{shown}{file.name}", "folder", file)


STORES: dict[str, Callable[[], Iterator[Found]]] = {
    "palmette": zoo,
    "huggingface": hub_cache,
    "ollama": ollama,
    "lmstudio": lm_studio,
    "llamacpp": llama_cpp,
    "folder": own_folders,
}


def on_disk() -> list[Found]:
    """Everything that the stores hold; a store that cannot be read holds nothing."""
    made: list[Found] = []
    for store in STORES.values():
        try:
            made += store()
        except OSError:
            continue
    return made


def gguf_named(name: str) -> Path:
    """The file behind `gguf:NAME`: a path, or a name that `palmette models` lists.

    Raises:
        UnknownModel: for neither.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    listed = {found.reference.removeprefix("gguf:"): found.path for found in on_disk() if found.format != "safetensors"}
    if name in listed:
        return listed[name]
    raise UnknownModel("GGUF file", name, listed, " Write gguf:FILE, or a name that palmette models lists.")


def _files(home: Path, store: str, source: str) -> Iterator[Found]:
    for file in entries(home, ".gguf"):
        name = file.relative_to(home).as_posix()
        if printable_name(name) and "mmproj" not in file.name:
            yield gguf_found(f"gguf:{store}/{name}", source, file)


def _folders(place: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in place.glob(pattern) if path.is_dir())
    except OSError:
        return []


def _blob(home: Path, manifest: Path) -> Path | None:
    """The weights that a manifest speaks of; a digest can name nothing outside the blobs."""
    try:
        if manifest.stat().st_size > MANIFEST:
            return None
        layers = json.loads(manifest.read_bytes()).get("layers", [])
        digest = next(row["digest"] for row in layers if row.get("mediaType") == _WEIGHTS)
        kind, colon, value = str(digest).partition(":")
    except (OSError, ValueError, AttributeError, KeyError, TypeError, StopIteration, RecursionError):
        return None
    if kind != "sha256" or not colon or len(value) != 64 or not value.isalnum():
        return None
    blob = home / "blobs" / f"sha256-{value}"
    return blob if blob.is_file() else None
