"""The tokenizer: byte-level BPE of 1,024 pieces, digits one by one, so that any UTF-8 text
survives a round trip and numbers are read digit by digit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from zoo.mixture import document
from zoo.world import World

VOCABULARY = 1024
DOCUMENTS = 12_000
END, PAD = "<|end|>", "<|pad|>"
END_ID, PAD_ID = 0, 1


def texts(world: World, seed: int, number: int) -> Iterator[str]:
    """Generated documents as plain text."""
    rng = random.Random(f"vocabulary:{seed}")
    for _ in range(number):
        yield "".join(segment.text for segment in document(rng, world))


def train_tokenizer(world: World, seed: int = 0) -> Tokenizer:
    """The tokenizer of the seed; ``<|end|>`` is 0 and separates documents."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(world, seed, DOCUMENTS), trainer)
    return tokenizer
