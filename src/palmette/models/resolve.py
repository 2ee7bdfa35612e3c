"""From a model reference to an engine: `zoo:NAME`, `hf:OWNER/NAME[@REVISION]`, a folder, or a GGUF file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from palmette.core.engine import Engine
from palmette.core.errors import BadParameter, MissingExtra, ModelNotFound, UnknownModel, UnsupportedArchitecture
from palmette.models.discover.disk import gguf_named
from palmette.models.embedded import ZOO, zoo_folder
from palmette.models.hub import snapshot
from palmette.models.remote.providers import PROVIDERS, is_remote

if TYPE_CHECKING:
    from palmette.weights.merge import Merge

__all__ = ["DEFAULT_MODEL", "Reference", "ZOO", "folder_of", "looks_like_model", "open_engine", "parse_reference"]

DEFAULT_MODEL = "zoo:seedling"
SCHEMES = ("zoo", "hf", "gguf")

EngineName = Literal["auto", "numpy", "torch", "gguf"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Reference:
    """A parsed model reference."""

    scheme: Literal["zoo", "hf", "folder", "gguf"]
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.name}{revision}" if self.scheme == "folder" else f"{self.scheme}:{self.name}{revision}"


def looks_like_model(text: str) -> bool:
    """True if `text` has the form of a reference, whether or not the model exists."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES and rest and (" " not in rest or scheme == "gguf"):
        return True
    if text.endswith(".gguf") and "\n" not in text and Path(text).expanduser().is_file():
        return True
    return text.startswith(("./", "../", "/", "~/")) and "\n" not in text and Path(text).expanduser().is_dir()


