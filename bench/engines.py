"""The torch engine against `transformers.generate` on the same weights, in one run, as ratios.

A random-weight Llama of about 125 million parameters; every pair takes turns and the medians are compared. Both sides
produce the same tokens (checked). A second table compares scores with plain forward passes for tiny models of many
architectures. Run: python bench/engines.py [--rounds N] [--threads N] [--device cuda]
[--quick]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from palmette.core.engine import Strategy, View
from palmette.models.engines.torch_engine import TorchEngine
from palmette.models.engines.tree import TreeEngine
from palmette.tokens.decode import Plan, decode_together
from palmette.tokens.matrix import LetterTokenizer
from palmette.tokens.strategies import beam, greedy, sample
from palmette.tokens.views import temperature, top_k


def big(quick: bool) -> LlamaForCausalLM:
    """125 M parameters (quick: 19 M), scores spread so that beams do not tie."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 512} if quick else {
        "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048}  # fmt: skip
    config = LlamaConfig(
        vocab_size=32_000, num_attention_heads=12 if not quick else 4, num_key_value_heads=4,
        max_position_embeddings=2048, eos_token_id=None, bos_token_id=None, pad_token_id=0, **sizes,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
    return model


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Pair:
    """One comparison: both sides prepared, run alternately."""

    def __init__(self, label: str, goal: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        self.label, self.goal, self.ours, self.theirs = label, goal, ours, theirs

    def measure(self, rounds: int) -> str:
        """A row of the table."""
        self.ours(), self.theirs()
        mine, other = [], []
        for _ in range(rounds):
            mine.append(seconds(self.ours))
            other.append(seconds(self.theirs))
        a, b = statistics.median(mine), statistics.median(other)
        return f"{self.label:44} {a:9.3f} {b:12.3f} {b / a:7.2f}   {self.goal}"


def generate(model: LlamaForCausalLM, prompt: list[int], new: int, **options: object) -> list[list[int]]:
    """transformers' answer: the generated tokens of every returned sequence."""
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, pad_token_id=0, **options
        )
    return [row[len(prompt) :].tolist() for row in out]


def ours(engine: TorchEngine, prompt: list[int], new: int, plans: list[tuple[Strategy, list[View]]]) -> list[list[int]]:
    """Our answer: the best tokens of every strategy, grown together."""
    runs = [Plan(strategy, views, str(i), i) for i, (strategy, views) in enumerate(plans)]
    done = decode_together(engine, prompt, runs, max_tokens=new, trace=False).run()
    return [list(answers[0].tokens) for answers in done.all_answers]


def cache_ratio(engine: TorchEngine, prompt: list[int], width: int, new: int) -> tuple[int, int]:
    """Bytes of keys and values at the end of a beam search: ours at its peak, and `width` full copies."""
    peak = 0
    for _ in decode_together(engine, prompt, [Plan(beam(width))], max_tokens=new, trace=False):
        peak = max(peak, engine.key_value_bytes)
    return peak, width * (len(prompt) + new) * engine.slot_bytes


def pairs(engine: TorchEngine, model: LlamaForCausalLM) -> list[Pair]:
    """All comparisons; greedy and beams are checked to give the same tokens."""
    rng = np.random.default_rng(0)
    short, medium, long = ([int(t) for t in rng.integers(1, 32_000, n)] for n in (32, 256, 512))
    same = {
        "greedy": ours(engine, short, 16, [(greedy(), [])])[0] == generate(model, short, 16, do_sample=False)[0],
        "4 beams": ours(engine, medium, 16, [(beam(4), [])])[0]
        == generate(model, medium, 16, do_sample=False, num_beams=4)[0],
        "16 beams": ours(engine, long, 8, [(beam(16), [])])[0]
        == generate(model, long, 8, do_sample=False, num_beams=16)[0],
    }
    print("same tokens as transformers:", same)
    heats = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1]
    eight: list[tuple[Strategy, list[View]]] = [(greedy(), [])]
    eight += [(sample(), [temperature(t), top_k(50)]) for t in heats]

    def one_after_another() -> None:
        generate(model, medium, 24, do_sample=False)
        for t in heats:
            generate(model, medium, 24, do_sample=True, temperature=t, top_k=50)

    return [
        Pair("greedy, prompt 32, 24 new", ">= 1.0", lambda: ours(engine, short, 24, [(greedy(), [])]),
             lambda: generate(model, short, 24, do_sample=False)),
        Pair("4 beams, prompt 256, 24 new", ">= 1.5", lambda: ours(engine, medium, 24, [(beam(4), [])]),
             lambda: generate(model, medium, 24, do_sample=False, num_beams=4)),
        Pair("16 beams, prompt 512, 32 new", ">= 5", lambda: ours(engine, long, 32, [(beam(16), [])]),
             lambda: generate(model, long, 32, do_sample=False, num_beams=16)),
        Pair("8 strategies together, prompt 256, 24 new", ">= 5", lambda: ours(engine, medium, 24, eight),
             one_after_another),
    ]  # fmt: skip


