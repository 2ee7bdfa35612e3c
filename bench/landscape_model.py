"""A small GPT-2 trained on the Python files of the standard library: a landscape worth measuring, made in minutes.

    python bench/landscape_model.py FOLDER [--steps 600]

2 M parameters, a byte-level BPE of 1,024 tokens; the folder gets the model, checkpoints/STEP, train.txt and test.txt.
"""

from __future__ import annotations

import argparse
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

KEPT = (0, 25, 50, 100, 200, 300, 400, 500)  # steps whose checkpoints are written


def texts() -> list[str]:
    """Files of the standard library, in one fixed order."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [file.read_text(encoding="utf-8", errors="ignore") for file in files if file.stat().st_size > 2_000]


def tokenizer(documents: list[str], home: Path) -> Tokenizer:
    """Byte-level BPE in GPT-2's manner."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        documents,
        trainers.BpeTrainer(
            vocab_size=1024, special_tokens=["<|end|>"], show_progress=False, initial_alphabet=alphabet
        ),
    )
    made.save(str(home / "tokenizer.json"))
    return made


def train(home: Path, steps: int) -> None:
    """Train, and write what is measured."""
    home.mkdir(parents=True, exist_ok=True)
    documents = texts()
    test, documents = documents[::10], [text for i, text in enumerate(documents) if i % 10]
    (home / "test.txt").write_text("\n\n".join(test), encoding="utf-8")
    words = tokenizer(documents, home)
    stream = np.array([i for text in documents for i in [*words.encode(text).ids, 0]], np.int64)
    torch.manual_seed(0)
    sizes = {"n_layer": 4, "n_embd": 192, "n_head": 4, "vocab_size": 1024, "n_positions": 128}
    model = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0,
                                       bos_token_id=0, eos_token_id=0))  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
    draw, began = np.random.default_rng(0), time.monotonic()
    for step in range(steps + 1):
        if step in KEPT:
            model.save_pretrained(home / "checkpoints" / f"{step:04}")
        spots = draw.integers(0, len(stream) - 129, 8)
        ids = torch.from_numpy(np.stack([stream[i : i + 128] for i in spots]))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * max(0.02, 1 - step / (steps + 1))
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step:4}  loss {float(loss):.3f}  {time.monotonic() - began:.0f} s", flush=True)
    model.eval().save_pretrained(home)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    train(given.folder, given.steps)
