"""Decoding end to end: text, stops, budgets, one tree for several runs, and what is recorded."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import law, world

from palmette.core.engine import Budget, Engine
from palmette.core.errors import BadParameter, EmptyPrompt, PromptTooLong, UsageError
from palmette.tokens.decode import Plan, decode, decode_together
from palmette.tokens.gather import Gather
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import STRATEGIES, beam, greedy, nucleus, sample
from palmette.tokens.text import TextStream, text_of
from palmette.tokens.trace.json import from_json, to_json
from palmette.tokens.views import ban, compose, temperature, top_k

BYTES = ["a", "b", "é", "…", "😀", "ab", "\n", "<end>"]


class ByteTokenizer:
    """Every byte is a token: characters are cut wherever they can be."""

    size = 256
    special: frozenset[int] = frozenset()

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    encode_continuation = encode

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return bytes([token])

    def token_name(self, token: int) -> str:
        return repr(bytes([token]))


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=4), max_size=3))
@settings(max_examples=200, deadline=None)
def test_streamed_text_is_the_text(text: str, stop: list[str]) -> None:
    tokenizer, stops = ByteTokenizer(), [s.encode() for s in stop]
    stream = TextStream(tokenizer, stops)
    pieces = [stream.push([b]) for b in text.encode()]
    whole = "".join(pieces) + stream.close()
    assert whole == text_of(tokenizer, text.encode(), stops)
    places = [at for s in stop if (at := text.encode().find(s.encode())) >= 0]
    if not places:
        assert whole == text
    else:
        assert text.startswith(whole)
        assert not any(s in whole for s in stop)


def test_incomplete_characters_are_held_back_and_shown_as_replacement_at_the_end() -> None:
    stream = TextStream(ByteTokenizer())
    assert [stream.push([b]) for b in "é".encode()] == ["", "é"]
    assert stream.push("é".encode()[:1]) == ""
    assert stream.close() == "\ufffd"


def chain(labels: list[str], eos: int | None = None) -> MatrixEngine:
    """An engine that says its labels in order, round and round."""
    size = len(labels)
    return MatrixEngine(np.roll(np.eye(size), 1, axis=1), eos=() if eos is None else eos, labels=labels)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "speculative"])
def test_a_stop_string_ends_an_answer_across_token_borders(name: str) -> None:
    engine = chain(["a", "b", "c", "d"])
    done = decode(engine, "a", STRATEGIES[name](), stop=["cda"], max_tokens=12).run()
    assert done.text == "b"
    assert done.answers[0].finish == "stop"
    assert done.answers[0].tokens == (1, 2, 3, 0)


def test_a_stop_string_inside_the_prompt_does_not_count() -> None:
    done = decode(chain(["a", "b", "c"]), "ab", greedy(), stop=["bc"], max_tokens=6).run()
    assert done.text == "ca"  # the prompt's b is not part of the answer: the first bc inside the answer ends it
    assert done.answers[0].finish == "stop"


def test_max_tokens_and_the_context_end_an_answer() -> None:
    assert decode(chain(["a", "b"]), "a", greedy(), max_tokens=5).run().answers[0].finish == "length"
    small = MatrixEngine(np.eye(3), context_length=4)
    assert len(decode(small, "a", greedy(), max_tokens=9).run().answers[0].tokens) == 3


def test_bad_prompts_and_budgets_are_refused() -> None:
    engine = MatrixEngine(np.eye(3), context_length=4)
    with pytest.raises(EmptyPrompt):
        decode(engine, "")
    with pytest.raises(EmptyPrompt):
        decode(engine, [])
    with pytest.raises(PromptTooLong, match=r"4 tokens.*context holds 4"):
        decode(engine, "abca")
    with pytest.raises(BadParameter, match="token 7"):
        decode(engine, [7])
    with pytest.raises(BadParameter, match="max_tokens"):
        decode(engine, "a", max_tokens=0)
    with pytest.raises(BadParameter, match="stop string"):
        decode(engine, "a", stop=[""])
    with pytest.raises(BadParameter, match="strategy"):
        decode_together(engine, "a", [])


def test_several_runs_leave_one_tree() -> None:
    plans = [
        Plan(beam(3), (), "beam"),
        Plan(greedy(), (), "greedy"),
        Plan(nucleus(0.8), (temperature(0.9),), "nucleus"),
    ]
    done = decode_together(world(2, 6, eos=5), "ab", plans, max_tokens=6, model="world").run()
    trace = done.trace
    keys = [tuple(n.token for n in trace.path(node.id)) for node in trace.nodes]
    assert len(keys) == len(set(keys)), "equal prefixes are one node"
    for run, answers in enumerate(done.all_answers):
        assert [tuple(n.token for n in trace.path(a.node)) for a in trace.runs[run].answers] == [
            h.tokens for h in answers
        ]
        for node in trace.path(trace.runs[run].answers[0].node):
            assert any(v.run == run and v.kept for v in node.visits)
    assert from_json(to_json(trace)) == trace
    shared = trace.parting(0, 1)
    assert shared in {0, *(n.id for n in trace.path(trace.runs[0].answers[0].node))}


def test_the_trace_says_what_happened() -> None:
    engine = world(1, 6, eos=5)
    trace = decode(engine, "a", greedy(), views=[temperature(0.5), top_k(2), ban([0])], max_tokens=3).run().trace
    for node in trace.walk():
        if node.expansion is None:
            continue
        row = engine.logits[node.token if node.id else 0]
        look = node.expansion.looks[0]
        assert [c.logprob for c in node.expansion.candidates] == pytest.approx(sorted(row, reverse=True), abs=1e-5)
        assert [s.view for s in look.stages] == ["temperature", "top_k", "ban"]
        assert look.stages[1].kept == 2
        assert len(look.stages[1].removed) == 4
        p = np.exp(2 * row.astype(float))
        assert look.stages[1].removed_mass == pytest.approx(1 - np.sort(p)[-2:].sum() / p.sum(), abs=1e-5)
        left = [lp for lp in look.logprobs if lp is not None]
        assert sum(math.exp(lp) for lp in left) == pytest.approx(1.0, abs=1e-6)
        assert node.expansion.rest == pytest.approx(0.0, abs=1e-6)


def test_pruned_beams_stay_in_the_trace_with_their_scores() -> None:
    trace = decode(world(3, 6, eos=None), "a", beam(2), max_tokens=4).run().trace
    pruned = [v for node in trace.nodes for v in node.visits if not v.kept]
    assert pruned and all(v.score < 0 for v in pruned)


def test_a_trace_holds_no_engine_memory() -> None:
    done = decode(world(0, eos=None), "a", beam(4), max_tokens=6).run()
    trace = done.trace
    del done
    gc.collect()
    from palmette.tokens.matrix import MatrixNode

    assert not [o for o in gc.get_objects() if type(o) is MatrixNode]
    assert len(trace.nodes) > 6


def test_an_interrupted_decoding_keeps_what_it_has() -> None:
    class Fragile(MatrixEngine):
        calls = 0

        def extend(self, nodes: object, tokens: object) -> list:  # type: ignore[override, type-arg]
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().extend(nodes, tokens)  # type: ignore[arg-type]

    engine = Fragile(np.roll(np.eye(4), 1, axis=1))
    done = decode(engine, "a", greedy(), max_tokens=9)
    with pytest.raises(KeyboardInterrupt):
        done.run()
    assert done.text == "bcd"
    assert len(done.trace.nodes) == 4


@given(st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 3), min_size=1, max_size=3)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_gathering_changes_nothing(script: list[tuple[int, list[int]]]) -> None:
    """Any pattern of extensions, read or not, gives the nodes that the bare engine gives."""
    plain, gather = world(1, eos=None), Gather(world(1, eos=None))
    ours, theirs = gather.prefill([[0, 1]]), plain.prefill([[0, 1]])
    for place, tokens in script:
        at = place % len(ours)
        ours += gather.extend([ours[at]], [tokens])
        theirs += plain.extend([theirs[at]], [tokens])
        if place == 3:
            assert ours[-1].scores.best == theirs[-1].scores.best
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.depth, mine.key, mine.token) == (other.depth, other.key, other.token)
        assert mine.logits.tolist() == other.logits.tolist()


def test_gather_runs_nothing_that_nobody_reads() -> None:
    gather = Gather(world(0))
    node = gather.prefill([[0]])[0]
    gather.extend([node], [[1]])
    assert gather.passes == 0
    assert node.scores.count == 4
    assert gather.passes == 1


def test_views_of_different_engines_do_not_mix() -> None:
    engine: Engine = temperature(0.5)(world(0))
    other = top_k(2)(world(0)).prefill([[0]])[0]
    with pytest.raises(UsageError):
        engine.extend([other], [[1]])


def test_law_helper_is_a_probability() -> None:
    assert len(law(compose(world(0), [top_k(2)]), [0], Budget(3))) <= 2**3 + 2
    assert sample()
