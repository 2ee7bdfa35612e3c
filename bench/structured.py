"""Structured output in numbers: compile time, mask and application, forward passes saved, time per document, budgets.

    python bench/structured.py [--rounds N] [--schemas FOLDER]

Peers take part where they are installed: llguidance alone always, xgrammar and outlines_core if they import. The
vocabulary of the first table has 128,000 byte-level tokens made of this Python's own library; documents are random
walks through the masks. Times are medians; ratios are against the peer in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import re
import statistics
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

import palmette
from palmette.core.engine import Engine
from palmette.core.errors import BudgetTooSmall, PalmetteError
from palmette.core.masks import ids_of
from palmette.core.scores import Scores
from palmette.tokens.structure.schema import schema_constraint
from palmette.tokens.structure.schema.compiled import vocabulary_of

SIZE = 128_000


def obj(required: Sequence[str] | None = None, **properties: Any) -> dict[str, Any]:
    """A closed object; every property required unless said otherwise."""
    needed = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


STRING, INTEGER, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
SHORT = {"type": "string", "maxLength": 12}
TOOLS = {
    "weather": obj(
        name={"const": "get_current_weather"},
        arguments=obj(location=SHORT, unit={"enum": ["celsius", "fahrenheit"]}, days={"enum": [1, 3, 7]}),
    ),
    "search": obj(
        name={"const": "search_documents"},
        arguments=obj(query=SHORT, maximum_results={"type": "integer", "maximum": 9, "minimum": 1}, rerank=BOOLEAN),
    ),
    "transfer": obj(
        name={"const": "transfer_money"},
        arguments=obj(from_account={"enum": ["checking", "savings"]}, to_account=SHORT, confirmed={"const": True}),
    ),
}
CLOSED = {
    "flags": obj(is_available=BOOLEAN, requires_signature=BOOLEAN, shipping={"enum": ["standard", "express"]}),
    "classification": obj(sentiment={"enum": ["positive", "negative", "neutral"]}, contains_sarcasm=BOOLEAN),
    "settings": obj(
        notifications=obj(email_enabled=BOOLEAN, push_enabled=BOOLEAN),
        appearance=obj(theme={"enum": ["dark", "light"]}),
    ),
}
OPEN = {
    "person": obj(
        name=STRING, age={"type": "integer", "minimum": 0, "maximum": 150}, tags={"type": "array", "items": STRING}
    ),
    "unique": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "uniqueItems": True},
    "either": {"oneOf": [obj(kind={"const": "a"}, x=NUMBER), obj(kind={"const": "b"}, y=SHORT)]},
    "branches": {
        **obj(country={"enum": ["us", "nl"]}, code=STRING),
        "if": {"properties": {"country": {"const": "us"}}},
        "then": {"properties": {"code": {"pattern": "^[0-9]{5}$"}}},
        "else": {"properties": {"code": {"pattern": "^[0-9]{4} [A-Z]{2}$"}}},
    },
    "mapping": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 4},
    "contains": {"type": "array", "items": INTEGER, "contains": {"const": 7}, "maxItems": 5},
}
SCHEMAS = {**TOOLS, **CLOSED, **OPEN}


class Words:
    """A byte-level tokenizer with 128,000 tokens: all bytes, then the commonest pieces of Python's library."""

    special = frozenset({SIZE - 1})
    size = SIZE

    def __init__(self) -> None:
        counts: Counter[bytes] = Counter()
        for path in itertools.islice(sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")), 1500):
            for word in re.findall(rb" ?[A-Za-z]+| ?[0-9]{1,3}|[^\sA-Za-z0-9]{1,4}|\s+", path.read_bytes()):
                for end in range(2, min(len(word), 12) + 1):
                    counts[word[:end]] += 1
        pieces = [bytes([b]) for b in range(256)]
        pieces += [piece for piece, _ in counts.most_common(SIZE - 257)]
        self._pieces = pieces + [b"\xff\xfe" + str(k).encode() for k in range(SIZE - 1 - len(pieces))] + [b""]
        self._ids = {piece: k for k, piece in enumerate(pieces)}

    def encode(self, text: str) -> list[int]:
        """Longest match first."""
        data, out, at = text.encode(), list[int](), 0
        while at < len(data):
            size = next(n for n in range(min(12, len(data) - at), 0, -1) if data[at : at + n] in self._ids)
            out.append(self._ids[data[at : at + size]])
            at += size
        return out

    encode_continuation = encode

    def decode(self, ids: Sequence[int]) -> str:
        """The text."""
        return b"".join(self._pieces[i] for i in ids).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._pieces[token]

    def token_name(self, token: int) -> str:
        """How it is shown."""
        return repr(self._pieces[token])


def large() -> Engine:
    """What constraints read of an engine with that vocabulary."""

    class Vocabulary:
        tokenizer = Words()
        eos = frozenset({SIZE - 1})
        vocabulary = SIZE

    return cast(Engine, cast(Any, Vocabulary()))


def walks(rule: Any, seeds: int, most: int, eos: frozenset[int]) -> Iterator[tuple[float, Any]]:
    """(seconds, mask) along random documents; short tokens are likelier, as in real text."""
    for seed in range(seeds):
        draw = np.random.default_rng(seed)
        state = rule.start()
        for _ in range(most):
            started = time.perf_counter()
            words = rule.mask(state)
            spent = time.perf_counter() - started
            ids = ids_of(words)
            if not ids.size:
                break
            yield spent, words
            token = int(draw.choice(ids[:400]))
            if token in eos:
                break
            state = rule.step(state, token)


def percentile(values: list[float], share: float) -> float:
    """A percentile of times, in microseconds."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] * 1e6


def masks(engine: Engine, schemas: dict[str, Any], rounds: int) -> None:
    """Compile time, and the mask with its application to a row of logits, at 128,000 tokens."""
    row = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    vocabulary_of(engine)
    compiles, again, mask, both = [], list[float](), list[float](), list[float]()
    for name, schema in schemas.items():
        for turn in range(rounds):
            text = json.dumps({**schema, "$comment": f"{name} {turn}"})
            started = time.perf_counter()
            try:
                schema_constraint(engine, text)
            except PalmetteError as error:
                print(f"  {name}: {error}")
                break
            compiles.append(time.perf_counter() - started)
            started = time.perf_counter()
            rule = schema_constraint(engine, text)
            again.append(time.perf_counter() - started)
        else:
            for spent, words in walks(rule, 3, 60, engine.eos):
                started = time.perf_counter()
                Scores(row).masked(words)
                mask.append(spent)
                both.append(spent + time.perf_counter() - started)
    line("palmette", compiles, 0, mask, both)
    print(f"{'':14} compile p90 {percentile(compiles, 0.9) / 1e3:.2f} ms, cached {percentile(again, 0.5) / 1e3:.3f} ms")


def line(name: str, compiles: list[float], refused: int, mask: list[float], both: list[float]) -> None:
    """A row of the first table."""
    print(
        f"{name:14} compile {percentile(compiles, 0.5) / 1e3:8.2f} ms median, {refused} refused;"
        f" mask {percentile(mask, 0.5):7.1f} µs, {percentile(mask, 0.99):8.1f} p99;"
        + (f" applied {percentile(both, 0.5):7.1f} µs, {percentile(both, 0.99):8.1f} p99" if both else "")
        + f" ({len(mask)} tokens)"
    )


def llguidance_alone(engine: Engine, schemas: dict[str, Any], rounds: int) -> None:
    """The same for llguidance's own compiler, where it compiles at all, with -inf written into a row."""
    from llguidance import LLMatcher

    from palmette.tokens.structure.grammar import token_table

    table = token_table(engine)
    row = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    compiles, mask, both, refused = list[float](), list[float](), list[float](), 0
    for schema in schemas.values():
        for _ in range(rounds):
            started = time.perf_counter()
            overrides: Any = {"whitespace_flexible": False}
            matcher = LLMatcher(
                table, LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=overrides), log_level=0
            )
            spent = time.perf_counter() - started
        if matcher.is_error():
            refused += 1
            continue
        compiles.append(spent)
        for seed in range(3):
            at, draw = matcher.deep_copy(), np.random.default_rng(seed)
            for _ in range(60):
                words = np.zeros((SIZE + 31) // 32, np.uint32)
                started = time.perf_counter()
                at.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
                mask.append(time.perf_counter() - started)
                applied = row.copy()
                applied[np.unpackbits(words.view(np.uint8), bitorder="little")[:SIZE] == 0] = -np.inf
                both.append(time.perf_counter() - started)
                ids = ids_of(words)
                token = int(draw.choice(ids[:400])) if ids.size else SIZE - 1
                if token == SIZE - 1 or not at.consume_tokens([token]):
                    break
    line("llguidance", compiles, refused, mask, both)


def xgrammar_alone(engine: Engine, schemas: dict[str, Any]) -> None:
    """The same for xgrammar (strict, no white space), one compilation each."""
    import xgrammar

    pieces = [engine.tokenizer.token_bytes(t) for t in range(SIZE)]
    info = xgrammar.TokenizerInfo(pieces, vocab_size=SIZE, stop_token_ids=[SIZE - 1])
    compiles, mask, refused = list[float](), list[float](), 0
    for schema in schemas.values():
        started = time.perf_counter()
        try:
            made = xgrammar.GrammarCompiler(info, cache_enabled=False).compile_json_schema(
                json.dumps(schema), any_whitespace=False
            )
        except RuntimeError:
            refused += 1
            continue
        compiles.append(time.perf_counter() - started)
        for seed in range(3):
            at, draw = xgrammar.GrammarMatcher(made), np.random.default_rng(seed)
            bits = xgrammar.allocate_token_bitmask(1, SIZE)
            for _ in range(60):
                started = time.perf_counter()
                at.fill_next_token_bitmask(bits)
                mask.append(time.perf_counter() - started)
                ids = ids_of(np.array(bits[0]).view(np.uint32))
                token = int(draw.choice(ids[:400])) if ids.size else SIZE - 1
                if token == SIZE - 1 or not at.accept_token(token):
                    break
    line("xgrammar", compiles, refused, mask, [])


def outlines_alone(engine: Engine, schemas: dict[str, Any]) -> None:
    """The same for outlines_core: a regular expression of the schema, an index of all its states."""
    from outlines_core import Guide, Index, Vocabulary
    from outlines_core.json_schema import build_regex_from_schema

    pieces: dict[bytes, list[int]] = {}
    for token in range(SIZE - 1):
        pieces.setdefault(engine.tokenizer.token_bytes(token), []).append(token)
    vocabulary = Vocabulary(SIZE - 1, pieces)
    compiles, mask, refused = list[float](), list[float](), 0
    for schema in schemas.values():
        started = time.perf_counter()
        try:
            made = Index(build_regex_from_schema(json.dumps(schema)), vocabulary)
        except (ValueError, TypeError, NotImplementedError):
            refused += 1
            continue
        compiles.append(time.perf_counter() - started)
        bits = np.zeros((SIZE + 31) // 32, np.uint32)
        for seed in range(3):
            at, draw = Guide(made), np.random.default_rng(seed)
            for _ in range(60):
                started = time.perf_counter()
                at.write_mask_into(bits.ctypes.data, bits.size, 4)
                mask.append(time.perf_counter() - started)
                ids = ids_of(bits)
                if not ids.size or at.is_finished():
                    break
                token = int(draw.choice(ids[:400]))
                if token == SIZE - 1:
                    break
                at.advance(token, return_tokens=False)
    line("outlines_core", compiles, refused, mask, [])


class Counting:
    """An engine that counts its forward passes."""

    def __init__(self, inner: Engine) -> None:
        self._inner, self.passes = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def prefill(self, prompts: Any, **options: Any) -> Any:
        """One pass, of the prompt."""
        return self._inner.prefill(prompts, **options)

    def extend(self, nodes: Any, tokens: Any) -> Any:
        """One pass, whatever the number of tokens."""
        self.passes += 1
        return self._inner.extend(nodes, tokens)


def saved(engine: Engine, label: str, schemas: dict[str, Any]) -> None:
    """Forward passes that what must follow saves, and seconds against unconstrained text of as many tokens."""
    tokens = passes = 0
    ratios = []
    for schema in schemas.values():
        rule = palmette.constraint(schema)
        counting = Counting(engine)
        chosen = palmette.decode(cast(Engine, counting), "Say ", palmette.greedy(), views=[rule], max_tokens=100).run()
        length = len(chosen.answers[0].tokens)
        assert rule.accepts(chosen.text)
        tokens, passes = tokens + length, passes + counting.passes

        def constrained(rule: Any = rule) -> object:
            return palmette.decode(engine, "Say ", palmette.greedy(), views=[rule], max_tokens=100, trace=False).run()

        def free(length: int = length) -> object:
            never = palmette.min_length(length)
            return palmette.decode(
                engine, "Say ", palmette.greedy(), views=[never], max_tokens=length, trace=False
            ).run()

        mine, other = timed(constrained, free)
        ratios.append(mine / other)
    share, low, high = 100 * (1 - passes / tokens), min(ratios), max(ratios)
    print(f"{label:14} {tokens} tokens in {passes} forward passes: {share:.0f} % saved")
    print(f"{'':14} seconds ÷ unconstrained {statistics.median(ratios):.2f} (from {low:.2f} to {high:.2f})")


def timed(*actions: Callable[[], object], rounds: int = 5) -> list[float]:
    """Median seconds of each, in turns."""
    found: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _, (place, action) in itertools.product(range(rounds), enumerate(actions)):
        started = time.perf_counter()
        action()
        found[place].append(time.perf_counter() - started)
    return [statistics.median(times) for times in found]


def budgets(engine: Engine, schemas: dict[str, Any]) -> None:
    """Documents at max_tokens = 64 from random scores, of the schemas that have a document so short."""
    valid = fits = 0
    for name, schema in schemas.items():
        try:
            rule = schema_constraint(engine, schema, max_tokens=64)
        except BudgetTooSmall:
            continue
        except PalmetteError as error:
            print(f"  {name}: {str(error)[:150]}")
            continue
        judge = palmette.constraint(schema)
        for seed in range(2):
            fits += 1
            draw, state, tokens = np.random.default_rng(seed), rule.start(), list[int]()
            while not (rule.accepts(state) and len(tokens) >= 64):
                ids = ids_of(rule.mask(state))
                token = int(draw.choice(ids)) if ids.size else -1
                if token < 0 or token in engine.eos:
                    break
                tokens.append(token)
                state = rule.step(state, token)
            valid += len(tokens) <= 64 and judge.accepts(engine.tokenizer.decode(tokens), exactly=True)
    print(f"valid documents at max_tokens=64: {valid} of {fits} ({100 * valid / max(1, fits):.1f} %)")


def torch_engine() -> Engine:
    """A random Llama of 85 million parameters with the embedded model's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from palmette.models.engines.torch_engine import TorchEngine

    small = palmette.open_engine("zoo:seedling")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=small.vocabulary, hidden_size=768, num_hidden_layers=12, intermediate_size=2048,
        num_attention_heads=12, num_key_value_heads=4, max_position_embeddings=512,
        eos_token_id=min(small.eos), bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return TorchEngine(LlamaForCausalLM(config).eval(), small.tokenizer, small.eos)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--schemas", type=Path, help="a folder of JSON Schemas to measure as well")
    chosen = parser.parse_args()
    schemas: dict[str, Any] = dict(SCHEMAS)
    for path in sorted(chosen.schemas.glob("*.json")) if chosen.schemas else ():
        value = json.loads(path.read_text())
        if isinstance(value, dict):
            schemas[path.stem] = value
    engine = large()
    print(f"vocabulary of {SIZE:,} tokens, {len(schemas)} schemas")
    masks(engine, schemas, chosen.rounds)
    llguidance_alone(engine, schemas, chosen.rounds)
    if importlib.util.find_spec("xgrammar"):
        xgrammar_alone(engine, SCHEMAS)
    if importlib.util.find_spec("outlines_core"):
        outlines_alone(engine, SCHEMAS)
    model = torch_engine()
    saved(model, "tool calls", TOOLS)
    saved(model, "closed schemas", CLOSED)
    budgets(palmette.open_engine("zoo:seedling"), schemas)


if __name__ == "__main__":
    sys.exit(main())
