"""The numpy engine: Llama and GPT-2 families on safetensors, without PyTorch, readable next to the papers.

It is the reference that the torch engine is held to, and what runs the embedded models.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import Checkpoint, open_checkpoint, read_config, refuse_remote_code
from palmette.core.engine import Tokenizer
from palmette.core.errors import UnsupportedArchitecture
from palmette.models.engines.batch import Batch, Output
from palmette.models.engines.gpt2 import GPT2
from palmette.models.engines.llama import Llama
from palmette.models.engines.tokenizer import FileTokenizer, eos_tokens
from palmette.models.engines.tree import TreeEngine

__all__ = ["FAMILIES", "NumpyEngine", "load"]

Floats = NDArray[np.float32]


class Decoder(Protocol):
    """A transformer's arithmetic: blocks over a packed row, given where keys and values are kept."""

    layers: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context_length: int

    def run(self, batch: Batch, keys: list[Floats], values: list[Floats]) -> list[Floats]:
        """States before the first block, after each block, and after the final norm: layers + 1 of float32[P, width].

        The last block's state is given after the final norm, as transformers reports it.
        """
        ...

    def head(self, states: Floats) -> Floats:
        """float32[n, width] -> float32[n, vocabulary]."""
        ...


FAMILIES: dict[str, Callable[[dict[str, Any], Checkpoint], Decoder]] = {
    "llama": Llama,
    "mistral": Llama,
    "qwen2": Llama,
    "qwen3": Llama,
    "gpt2": GPT2,
}


class NumpyEngine(TreeEngine):
    """A decoder in numpy with tree attention. Computes in float32 whatever the file holds."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, eos: frozenset[int]) -> None:
        self.decoder = decoder
        self._keys: list[Floats] = []
        self._values: list[Floats] = []
        super().__init__(tokenizer, eos, decoder.context_length, decoder.vocabulary)

    @property
    def slot_bytes(self) -> int:
        """Bytes of keys and values that one slot takes."""
        d = self.decoder
        return 2 * 4 * d.layers * d.kv_heads * d.head_size

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots."""
        d = self.decoder
        for store in (self._keys, self._values):
            grown = [np.zeros((d.kv_heads, capacity, d.head_size), np.float32) for _ in range(d.layers)]
            for old, new in zip(store, grown, strict=False):
                new[:, : old.shape[1]] = old
            store[:] = grown

    def forward(self, batch: Batch) -> Output:
        """One pass over a packed row."""
        states = self.decoder.run(batch, self._keys, self._values)
        rows = batch.rows
        logits = self.decoder.head(states[-1][rows])
        if not batch.hidden:
            return Output(logits)
        return Output(logits, states[-1], np.stack([s[rows] for s in states], axis=1))

    def project(self, hidden: Floats) -> Floats:
        """Hidden states through the output head."""
        return self.decoder.head(hidden)


def load(folder: Path, weights: Checkpoint | None = None) -> NumpyEngine:
    """Load a model folder of a known family; `weights` stand for its own."""
    config = read_config(folder)
    kind = config.get("model_type")
    refuse_remote_code(folder, config, FAMILIES)
    if kind not in FAMILIES:
        raise UnsupportedArchitecture(
            f"{folder}: the numpy engine knows {', '.join(FAMILIES)}, not the architecture {kind!r}"
        )
    weights = open_checkpoint(folder) if weights is None else weights
    decoder = FAMILIES[kind](config, weights)
    return NumpyEngine(decoder, FileTokenizer(folder), eos_tokens(folder, config, decoder.vocabulary))
