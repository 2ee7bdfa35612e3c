"""The gguf engine against llama.cpp's own loop and `transformers.generate`, on the same weights, in one run, as ratios.

A random-weight Llama of 125 million parameters in bfloat16; all sides take turns, and medians are compared: of
wall-clock, and of processor seconds, which say more on a machine that does other things, too (there, take one thread:
threads that wait for each other burn time). Both sides' greedy tokens are compared.
Run: python bench/gguf.py [--rounds N] [--threads N] [--dtype f16|bf16|f32|q8_0] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import ctypes
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def weights(folder: Path, quick: bool) -> None:
    """125 M parameters (quick: 19 M) in bfloat16, with a small tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import tiny

    torch.manual_seed(0)
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    sizes = dict(zip(names, (256, 4, 512, 4) if quick else (768, 12, 2048, 12), strict=True))
    config = LlamaConfig(
        vocab_size=32_000, num_key_value_heads=4, max_position_embeddings=2048, eos_token_id=None, bos_token_id=None,
        pad_token_id=0, **sizes,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
    model.to(torch.bfloat16).save_pretrained(folder)
    tiny.byte_level(folder)


class Loop:
    """llama.cpp's own generation loop: its decode and its greedy sampler in C, nothing of ours between."""

    def __init__(self, path: Path) -> None:
        from palmette.models.engines.gguf_library import Context, Model, library

        self.library = library()
        self.library.llama_sampler_init_greedy.restype = ctypes.c_void_p
        self.library.llama_sampler_sample.restype = ctypes.c_int32
        self.library.llama_sampler_sample.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32]
        self.model = Model(path)
        self.context = Context(self.model, 1024, 1, 64, False)
        self.sampler = self.library.llama_sampler_init_greedy()

    def __call__(self, prompt: list[int], new: int) -> list[int]:
        held, made = self.context, list[int]()
        held.cut(0, -1)
        size = len(prompt)
        held.token[:size], held.position[:size], held.output[: size - 1], held.output[size - 1] = (
            prompt,
            range(size),
            0,
            1,
        )
        held.sequence[:size] = 0
        held.decode(size)
        while True:
            made.append(self.library.llama_sampler_sample(self.sampler, held.pointer, -1))
            if len(made) == new:
                return made
            held.token[0], held.position[0], held.output[0] = made[-1], size + len(made) - 1, 1
            held.decode(1)


def measured(actions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each, (wall-clock, processor); they take turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(rounds):
        for name, action in actions.items():
            wall, busy = time.perf_counter(), time.process_time()
            action()
            found[name].append((time.perf_counter() - wall, time.process_time() - busy))
    return {
        name: tuple(statistics.median(column) for column in zip(*times, strict=True)) for name, times in found.items()
    }


def row(label: str, ours: tuple[float, float], theirs: tuple[float, float], goal: str) -> None:
    """One comparison."""
    print(
        f"{label:58} {ours[0]:8.3f} {theirs[0]:8.3f} {theirs[0] / ours[0]:7.2f} {theirs[1] / ours[1]:9.2f}   {goal}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="f16")
    parser.add_argument("--quick", action="store_true", help="a 19 M model: a smoke test, not a measurement")
    parser.add_argument("--profile", action="store_true", help="where our own time goes")
    parser.add_argument("--no-torch", action="store_true", help="leave transformers out")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    from palmette.models.engines import gguf_engine
    from palmette.tokens.decode import Plan, decode_together
    from palmette.tokens.strategies import greedy, sample
    from palmette.weights.gguf.convert import convert

    home = tempfile.TemporaryDirectory(prefix="palmette-bench-")
    folder = Path(home.name) / "model"
    weights(folder, args.quick)
    path = convert(folder, Path(home.name) / "model.gguf", args.dtype).path
    engine, loop = gguf_engine.load(path), Loop(path)
    rng = np.random.default_rng(0)
    short, medium = ([int(t) for t in rng.integers(1, 32_000, n)] for n in (32, 256))

    def ours(prompt: list[int], new: int, count: int = 0) -> list[list[int]]:
        plans = [Plan(sample(), (), str(i), i) for i in range(count)] or [Plan(greedy())]
        done = decode_together(engine, prompt, plans, max_tokens=new, trace=False).run()
        return [list(answers[0].tokens) for answers in done.all_answers]

    new = 48
    same = ours(short, new)[0], loop(short, new)
    print(
        f"{args.dtype}, {args.threads} threads, median of {args.rounds}; "
        f"greedy tokens equal to the loop's: {same[0] == same[1]}"
    )
    actions: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(short, new),
        "loop": lambda: loop(short, new),
        "ours, 8 together": lambda: ours(medium, 24, 8),
        "ours, 8 alone": lambda: [ours(medium, 24, 1) for _ in range(8)],
        "loop, 8 alone": lambda: [loop(medium, 24) for _ in range(8)],
    }
    if not args.no_torch:
        actions["generate"] = generating(folder, short, new, args.threads)
        pairs = list(zip(ours(short, new)[0], actions["generate"](), strict=True))
        equal = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        print(f"first tokens equal to generate's, until rounding decides a near tie: {equal} of {len(pairs)}")
    found = measured(actions, args.rounds)
    print(f"{'':58} {'ours, s':>8} {'other, s':>8} {'ratio':>7} {'processor':>9}   goal")
    row("greedy, prompt 32, 48 new: llama.cpp's own loop", found["ours"], found["loop"], ">= 0.95")
    if not args.no_torch:
        row("greedy, prompt 32, 48 new: transformers.generate in bf16", found["ours"], found["generate"], ">= 2.5")
    row(
        "8 samples of 24 from one prompt of 256: eight runs of ours",
        found["ours, 8 together"],
        found["ours, 8 alone"],
        ">= 2.5",
    )
    row(
        "8 samples of 24 from one prompt of 256: eight of the loop",
        found["ours, 8 together"],
        found["loop, 8 alone"],
        ">= 2.5",
    )
    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(ours, short, 200)
        pstats.Stats(profile).sort_stats("tottime").print_stats(14)


def generating(folder: Path, prompt: list[int], new: int, threads: int) -> Callable[[], list[int]]:
    """`transformers.generate` on the folder's bfloat16 weights."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    ids = torch.tensor([prompt])

    def run() -> list[int]:
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                pad_token_id=0,
                do_sample=False,
            )
        return out[0, len(prompt) :].tolist()

    return run


if __name__ == "__main__":
    main()
