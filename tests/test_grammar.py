"""Grammars as constraints: every strategy obeys them, states are values, and what must follow costs no forward pass."""

from __future__ import annotations

import re

import numpy as np
import pytest
from worlds import law

import palmette
from palmette.core.engine import Budget, Engine, Strategy
from palmette.core.errors import GrammarError, UsageError
from palmette.core.scores import unpacked
from palmette.tokens.decode import Plan, decode, decode_together
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import STRATEGIES, beam, sample
from palmette.tokens.structure.grammar import lark_constraint, regex_constraint
from palmette.tokens.views import constrain

PATTERNS = ["[a-c]{2,5}x", "(foo|bar)+[a-c]{3,5}", "[0-9]{3}-[0-9]{4}", 'say "hello, wide world" [0-9]', "ä|öü|日本"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return palmette.open_engine("zoo:seedling")


def made(name: str, engine: Engine) -> Strategy:
    return STRATEGIES[name](engine) if name == "speculative" else STRATEGIES[name]()


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_answer_of_every_strategy_matches(engine: Engine, name: str, pattern: str) -> None:
    view = constrain(regex_constraint(engine, pattern))
    done = decode(engine, "Once upon a time", made(name, engine), views=[view], max_tokens=60, seed=2).run()
    for text, answer in zip(done.answer_texts(), done.answers, strict=True):
        assert re.fullmatch(pattern, text)
        assert answer.finish == "eos"


def test_forced_text_costs_no_forward_pass(engine: Engine) -> None:
    view = constrain(regex_constraint(engine, PATTERNS[3]))
    for trace in (False, True):
        done = decode(engine, "He can", sample(), views=[view], max_tokens=60, trace=trace).run()
        assert len(done.answers[0].tokens) > 15
        assert done.gather.passes <= 2, "one for the prompt, one for the digit"
    assert len(done.trace.nodes) == len(done.answers[0].tokens) + 1
    assert all(np.isfinite(n.logprob) and n.logprob < 0 for n in done.trace.nodes[1:]), "the trace has the model's own"


def test_states_are_values(engine: Engine) -> None:
    rule = regex_constraint(engine, "(a|b)[0-9]{0,3}z?")
    start = rule.start()
    masks = {}

    def walk(state: object, depth: int, path: tuple[int, ...]) -> None:
        masks[path] = rule.mask(state).tobytes()  # type: ignore[arg-type]
        if depth:
            for token in np.flatnonzero(unpacked(rule.mask(state), engine.vocabulary))[:4]:  # type: ignore[arg-type]
                walk(rule.step(state, int(token)), depth - 1, (*path, int(token)))  # type: ignore[arg-type]

    walk(start, 4, ())
    before = dict(masks)
    walk(start, 4, ())
    assert masks == before
    assert len(masks) > 20


def test_a_token_that_may_not_follow_leads_nowhere(engine: Engine) -> None:
    rule = regex_constraint(engine, "[0-9]+")
    bad = rule.step(rule.start(), engine.tokenizer.encode_continuation("x")[0])
    assert not rule.mask(bad).any()
    assert not rule.accepts(bad)
    assert rule.mask(rule.start()).any(), "the state before is as it was"


def test_constrained_beams_are_the_best_of_the_language() -> None:
    rows = np.random.default_rng(3).dirichlet(np.ones(5), 5)
    engine = MatrixEngine(rows, eos=4, labels=["a", "b", "c", "d", "$"])
    view = constrain(regex_constraint(engine, "(ab|c)*d"))
    found = decode(engine, "a", beam(400, length_penalty=0.0), views=[view], max_tokens=6).run()
    possible = law(view(engine), [0], Budget(6))
    best = sorted(possible.values(), reverse=True)[:20]
    assert [h.logprob for h in found.answers][:20] == pytest.approx(best, abs=1e-5)
    assert all(possible[h.tokens] == pytest.approx(h.logprob, abs=1e-5) for h in found.answers)


def test_a_grammar_composes_with_others_on_one_tree(engine: Engine) -> None:
    digits, letters = (constrain(regex_constraint(engine, p)) for p in ("[0-9]{4}", "[a-z]{4}"))
    done = decode_together(
        engine, "Once", [Plan(sample(), [digits]), Plan(beam(3), [letters]), Plan(sample(), [digits], seed=5)]
    ).run()
    assert [bool(re.fullmatch(p, t)) for p, t in zip(["[0-9]{4}", "[a-z]{4}", "[0-9]{4}"], done.texts, strict=True)]


def test_lark_grammars(engine: Engine) -> None:
    rule = lark_constraint(engine, 'start: term ("+" term)*\nterm: /[0-9]/ | "(" start ")"')
    for seed in range(5):
        done = decode(engine, "The sum", sample(), views=[constrain(rule)], max_tokens=200, seed=seed).run()
        if done.answers[0].finish == "eos":
            assert eval(done.text) >= 0  # noqa: S307 - digits, plus signs and brackets only


@pytest.mark.parametrize("pattern", ["(?=a)b", "(", r"(a)\1"])
def test_what_cannot_be_compiled_is_refused_and_the_next_request_works(engine: Engine, pattern: str) -> None:
    with pytest.raises(GrammarError, match="does not compile"):
        regex_constraint(engine, pattern)
    assert regex_constraint(engine, "a").forced(regex_constraint(engine, "a").start())


def test_an_engine_that_cannot_end_is_refused() -> None:
    with pytest.raises(UsageError, match="end-of-sequence"):
        regex_constraint(MatrixEngine(np.full((2, 2), 0.5)), "a")
