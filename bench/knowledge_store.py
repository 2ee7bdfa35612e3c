"""Knowledge graphs in numbers: a store of a million facts, beside ladybug.

Part `store` of `bench/knowledge.py`. The peer is measured in a process of its own, on the same facts and questions, in
turns with ours, each question once. Times are medians.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from sys import getsizeof
from typing import Any

import numpy as np

from palmette.knowledge.graph import Graph, open_store
from palmette.knowledge.store.network import Network

THINGS, RELATIONS, ROUNDS = 200_000, 50, 10
Triple = tuple[str, str, str]
Asked = dict[str, list[Any]]
Clock = Callable[[], float]


def world(size: int, seed: int = 0) -> list[Triple]:
    """Unique facts with skewed in-degrees, in random order."""
    draw = np.random.default_rng(seed)
    things = max(50, min(THINGS, size // 5))
    many = int(size * 1.08)
    subjects = draw.integers(0, things, many)
    relations = draw.integers(0, RELATIONS, many)
    objects = (things * draw.random(many) ** 3).astype(int)
    unique = list(dict.fromkeys(zip(subjects.tolist(), relations.tolist(), objects.tolist(), strict=True)))[:size]
    random.Random(seed).shuffle(unique)
    return [(f"entity {s}", f"relation {p}", f"entity {o}") for s, p, o in unique]


PEER = """
import json, sys, time, ladybug
folder, clock = sys.argv[1], getattr(time, sys.argv[2])
db = ladybug.Database(folder + "/ladybug.db"); c = ladybug.Connection(db)
start = clock()
c.execute("CREATE NODE TABLE E(name STRING, PRIMARY KEY(name))")
c.execute("CREATE REL TABLE F(FROM E TO E, relation STRING)")
c.execute(f"COPY E FROM '{folder}/things.csv'"); c.execute(f"COPY F FROM '{folder}/facts.csv'")
print(json.dumps(clock() - start), flush=True)
c.set_max_threads_for_exec(1)  # as ours, and so that processor time is comparable
texts = {
    "point": "MATCH (a:E {name: $a})-[f:F]->(b:E) RETURN f.relation, b.name",
    "facts": "MATCH (a:E {name: $a})-[f:F]->(b:E) RETURN f.relation, b.name",
    "two": "MATCH (a:E {name: $a})-[:F*1..2]->(b:E) RETURN DISTINCT b.name",
    "path": "MATCH p = (a:E {name: $a})-[:F* SHORTEST 1..8]-(b:E {name: $b}) RETURN length(p)",
}
for line in sys.stdin:
    out = {}
    for who in ("alone", "within"):
        if who == "within": c.execute("BEGIN TRANSACTION READ ONLY")
        for key, asked in json.loads(line).items():
            times, answers = [], []
            for values in asked:
                start = clock()
                rows = c.execute(texts[key], values).get_all()
                times.append(clock() - start); answers.append(rows)
            out[who + " " + key] = times, answers
    c.execute("COMMIT")
    print(json.dumps(out), flush=True)