def parse_reference(text: str) -> Reference:
    """Read a reference.

    >>> parse_reference("hf:openai-community/gpt2@main")
    Reference(scheme='hf', name='openai-community/gpt2', revision='main')
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "zoo":
        if rest not in ZOO:
            raise UnknownModel("model in the zoo", rest, ZOO)
        return Reference("zoo", rest)
    if colon and scheme == "hf":
        name, _, revision = rest.partition("@")
        if not name or name.count("/") > 1 or any(part in ("", ".", "..") for part in name.split("/")):
            raise UnknownModel("hub repository", rest, [], " Write hf:OWNER/NAME or hf:OWNER/NAME@REVISION.")
        return Reference("hf", name, revision or None)
    if colon and scheme == "gguf":
        return _gguf_reference(rest)
    if text.endswith(".gguf"):
        if not Path(text).expanduser().is_file():
            raise ModelNotFound(f"no file {text!r}; palmette convert FOLDER FILE.gguf makes one")
        return Reference("gguf", str(Path(text).expanduser()))
    if Path(text).expanduser().is_dir():
        return Reference("folder", str(Path(text).expanduser()))
    if is_remote(text):
        raise UnknownModel("model on this machine", text, [], f" palmette.connect({text!r}) asks that provider's API.")
    hint = "Write zoo:seedling, hf:OWNER/NAME, PROVIDER:NAME, or the path of a model's folder or GGUF file."
    if colon and "/" not in scheme and "\\" not in scheme and len(scheme) > 1:
        raise UnknownModel("provider", scheme, [*SCHEMES, *PROVIDERS], f" In {text!r}. {hint}")
    if text.startswith((".", "/", "~")):
        raise ModelNotFound(f"no folder {text!r}. {hint}")
    raise UnknownModel("model", text, [f"zoo:{name}" for name in ZOO], f" {hint}")


def _gguf_reference(name: str) -> Reference:
    """A GGUF file: its path, the path of a folder that holds exactly one, or a name that `palmette models` lists."""
    path = Path(name).expanduser()
    if not path.is_dir():
        return Reference("gguf", str(gguf_named(name)))
    held = sorted(path.glob("*.gguf"))
    if len(held) != 1:
        raise ModelNotFound(f"the folder {name!r} holds {len(held)} GGUF files; name the one to open")
    return Reference("gguf", str(held[0]))


def open_engine(
    model: str | Path | Merge, *, engine: EngineName = "auto", dtype: Dtype = "float32", device: str = "cpu"
) -> Engine:
    """Load a model.

    Args:
        model: a reference, see `parse_reference`, a path, or a merge that need not be written.
        engine: "numpy" (Llama and GPT-2 families, no PyTorch), "torch" (any Hugging Face causal LM), "gguf" (a GGUF
            file, by llama.cpp), or "auto": gguf for such a file, numpy for the zoo, else torch where it is installed,
            else numpy.
        dtype: torch engine: the weights' precision; "auto" is the checkpoint's own. The numpy engine has float32.
        device: torch engine: "cpu", "cuda", "cuda:1", "mps" …
    """
    if engine not in ("auto", "numpy", "torch", "gguf"):
        raise BadParameter(f"engine must be auto, numpy, torch or gguf, not {engine!r}")
    if not isinstance(model, (str, Path)):
        from palmette.models.merged import open_merge

        return open_merge(model, _engine_for(engine), dtype, device)
    reference = parse_reference(str(model))
    if reference.scheme == "gguf" or engine == "gguf":
        return _gguf(reference, engine, dtype, device)
    folder = folder_of(reference)
    if engine == "auto":
        plain = dtype in ("float32", "auto") and device == "cpu"
        engine = "numpy" if (reference.scheme == "zoo" and plain) or not torch_installed() else "torch"
        if engine == "numpy" and not plain:
            raise MissingExtra(f"dtype={dtype!r} on device={device!r}", "torch")
        if engine == "numpy" and reference.scheme != "zoo":
            return _numpy_or_hint(folder)
    if engine == "numpy":
        if dtype not in ("float32", "auto") or device != "cpu":
            raise BadParameter(f"the numpy engine computes in float32 on the cpu, not {dtype} on {device}; use torch")
        return _numpy(folder)
    from palmette.models.engines import torch_engine

    return torch_engine.load(folder, dtype=dtype, device=device)


def _gguf(reference: Reference, engine: EngineName, dtype: Dtype, device: str) -> Engine:
    """A GGUF file, which has a precision of its own."""
    if reference.scheme != "gguf":
        raise BadParameter(f"the gguf engine opens GGUF files: palmette convert {reference} FILE.gguf makes one")
    if engine not in ("auto", "gguf"):
        raise BadParameter(f"{reference} is opened by the gguf engine, not by {engine}; leave the engine out")
    if dtype not in ("float32", "auto") or device != "cpu":
        raise BadParameter(f"a GGUF file has its own precision and runs on the cpu, not {dtype} on {device}")
    from palmette.models.engines import gguf_engine

    return gguf_engine.load(Path(reference.name))


def _engine_for(engine: EngineName) -> Literal["numpy", "torch"]:
    """torch where it is installed, else numpy, unless one is asked for."""
    if engine == "gguf":
        raise BadParameter("the gguf engine opens GGUF files; save the merge, then palmette convert FOLDER FILE.gguf")
    if engine != "auto":
        return engine
    return "torch" if torch_installed() else "numpy"


def _numpy(folder: Path) -> Engine:
    from palmette.models.engines import numpy_engine

    return numpy_engine.load(folder)


def _numpy_or_hint(folder: Path) -> Engine:
    try:
        return _numpy(folder)
    except UnsupportedArchitecture as error:
        raise UnsupportedArchitecture(
            f"{error}. The torch engine runs any Hugging Face causal LM: pip install 'palmette[torch]'"
        ) from error


def torch_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


def folder_of(reference: Reference) -> Path:
    """The folder of a reference.

    Raises:
        ModelNotFound: for a GGUF file, which is none.
    """
    if reference.scheme == "gguf":
        raise ModelNotFound(f"{reference} is a GGUF file; this needs a folder in Hugging Face format")
    if reference.scheme == "zoo":
        return zoo_folder(reference.name)
    if reference.scheme == "hf":
        return snapshot(reference.name, reference.revision)
    return Path(reference.name)
