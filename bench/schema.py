"""The official JSON Schema suite: which schemas are fully right, per draft and keyword group, beside the peers.

    python bench/schema.py --suite DIR [--draft 2020-12] [--groups] [--peers llguidance,xgrammar]

A schema is fully right if every valid instance is accepted (in one of several spellings) and every invalid one refused.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import palmette
from palmette.core.engine import Engine
from palmette.core.errors import PalmetteError, Unsatisfiable

FOLDERS = {
    "draft4": "draft4",
    "draft6": "draft6",
    "draft7": "draft7",
    "2019-09": "draft2019-09",
    "2020-12": "draft2020-12",
}
Accepts = Callable[[str], bool]
Peer = Callable[[Engine, Any, str, dict[str, Any]], Accepts]


@dataclass(frozen=True)
class Verdict:
    """What became of one schema of the suite."""

    group: str
    name: str
    compiled: bool
    valid: int
    valid_accepted: int
    invalid: int
    invalid_accepted: int
    seconds: float

    @property
    def right(self) -> bool:
        """All valid instances accepted, all invalid ones refused."""
        return self.valid == self.valid_accepted and not self.invalid_accepted


def remotes(suite: Path, draft: str) -> dict[str, Any]:
    """The suite's own documents for references, by URI."""
    found = {}
    for path in sorted((suite / "remotes").rglob("*.json")):
        place = path.relative_to(suite / "remotes").as_posix()
        head = place.split("/")[0]
        if head == FOLDERS[draft] or not (head.startswith("draft") or head == "v1"):
            found[f"http://localhost:1234/{place}"] = json.loads(path.read_text())
    return found


def spellings(value: Any) -> Iterator[str]:
    """Compact and spaced texts of an instance: key orders, 1 for 1.0, escapes."""
    for plain, order, separators, ascii_only in itertools.product(
        (value, whole(value)), orders(value), ((",", ":"), (", ", ": ")), (False, True)
    ):
        yield json.dumps(arranged(plain, order), separators=separators, ensure_ascii=ascii_only)


def orders(value: Any) -> list[list[str] | None]:
    """Key orders to try for the outermost object."""
    if not isinstance(value, dict) or not 1 < len(value) < 5:
        return [None]
    return [list(p) for p in itertools.permutations(value)]


def arranged(value: Any, order: list[str] | None) -> Any:
    """The value with its outermost keys in an order."""
    return value if order is None else {key: value[key] for key in order}


def whole(value: Any) -> Any:
    """The value with floats that are integers written as such."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    return {key: whole(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def here(engine: Engine, schema: Any, draft: str, registry: dict[str, Any]) -> Accepts:
    """Palmette's own acceptance."""
    try:
        said = isinstance(schema, dict) and "$schema" in schema
        return palmette.constraint(schema, dialect=None if said else draft, registry=registry).accepts
    except Unsatisfiable:
        return lambda text: False  # refused before the first token: right if every instance is invalid


def llguidance_alone(engine: Engine, schema: Any, draft: str, registry: dict[str, Any]) -> Accepts:
    """llguidance's own JSON Schema compiler."""
    from llguidance import LLMatcher

    from palmette.tokens.structure.grammar import token_table

    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    matcher = LLMatcher(token_table(engine), grammar, log_level=0)
    if matcher.is_error():
        raise PalmetteError(matcher.get_error())

    def accepts(text: str) -> bool:
        copy, tokens = matcher.deep_copy(), engine.tokenizer.encode_continuation(text)
        return copy.try_consume_tokens(tokens) == len(tokens) and copy.is_accepting()

    return accepts


PEERS: dict[str, Peer] = {"palmette": here, "llguidance": llguidance_alone}


def judge(peer: Peer, engine: Engine, suite: Path, draft: str) -> Iterator[Verdict]:
    """One verdict for each schema of a draft's required tests."""
    registry = remotes(suite, draft)
    for path in sorted((suite / "tests" / FOLDERS[draft]).glob("*.json")):
        for group in json.loads(path.read_text()):
            tests = group["tests"]
            valid = [t["data"] for t in tests if t["valid"]]
            invalid = [t["data"] for t in tests if not t["valid"]]
            started = time.perf_counter()
            try:
                accepts: Accepts | None = peer(engine, group["schema"], draft, registry)
            except PalmetteError:
                accepts = None
            seconds = time.perf_counter() - started
            good = bad = 0
            if accepts is not None:
                good = sum(any(accepts(text) for text in spellings(value)) for value in valid)
                bad = sum(any(accepts(text) for text in spellings(value)) for value in invalid)
            yield Verdict(
                path.stem, group["description"], accepts is not None, len(valid), good, len(invalid), bad, seconds
            )


def row(name: str, verdicts: list[Verdict]) -> str:
    """One line of the table."""
    total = len(verdicts)
    right = sum(v.right for v in verdicts)
    valid, accepted = sum(v.valid for v in verdicts), sum(v.valid_accepted for v in verdicts)
    wrong = sum(v.invalid_accepted for v in verdicts)
    compiled = sum(v.compiled for v in verdicts)
    middle = sorted(v.seconds for v in verdicts)[total // 2] * 1e3
    return (
        f"{name:<34} {total:>7} {100 * compiled / total:>8.1f} % {100 * accepted / max(1, valid):>8.1f} %"
        f" {wrong:>8} {100 * right / total:>8.1f} % {middle:>9.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--draft", choices=FOLDERS, action="append")
    parser.add_argument("--groups", action="store_true", help="also a line for each keyword")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--wrong", action="store_true", help="list the schemas that are not fully right")
    chosen = parser.parse_args()
    engine = palmette.open_engine("zoo:seedling")
    print(f"{'':<34} {'schemas':>7} {'compiled':>10} {'valid ok':>10} {'invalid':>8} {'right':>10} {'ms':>9}")
    for draft, name in itertools.product(chosen.draft or FOLDERS, chosen.peers.split(",")):
        verdicts = list(judge(PEERS[name], engine, chosen.suite, draft))
        print(row(f"{draft} {name}", verdicts))
        for group in Counter(v.group for v in verdicts) if chosen.groups else ():
            print(row(f"  {group}", [v for v in verdicts if v.group == group]))
        for verdict in verdicts if chosen.wrong else ():
            if not verdict.right:
                print(f"    {verdict.group}: {verdict.name}")


if __name__ == "__main__":
    main()
