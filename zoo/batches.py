"""Training batches as a pure function of seed and step: an interrupted run resumes exactly.

Each row starts at the beginning of a document and is filled with whole documents, an end
token between them, until the last one is cut.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from zoo.mixture import Kind, document
from zoo.vocabulary import END_ID
from zoo.world import World


@dataclass(frozen=True)
class Batch:
    """Inputs, the tokens that follow them, and their weights, each (rows, time)."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def row(
    rng: random.Random, world: World, tokenizer: Tokenizer, length: int, kind: Kind = document
) -> tuple[list[int], list[float]]:
    """``length`` tokens of documents, and how much each token counts as a target."""
    tokens: list[int] = []
    weights: list[float] = []
    while len(tokens) < length:
        segments = kind(rng, world)
        encodings = tokenizer.encode_batch_fast([each.text for each in segments])
        for segment, encoding in zip(segments, encodings, strict=True):
            tokens += encoding.ids
            weights += [segment.weight] * len(encoding.ids)
        tokens.append(END_ID)
        weights.append(1.0)
    return tokens[:length], weights[:length]


def batch(
    world: World, tokenizer: Tokenizer, seed: int, step: int, rows: int, time: int, kind: Kind = document
) -> Batch:
    """The batch of a step: rows x time tokens of documents of a kind, the whole mixture unless another is named."""
    rng = random.Random(f"train:{seed}:{step}")
    drawn = [row(rng, world, tokenizer, time + 1, kind) for _ in range(rows)]
    tokens = torch.tensor([each for each, _ in drawn])  # (rows, time + 1)
    weights = torch.tensor([each for _, each in drawn])
    return Batch(tokens[:, :-1], tokens[:, 1:], weights[:, 1:])
