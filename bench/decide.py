"""Decisions on one model: all questions in one pass, one after another, and transformers' decision pipeline, as ratios.

A random-weight Llama (quick: small) with the embedded model's tokenizer and a chat template. transformers asks for
single letters, question after question; Palmette for whole options of any number of tokens. They take turns; medians.
Run: OMP_NUM_THREADS=2 python bench/decide.py [--rounds N] [--questions N] [--quick]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.decision import DecisionConfig
from transformers.pipelines import DecisionPipeline

import palmette
from palmette.core.decision import questions_of
from palmette.models.remote.wires.decisions import DECIDERS

SEEDLING = Path(palmette.__file__).parent / "models" / "zoo" / "seedling"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def folder(place: Path, quick: bool) -> Path:
    """A model folder: random weights, the seedling's tokenizer, a chat template."""
    vocabulary = int(json.loads((SEEDLING / "config.json").read_text())["vocab_size"])
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 512} if quick else {
        "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048}  # fmt: skip
    heads = 4 if quick else 12
    config = LlamaConfig(
        vocab_size=vocabulary, num_attention_heads=heads, num_key_value_heads=4, max_position_embeddings=4096, **sizes
    )
    LlamaForCausalLM(config).eval().save_pretrained(place)
    shutil.copy(SEEDLING / "tokenizer.json", place)
    (place / "chat_template.jinja").write_text(TEMPLATE)
    return place


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--questions", type=int, default=16)
    options.add_argument("--quick", action="store_true")
    given = options.parse_args()
    kinds: list[Any] = [bool, Literal["very happy", "sad", "so so"], range(1, 6)]
    asked = {f"question number {i}": kinds[i % 3] for i in range(given.questions)}
    state = "Runa is a baker who lives by the sea. Today she has sold all her bread and sings on her way home. " * 8
    with tempfile.TemporaryDirectory() as temporary:
        place = folder(Path(temporary), given.quick)
        model = palmette.model(str(place), engine="torch")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(place / "tokenizer.json"))
        tokenizer.chat_template = TEMPLATE
        labels = DecisionConfig(labels={"noul": ["Y", "N"]})
        theirs = DecisionPipeline(
            model=LlamaForCausalLM.from_pretrained(place), tokenizer=tokenizer, decision_config=labels
        )
        body = DECIDERS["systemone"].encode("m", state, questions_of(asked))
        request = {"state": body["state"], "questions": body["questions"]}
        runs: dict[str, Callable[[], Any]] = {
            "palmette, together": lambda: palmette.decide(model, state, asked),
            "palmette, one by one": lambda: [palmette.decide(model, state, {k: v}) for k, v in asked.items()],
            "transformers pipeline": lambda: theirs(request),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(given.rounds + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if number:
                    times[name].append(time.perf_counter() - start)
        length = len(model.engine.tokenizer.encode(state))
    medians = {name: statistics.median(found) for name, found in times.items()}
    first = medians["palmette, together"]
    print(f"{given.questions} questions about a state of {length} tokens, medians of {given.rounds}")
    for name, median in medians.items():
        print(f"{name:24} {median * 1000:9.1f} ms   {median / first:6.2f} ×")


if __name__ == "__main__":
    main()
