"""From a model reference to an engine: `zoo:NAME`, `hf:OWNER/NAME[@REVISION]`, or a folder."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from palmette.core.engine import Engine
from palmette.core.errors import BadParameter, MissingExtra, ModelNotFound, UnknownModel, UnsupportedArchitecture
from palmette.models.hub import snapshot
from palmette.models.remote.providers import PROVIDERS, is_remote

if TYPE_CHECKING:
    from palmette.weights.merge import Merge

__all__ = ["DEFAULT_MODEL", "Reference", "ZOO", "folder_of", "looks_like_model", "open_engine", "parse_reference"]

DEFAULT_MODEL = "zoo:seedling"
ZOO = {"seedling": "a toy Llama of 0.9 million parameters that ships with Palmette"}
SCHEMES = ("zoo", "hf")

EngineName = Literal["auto", "numpy", "torch"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Reference:
    """A parsed model reference."""

    scheme: Literal["zoo", "hf", "folder"]
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.name}{revision}" if self.scheme == "folder" else f"{self.scheme}:{self.name}{revision}"


def looks_like_model(text: str) -> bool:
    """True if `text` has the form of a reference, whether or not the model exists."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES and rest and " " not in rest:
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
    if Path(text).expanduser().is_dir():
        return Reference("folder", str(Path(text).expanduser()))
    if is_remote(text):
        raise UnknownModel("model on this machine", text, [], f" palmette.connect({text!r}) asks that provider's API.")
    hint = "Write zoo:seedling, hf:OWNER/NAME, PROVIDER:NAME, or the path of a model's folder."
    if colon and "/" not in scheme and "\\" not in scheme and len(scheme) > 1:
        raise UnknownModel("provider", scheme, [*SCHEMES, *PROVIDERS], f" In {text!r}. {hint}")
    if text.startswith((".", "/", "~")):
        raise ModelNotFound(f"no folder {text!r}. {hint}")
    raise UnknownModel("model", text, [f"zoo:{name}" for name in ZOO], f" {hint}")


def open_engine(
    model: str | Path | Merge, *, engine: EngineName = "auto", dtype: Dtype = "float32", device: str = "cpu"
) -> Engine:
    """Load a model.

    Args:
        model: a reference, see `parse_reference`, a folder's path, or a merge that need not be written.
        engine: "numpy" (Llama and GPT-2 families, no PyTorch), "torch" (any Hugging Face causal LM), or "auto": numpy
            for the zoo, else torch where it is installed, else numpy.
        dtype: torch engine: the weights' precision; "auto" is the checkpoint's own. The numpy engine has float32.
        device: torch engine: "cpu", "cuda", "cuda:1", "mps" …
    """
    if engine not in ("auto", "numpy", "torch"):
        raise BadParameter(f"engine must be auto, numpy or torch, not {engine!r}")
    if not isinstance(model, (str, Path)):
        from palmette.models.merged import open_merge

        return open_merge(model, _engine_for(engine), dtype, device)
    reference = parse_reference(str(model))
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


def _engine_for(engine: EngineName) -> Literal["numpy", "torch"]:
    """torch where it is installed, else numpy, unless one is asked for."""
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
    if reference.scheme == "zoo":
        return Path(str(resources.files("palmette.models") / "zoo" / reference.name))
    if reference.scheme == "hf":
        return snapshot(reference.name, reference.revision)
    return Path(reference.name)
