"""A model folder as a merge sees it: config.json, where each tensor lies, and positioned reads that map nothing."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from palmette.core.checkpoint import TensorInfo
from palmette.core.errors import CorruptCheckpoint, ModelNotFound
from palmette.weights.blocks import Source
from palmette.weights.dtypes import Raw, storage
from palmette.weights.lora import Adapted, Adapter
from palmette.weights.recipe.schema import Reference

__all__ = ["EMBEDDING", "HEAD", "Fetch", "FileTensor", "Files", "Model", "local", "natural"]

Fetch = Callable[[str, str | None], Path]
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings|shared)\.weight$")
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.weight$")


def local(path: str, revision: str | None = None) -> Path:
    """The folder of that name.

    Raises:
        ModelNotFound: if there is none.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ModelNotFound(f"no folder {path!r} (a name on the Hugging Face Hub is fetched by 'palmette merge')")
    return folder


class Files:
    """Open files by path, shared by all threads; reads are positioned, so none disturbs another."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()

    def fill(self, path: Path, start: int, into: memoryview) -> None:
        """Exactly as many bytes as fit, from `start` on."""
        file = self._open.get(path, -1)
        if file < 0:
            with self._lock:
                if path not in self._open:
                    self._open[path] = os.open(path, os.O_RDONLY)
                file = self._open[path]
        while len(into):
            count = os.preadv(file, [into], start)
            if not count:
                raise CorruptCheckpoint(f"{path} ends before byte {start + len(into)}; did it change during the merge?")
            into, start = into[count:], start + count

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for file in self._open.values():
                os.close(file)
            self._open.clear()


@dataclass(frozen=True)
class FileTensor:
    """A source in a safetensors file."""

    info: TensorInfo
    files: Files

    @property
    def dtype(self) -> str:
        """As stored."""
        return self.info.dtype

    def read(self, start: int, stop: int) -> Raw:
        """See Source."""
        made = np.empty(stop - start, storage(self.info.dtype))
        self.fill(start, made)
        return made

    def fill(self, start: int, into: Raw) -> None:
        """Elements as stored from `start` on, into an array of their type."""
        if into.size:
            self.files.fill(self.info.file, self.info.start + start * into.itemsize, into.view(np.uint8).data)


@dataclass(frozen=True)
class Model:
    """One checkpoint of a merge."""

    reference: Reference
    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    files: Files = field(default_factory=Files)
    adapter: Adapter | None = None
    document: dict[str, Any] | None = None  # tokenizer.json of a model that is no folder (a stage)
    template: str | None = None  # its chat template
    words: Path | None = None  # the folder of its other tokenizer files

    def __str__(self) -> str:
        return str(self.reference)

    @property
    def text(self) -> dict[str, Any]:
        """The language model's part of the configuration."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @property
    def tied(self) -> bool:
        """True if the output head is the embedding: config.json says so, or there is no head."""
        head = any(HEAD.search(name) for name in self.tensors)
        said = self.config.get("tie_word_embeddings", self.text.get("tie_word_embeddings", not head))
        return bool(said) or not head

    @property
    def embedding(self) -> str | None:
        """The name of the token embedding."""
        return next((name for name in sorted(self.tensors) if EMBEDDING.search(name)), None)

    def find(self, name: str) -> str | None:
        """The stored tensor that plays the part of `name`: itself, or the embedding for a tied head."""
        if name in self.tensors and not (HEAD.search(name) and self.tied and self.embedding):
            return name
        return self.embedding if HEAD.search(name) and self.tied else None

    def origins(self) -> list[Model]:
        """The models on disk that this one is made of: itself."""
        return [self]

    def paths(self) -> list[Path]:
        """The weights files."""
        return sorted({info.file for info in self.tensors.values()})

    def close(self) -> None:
        """Close the weights files; a later read opens them again."""
        self.files.close()

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a stored tensor."""
        return self.tensors[name].shape

    def source(self, name: str) -> Source:
        """A stored tensor, with the adapter's change if there is one."""
        plain = FileTensor(self.tensors[name], self.files)
        change = self.adapter.change(name, self.tensors[name].shape) if self.adapter else None
        return plain if change is None else Adapted(plain, change)


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts layers by number: 2 before 10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]