"""
# The questions of a library's user, each with what makes its answer the rows that the peer gives.
ASK: dict[str, Callable[[Graph, dict[str, str]], Any]] = {
    "point": lambda graph, asked: graph.triples(asked["a"]),
    "facts": lambda graph, asked: graph.facts(asked["a"]),
    "two": lambda graph, asked: graph.near(asked["a"], 2, direction="out"),
    "path": lambda graph, asked: graph.path(asked["a"], asked["b"]),
}
ROWS: dict[str, Callable[[Any], list[list[Any]]]] = {
    "point": lambda found: [[relation, name] for _, relation, name in found],
    "facts": lambda found: [[fact.relation, fact.object.name] for fact in found],
    "two": lambda found: [[thing.name] for thing in found],
    "path": lambda found: [] if found is None else [[len(found)]],
}
SAID = {
    "point": "facts of a thing, as names",
    "facts": "facts of a thing, as values with types and support",
    "two": "things within 2 hops, subject to object",
    "path": "shortest path, either direction",
}


def store_part(size: int, peer: str, clock: Clock) -> None:
    """Load, point, two hops, shortest path: from disk, from memory, and in the peer where it is given."""
    triples = world(size)
    with (
        tempfile.TemporaryDirectory() as folder,
        Graph(open_store(Path(folder) / "graph.db")) as graph,
        Graph(open_store(Path(folder) / "graph.db")) as disk,
    ):
        took = _load(graph, triples)
        other = _peer(peer, folder, triples, clock) if peer else None
        try:
            _measured(graph, disk, triples, other, took, clock)
        finally:
            if other is not None:
                other.communicate()


def _load(graph: Graph, triples: list[Triple]) -> float:
    wall, cpu = time.perf_counter(), time.process_time()
    graph.load(triples)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"load        {len(triples):,} facts in {wall:.1f} s: {len(triples) / wall:,.0f} facts/s "
          f"({len(triples) / cpu:,.0f} per second of processor time); "
          f"load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    return wall


def _peer(peer: str, folder: str, triples: list[Triple], clock: Clock) -> subprocess.Popen[str]:
    things = sorted({n for s, _, o in triples for n in (s, o)})
    (Path(folder) / "things.csv").write_text("\n".join(things) + "\n")
    (Path(folder) / "facts.csv").write_text("".join(f"{s},{o},{p}\n" for s, p, o in triples))
    return subprocess.Popen(
        [peer, "-c", PEER, folder, clock.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip


def _measured(
    graph: Graph, disk: Graph, triples: list[Triple], other: subprocess.Popen[str] | None, took: float, clock: Clock
) -> None:
    draw, names = random.Random(1), sorted({s for s, _, _ in triples})
    its = json.loads(other.stdout.readline()) if other is not None and other.stdout else None
    times: dict[tuple[str, str], list[float]] = {}
    same = count = 0
    for round_ in range(ROUNDS):
        asked: Asked = {key: [] for key in ASK}
        for key, many in (("point", 600), ("facts", 600), ("two", 100), ("path", 3)):
            picked = draw.sample(names, min(2 * many, len(names)) // 2 * 2)
            asked[key] = [{"a": a, "b": b} for a, b in zip(picked[::2], picked[1::2], strict=True)]
        answers = _ours(graph, disk, asked, times, clock, first=not round_)
        if other is not None:
            for who, key, spent, rows in _theirs(other, asked):
                times.setdefault((who, key), []).extend(spent)
                for question, found, mine in zip(asked[key], rows, answers[key], strict=True):
                    away = [[question["a"]]] if key == "two" else []  # a thing is not near itself
                    same += sorted(row for row in found if row not in away) == sorted(mine)
                    count += 1
    for key, said in SAID.items():
        print(f"{key:<11} {said}")
        for who, how in OURS.items():
            mine = median(times[who, key])
            against = (("alone", "alone"), ("within", "in a transaction")) if its is not None else ()
            print(f"  {how:<27} {mine:9.4f} ms" + "".join(
                f"; ladybug {name} {median(times[peer, key]):.4f} ms: {median(times[peer, key]) / mine:.1f} ×"
                for peer, name in against))  # fmt: skip
    if its is not None:
        print(f"ladybug     the same answer to {same} of {count} questions, row by row; load {its:.1f} s "
              f"({its / took:.2f} × ours)")  # fmt: skip


OURS = {"disk": "from disk", "memory": "from memory, if unchanged", "held": "from memory, in reading"}


def _theirs(other: subprocess.Popen[str], asked: Asked) -> Iterator[tuple[str, str, list[float], list[Any]]]:
    """The peer's times and answers, each question asked alone and within a transaction."""
    assert other.stdin is not None and other.stdout is not None
    pairs = {key: [q if key == "path" else {"a": q["a"]} for q in some] for key, some in asked.items()}
    other.stdin.write(json.dumps(pairs) + "\n")
    other.stdin.flush()
    for name, (spent, rows) in json.loads(other.stdout.readline()).items():
        who, key = name.split()
        yield who, key, spent, rows


def _ours(
    graph: Graph, disk: Graph, asked: Asked, times: dict[tuple[str, str], list[float]], clock: Clock, *, first: bool
) -> dict[str, list[list[list[Any]]]]:
    """The answers as rows; all three ways must give the same."""
    answers = _asked(disk, asked, "disk", times, clock)
    start = clock()
    with graph.reading(in_memory=True) as held:
        if first:
            print(f"memory      the facts are read into memory in {clock() - start:.1f} s and take "
                  f"{_size(held.store.memory.made()):.0f} MB")  # fmt: skip
        again = _asked(held, asked, "held", times, clock)
        assert again == answers
    assert _asked(graph, asked, "memory", times, clock) == again
    return again


def _asked(
    graph: Graph, asked: Asked, who: str, times: dict[tuple[str, str], list[float]], clock: Clock
) -> dict[str, list[list[list[Any]]]]:
    answers: dict[str, list[list[list[Any]]]] = {}
    for key, some in asked.items():
        ask, found = ASK[key], []
        for question in some:
            start = clock()
            answer = ask(graph, question)
            times.setdefault((who, key), []).append(clock() - start)
            found.append(answer)
        answers[key] = [ROWS[key](answer) for answer in found]
    return answers


def _size(network: Network) -> float:
    """Megabytes of a network."""
    columns = [c for e in (network.out, network.into) for c in (e.first, e.relation, e.far, e.support)]
    arrays = sum(map(getsizeof, columns))
    values = sum(getsizeof(thing) + getsizeof(thing.name) + 16 for thing in network.things)
    tables = getsizeof(network.places) + 2 * getsizeof(network.things) + 32 * len(network.places)
    return (arrays + values + tables) / 1e6


def median(times: Sequence[float]) -> float:
    """In milliseconds."""
    return float(np.median(times)) * 1e3
