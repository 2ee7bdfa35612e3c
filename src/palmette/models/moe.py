"""What a model makes of prompts, layer by layer: the gates of a mixture of experts are set by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from palmette.models.resolve import open_engine
from palmette.weights.create.moe import Floats, States

__all__ = ["states_of"]


def states_of(folder: str | Path) -> States:
    """The states that enter each layer at a prompt's last token: prompts -> float32[prompts, layers, width].

    The model is loaded when it is first asked.
    """

    def states(prompts: Sequence[str]) -> Floats:
        engine = open_engine(folder)
        nodes = engine.prefill([engine.tokenizer.encode(prompt) for prompt in prompts], hidden=True)
        return np.stack([node.layers[:-1] for node in nodes])  # the last is what leaves the last layer

    return states