def equality(device: str) -> None:
    """The largest difference from plain forward passes over a growing, forking, dying tree, for each architecture."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import tiny

    from palmette.models.engines import numpy_engine, torch_engine

    print(f"\n{'scores, largest difference from plain forwards':48} {'torch':>9} {'numpy':>9}   goal <= 1e-4")
    for name in tiny.ARCHITECTURES:
        folder = tiny.folder(name)
        how = {"dtype": torch.float32, "attn_implementation": "eager"}
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **how).eval()
        found = [grown(torch_engine.load(folder, device=device), model)]
        found += [grown(numpy_engine.load(folder), model)] if name in tiny.NUMPY else []
        print(f"{name:48} " + " ".join(f"{error:9.1e}" for error in found), flush=True)


def grown(engine: TreeEngine, model: torch.nn.Module) -> float:
    """Grow a random tree: two prompts with a common prefix, then extensions by one to three tokens of random nodes."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> list[int]:
        return [int(t) for t in rng.integers(3, engine.vocabulary, count)]

    base, worst = draw(12), 0.0
    prompts = [base + draw(2), base[:9] + draw(4)]
    live = list(zip(engine.prefill(prompts), prompts, strict=True))
    for _ in range(8):
        new = [draw(int(rng.integers(1, 4))) for _ in live]
        nodes = engine.extend([node for node, _ in live], new)
        pairs = [(node, tokens + more) for node, (_, tokens), more in zip(nodes, live, new, strict=True)]
        for node, tokens in pairs:
            with torch.inference_mode():
                plain = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].numpy()
            worst = max(worst, float(np.abs(node.logits - plain).max()))
        live = [pairs[i] for i in rng.integers(0, len(pairs), 3)]
        del nodes, pairs  # whatever was not drawn again gives its slots back
    return worst


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="a 19 M model: a smoke test, not a measurement")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = big(args.quick).to(args.device)
    other = copy.deepcopy(model)
    other.generation_config.eos_token_id = None
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"Llama, {size:.1f} M parameters, float32, {args.device}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}, transformers {transformers.__version__}, median of {args.rounds}")  # fmt: skip
    engine = TorchEngine(model, LetterTokenizer([str(i) for i in range(32_000)]))
    found = pairs(engine, other)
    print(f"{'':44} {'ours, s':>9} {'generate, s':>12} {'ratio':>7}   goal")
    for pair in found:
        print(pair.measure(args.rounds), flush=True)
    rng = np.random.default_rng(1)
    peak, copies = cache_ratio(engine, [int(t) for t in rng.integers(1, 32_000, 512)], 16, 32)
    label = "key/value bytes of 16 beams, prompt 512"
    print(f"{label:44} {peak / 1e6:8.1f}M {copies / 1e6:11.1f}M {copies / peak:7.2f}   >= 6")
    equality(args.device)


if __name__ == "__main__":
    main()
