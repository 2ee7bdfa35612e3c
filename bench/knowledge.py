"""Knowledge graphs in numbers: store, removal, extraction, confined answers, retrieval, abstention, crashes.

    python bench/knowledge.py [PART …] [--data FOLDER] [--peer PYTHON] [--size FACTS]

Parts: store, remove, extract, confined, names, retrieve, abstain, crash; all by default. FOLDER holds JSON files with
`passages` (id, title, text) and `questions` (question, gold); retrieve and abstain need it. PYTHON is that
of an environment with ladybug 0.22; it is measured in a process of its own, on the same facts and questions. Times are
medians; no language model is used but random weights and the embedded toy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from knowledge_questions import abstain_part, retrieve_part
from knowledge_store import Triple, store_part, world

import palmette
from palmette.core.masks import ids_of
from palmette.knowledge.answer.confined import GraphConstraint
from palmette.knowledge.documents.read import document_of
from palmette.knowledge.extract.by_model import ByEngine, Local
from palmette.knowledge.extract.form import checked, facts_in
from palmette.knowledge.extract.ingest import ingest
from palmette.knowledge.extract.reading import Plain
from palmette.knowledge.schema import OPEN, Schema
from palmette.knowledge.store.bulk import load
from palmette.knowledge.store.dump import canonical
from palmette.knowledge.store.read import entity
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Piece, Statement
from palmette.tokens.views.constrain import constrain

CLOCK = time.perf_counter


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = CLOCK()
    function()
    return CLOCK() - start


# -- removal -----------------------------------------------------------------------------------------------------------


def remove_part(size: int) -> None:
    """85 documents of twenty assertions each taken out of a large store; the dump is that of never having had them."""
    triples = world(size, 2)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(SqliteDatabase(Path(folder) / "graph.db"))
        load(store, triples)
        before = _digest(store)
        draw = random.Random(3)
        names = [s for s, _, _ in triples[:1000]]
        texts = []
        for i in range(85):
            words = [f"{draw.choice(names).title()} met Person{i}x{j}." for j in range(20)]
            texts.append(document_of(f"document {i}", " ".join(words)))
        done = ingest(store, texts, Plain())
        again = ingest(store, texts, Plain())
        took = timed(lambda: store.remove_all([t.name for t in texts]))
        print(f"remove      85 documents, {done.statements} assertions, out of {size:,}: {took:.2f} s, 0 calls; "
              f"dump byte-equal: {_digest(store) == before}; adding them unchanged: {again.calls} calls, "
              f"{len(again.unchanged)} of 85 left as they were")  # fmt: skip


def _digest(store: Store) -> str:
    made = hashlib.blake2b()
    for piece in canonical(store):
        made.update(piece.encode())
    return made.hexdigest()


# -- extraction and confined answers -----------------------------------------------------------------------------------

_SAID = (
    "Ann Bob Eve Steve Tim Cook Jobs Apple IBM Paris Bonn met founded leads owns and the of in 1976 2023 — “quoted” "
    '\\ " naïve 東京 🙂 (IBM) C++ <b> } ] { : , . ignore the above'
)
WORDS = [*_SAID.split(), "\n"]
TYPED = Schema.read(
    {
        "types": ["person", "company", "place"],
        "relations": [
            "met", {"name": "leads", "subjects": ["person"], "objects": ["company"]},
            {"name": "founded in", "literal": True}, {"name": "year", "pattern": "[0-9]{4}"},
        ],
    }
)  # fmt: skip


def random_engine() -> Any:
    """A Llama of one layer with weights drawn at random, and the toy's tokenizer."""
    from safetensors.numpy import save_file

    toy = Path(palmette.__file__).parent / "models" / "zoo" / "seedling"
    config = json.loads((toy / "config.json").read_text())
    config |= {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True}
    draw = np.random.default_rng(0)
    shapes = {"embed_tokens": (config["vocab_size"], 32), "norm": (32,)}
    layer = {f"self_attn.{n}_proj": (32, 32) for n in "qkvo"}
    layer |= {f"mlp.{n}_proj": (32, 32) for n in ("gate", "up", "down")}
    layer |= {"input_layernorm": (32,), "post_attention_layernorm": (32,)}
    shapes |= {f"layers.0.{name}": shape for name, shape in layer.items()}
    weights = {f"model.{n}.weight": draw.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            (Path(folder) / name).write_bytes((toy / name).read_bytes())
        (Path(folder) / "config.json").write_text(json.dumps(config))
        save_file(weights, f"{folder}/model.safetensors")
        return palmette.open_engine(folder, engine="numpy")


def extract_part(count: int) -> None:
    """Extractions by random weights: all must be facts of the schema with quotes that stand where they say."""
    engine, draw = random_engine(), random.Random(0)
    whole = exact = named = found = answers = 0
    start = time.perf_counter()
    for seed in range(count):
        text = " ".join(draw.choices(WORDS, k=draw.randint(8, 60)))
        if not any(c.isalnum() for c in text):
            continue
        schema = TYPED if seed % 2 else OPEN
        who = Local(engine, "random", palmette.sample(), (), seed, lambda e, said: [5, 6, 7])
        written, _ = ByEngine(who, schema, max_tokens=330, least=1).written(Piece(0, len(text), text), "")
        said = [(f, checked(f, Piece(0, len(text), text), schema)) for f in facts_in(written)]
        answers += 1
        whole += all(isinstance(s, Statement) for _, s in said)
        found += len(said)
        for fact, statement in said:
            if isinstance(statement, Statement):
                exact += text[statement.start : statement.end] == fact["evidence"].strip()
                named += fact["subject"] in text
    took = time.perf_counter() - start
    print(f"extract     {answers} extractions by random weights: {whole} valid, {found} facts, {exact} quotes exact, "
          f"{named} subjects verbatim; {took / answers * 1e3:.0f} ms each")  # fmt: skip


def confined_part(count: int) -> None:
    """Confined answers by random weights over a random graph: no thing and no fact outside it."""
    engine = random_engine()
    store = Store(SqliteDatabase(":memory:"))
    triples = [(s.split()[1], p.replace("relation ", "r"), o.split()[1]) for s, p, o in world(2000, 4)]
    load(store, triples)
    rule = GraphConstraint(engine, store, abstain=False)
    view = constrain(rule, "graph")
    known = set(triples)
    names: dict[int, str] = dict(store.db.rows("SELECT id, name FROM entity"))
    relations: dict[int, str] = dict(store.db.rows("SELECT id, name FROM relation"))
    outside = hops = whole = 0
    start = time.perf_counter()
    strategy = palmette.sample()
    for seed in range(count):
        best = palmette.decode(
            engine, [5 + seed % 900], strategy, views=[view], max_tokens=64, seed=seed,
            trace=False,
        ).run().answers[0]  # fmt: skip
        state = rule.start()
        for token in best.tokens:
            state = rule.step(state, token)
        whole += rule.accepts(state)
        for (s, p, o), _ in rule.hops(state):
            hops += 1
            outside += (names[s], relations[p], names[o]) not in known
        if rule.accepts(state):
            text = engine.tokenizer.decode([t for t in best.tokens if t not in engine.eos])
            outside += not _is_path(text, known)
    took = time.perf_counter() - start
    print(f"confined    {count} answers by random weights: {whole} complete within 64 tokens, {hops} facts said, "
          f"{outside} outside the graph; {took / count * 1e3:.1f} ms each")  # fmt: skip


def _is_path(text: str, known: set[Triple]) -> bool:
    """Read a path off its text, without the automaton's help."""
    parts = text.strip().replace(" -> ", "\x00>\x00").replace(" <- ", "\x00<\x00").split("\x00")
    here, rest = parts[0], parts[1:]
    while rest:
        arrow, relation, arrow2, there, *rest = rest
        fact = (here, relation, there) if arrow == ">" else (there, relation, here)
        if arrow != arrow2 or fact not in known:
            return False
        here = there
    return True


def names_part(count: int) -> None:
    """The constraint over a hundred thousand names: building, building again from the cache, masks."""
    draw = np.random.default_rng(0)
    sounds = [a + b for a in "bcdfghjklmnprstvz" for b in "aeiou"]
    made = (
        "".join(draw.choice(sounds, 3)).title() + " " + "".join(draw.choice(sounds, 3)).title()
        for _ in range(2 * count)
    )
    names = list(dict.fromkeys(made))[:count]
    ends = draw.integers(0, count, (4 * count, 2)).tolist()
    triples = [(names[a], f"relation {i % 50}", names[b]) for i, (a, b) in enumerate(ends)]
    store = Store(SqliteDatabase(":memory:"))
    load(store, [*triples, *((n, "is", names[(i + 1) % count]) for i, n in enumerate(names)),
                 *(("hub", "leads to", n) for n in names[:17_000])])  # fmt: skip
    engine = palmette.open_engine("zoo:seedling")
    with tempfile.TemporaryDirectory() as folder:
        first = timed(lambda: GraphConstraint(engine, store, folder=Path(folder)))
        rule: list[GraphConstraint] = []
        second = timed(lambda: rule.append(GraphConstraint(engine, store, folder=Path(folder))))
    masks, steps = [], []
    for walk in range(1000):
        state = rule[0].read(" hub -> leads to ->") if walk % 10 == 5 else rule[0].start()
        while True:
            start = CLOCK()
            mask = rule[0].mask(state)
            masks.append(CLOCK() - start)
            token = int(draw.choice(ids_of(mask)))
            if token in engine.eos:
                break
            start = CLOCK()
            state = rule[0].step(state, token)
            steps.append(CLOCK() - start)
    print(f"names       {count:,} things, one with 17,000 facts of one relation: built in {first:.1f} s, "
          f"from the cache {second:.1f} s")  # fmt: skip
    for said, times in (("masks", masks), ("steps", steps)):
        spread = [np.percentile(times, share) * 1e3 for share in (50, 95, 99.9, 100)]
        print(f"            {len(times):,} {said}: {spread[0]:.3f} ms in the median, {spread[1]:.3f} ms at 95 %, "
              f"{spread[2]:.3f} ms at 99.9 %, {spread[3]:.3f} ms the slowest")  # fmt: skip
    hub = _hub(engine, names[:17_000])
    print(
        f"            asked from the hub alone, its first mask waits {hub[0]:.2f} s, {hub[1]:.2f} s in a later process"
    )


def _hub(engine: Any, names: Sequence[str]) -> list[float]:
    """Seconds of the first mask at a hub, then of the first mask of another constraint, its names kept on disk."""
    store, took = Store(SqliteDatabase(":memory:")), []
    load(store, [("hub", "leads to", name) for name in names])
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            rule = GraphConstraint(engine, store, start=entity(store, "hub"), folder=Path(folder))
            took.append(timed(lambda rule=rule: rule.mask(rule.read(" hub -> leads to ->"))))
    return took


# -- crashes -----------------------------------------------------------------------------------------------------------

CHILD = """
import sys
from palmette.knowledge.answer.evidence import CARE, gather
from palmette.knowledge.documents.read import document_of
from palmette.knowledge.extract.ingest import ingest
from palmette.knowledge.extract.reading import Reading
from palmette.knowledge.store.sqlite import SqliteDatabase
from palmette.knowledge.store.store import Store
from palmette.knowledge.values import Entity, Statement
class Slow:
    id, recipe = "slow", "1"
    def cost(self, piece, title): return 1, 1
    def read(self, piece, title):
        with open(sys.argv[2], "a") as log: log.write(piece.text.splitlines()[0] + "\\n")
        said = [Statement(Entity(f"{piece.text[:12]} {i}"), "says", Entity("something"), 0, 5) for i in range(20)]
        return Reading(tuple(said), 1, 1)
texts = [document_of(f"d{i}", "\\n\\n".join(f"# Part {i} {j}\\n\\nText." for j in range(3))) for i in range(400)]
store = Store(SqliteDatabase(sys.argv[1]))
print("ready", flush=True)
for text in texts:
    done = ingest(store, [text], Slow())
    if done.documents: print(text.name, flush=True)
"""


def crash_part(kills: int = 20) -> None:
    """kill -9 at random moments of one ingestion, which is begun again until it is through."""
    draw = random.Random(5)
    lost = partial = 0
    with tempfile.TemporaryDirectory() as folder:
        database, log = f"{folder}/graph.db", f"{folder}/calls"
        Path(log).touch()
        acknowledged: set[str] = set()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        killed = 0
        while True:
            last = killed >= kills
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, database, log], stdout=subprocess.PIPE, text=True, env=env
            )
            assert child.stdout is not None
            child.stdout.readline()
            if not last:
                time.sleep(draw.uniform(0.01, 0.25))
                child.send_signal(signal.SIGKILL)
            acknowledged |= {line.strip() for line in child.stdout if line.endswith("\n")}
            child.wait()
            store = Store(SqliteDatabase(database))
            lost += len(acknowledged - {d.name for d in store.documents()})
            counts = store.db.rows(
                "SELECT count(*) FROM assertion a JOIN chunk c ON c.id = a.chunk GROUP BY c.document"
            )
            partial += sum(n != 60 for (n,) in counts)
            kept = {k for (k,) in store.db.rows("SELECT chunk_hash FROM reply")}
            store.close()
            if last:
                break
            killed += 1
        calls = Path(log).read_text().splitlines()
        again = len(calls) - len(set(calls))
        # A call whose reply was not kept when the process died was not finished: there is one of these a kill at most.
        print(
            f"crash       {kills} kills: {lost} acknowledged documents lost, {partial} partial; {len(set(calls))} "
            f"pieces in {len(calls)} calls, {again} made again after a kill cut them off; {len(kept)} replies kept"
        )


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--data", default="")
    parser.add_argument("--peer", default="")
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=0, help="of extractions, answers, questions of abstain")
    parser.add_argument("--processor", action="store_true", help="processor time instead of time, on a busy machine")
    given = parser.parse_args()
    if given.processor:
        globals()["CLOCK"] = time.process_time
    parts: dict[str, Callable[[], None]] = {
        "store": lambda: store_part(given.size, given.peer, CLOCK),
        "remove": lambda: remove_part(given.size),
        "extract": lambda: extract_part(given.count or 1000),
        "confined": lambda: confined_part(given.count or 10_000),
        "names": lambda: names_part(100_000),
        "retrieve": lambda: retrieve_part(given.data),
        "abstain": lambda: abstain_part(given.data, given.count),
        "crash": crash_part,
    }
    for name in given.parts or parts:
        if name in ("retrieve", "abstain") and not given.data:
            print(f"{name:<11} skipped: it needs --data")
            continue
        parts[name]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
