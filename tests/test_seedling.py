"""The shipped weights of ``zoo:seedling`` reach the figures that its build promises, and its
data keep their own laws (held-out people are never asked about, the tool is weightless).
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from zoo.arithmetic import chain, total
from zoo.calculator import calculator, evaluate, tool
from zoo.measure import (
    REQUIRED,
    Complete,
    Figure,
    arithmetic,
    calculator_loop,
    closed_book_held_out,
    closed_book_seen,
    extraction,
    last_number,
    reading,
    true_to_the_world,
)
from zoo.mixture import MIXTURE, document
from zoo.stories import story
from zoo.text import Item
from zoo.world import build_world

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "src" / "palmette" / "models" / "zoo" / "seedling"
WORLD = build_world()
SEED, N = 2, 100  # other items than those of the model card


@functools.cache
def _engine() -> Complete:
    pytest.importorskip("transformers")
    from zoo.engine import Engine

    return Engine(FOLDER)


def complete(prompts: list[str], max_tokens: int, stop: str) -> list[str]:
    """Greedy continuations of the shipped model, cut before ``stop``."""
    return _engine()(prompts, max_tokens, stop)


def _reaches(figure: Figure) -> None:
    assert figure.value >= REQUIRED[figure.name], figure


def test_a_scratchpad_beats_direct_answers_at_four_steps() -> None:
    direct = arithmetic(complete, WORLD, SEED, N, 4, "direct", "chain")
    scratchpad = arithmetic(complete, WORLD, SEED, N, 4, "scratchpad", "chain")
    difference = scratchpad.value - direct.value
    _reaches(Figure("scratchpad minus direct, 4 steps", difference, N))


def test_the_calculator_loop_finds_the_answer() -> None:
    _reaches(calculator_loop(complete, SEED, N))


def test_trained_questions_are_answered_from_memory() -> None:
    _reaches(closed_book_seen(complete, WORLD, SEED, N))


def test_people_never_asked_about_are_known_from_prose() -> None:
    _reaches(closed_book_held_out(complete, WORLD, SEED))


def test_answers_are_read_from_the_text() -> None:
    _reaches(reading(complete, WORLD, SEED, N))


def test_two_facts_become_two_triples() -> None:
    _reaches(extraction(complete, WORLD, SEED, N, 2)[0])


def test_a_story_is_told_and_ends_by_itself() -> None:
    (text,) = complete(["Once upon a time"], 300, "")
    longer = complete(["Once upon a time"], 320, "")[0]
    assert text == longer, "the story did not end within 300 tokens"
    assert true_to_the_world(WORLD, "Once upon a time" + text), text


def test_the_folder_is_small_and_a_llama() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6_000_000
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    tokenizer = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    specials = {each["content"]: each["special"] for each in tokenizer["added_tokens"]}
    assert specials == {"<|end|>": True, "<|pad|>": True}


@pytest.mark.parametrize("text", ["", " ", "\n\t", "héllo 日本 🙂", "a  b 123.45", "\x00\x7f", "Ωß"])
def test_the_tokenizer_returns_any_text_unchanged(text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_no_question_is_ever_trained_about_a_held_out_person() -> None:
    rng = random.Random("test")
    names = [each.name for each in WORLD.held_out]
    for _ in range(3000):
        text = "".join(segment.text for segment in document(rng, WORLD))
        if "Q: " in text or "Triples:" in text:
            assert not any(name in text.replace(".", " ").split() for name in names), text


def test_a_document_is_a_function_of_its_generator() -> None:
    assert document(random.Random(3), WORLD) == document(random.Random(3), WORLD)


def test_the_shares_of_the_mixture_sum_to_one() -> None:
    assert sum(share for _, share, _ in MIXTURE) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", range(1, 9))
@pytest.mark.parametrize("build", [chain, total])
def test_every_scratchpad_equation_is_true(build: Callable[..., Item], steps: int) -> None:
    rng = random.Random(steps)
    for _ in range(50):
        answer = build(rng, WORLD, steps, "scratchpad").answer
        equations = [part for part in answer.split(". ") if "=" in part]
        assert len(equations) == steps
        for equation in equations:
            left, operator, right, _, result = equation.split()
            value = int(left) / 2 if operator == "/" else evaluate(int(left), operator, int(right))
            assert value == int(result)
        assert last_number(answer) == equations[-1].split()[-1]


def test_what_the_tool_writes_has_no_weight() -> None:
    item = calculator(random.Random(1))
    text = ""
    for segment in item.reply:
        if segment.weight == 0:
            assert tool(text) == segment.text
        text += segment.text


def test_told_stories_are_true_to_the_world() -> None:
    rng = random.Random(4)
    for _ in range(300):
        (segment,) = story(rng, WORLD)
        assert true_to_the_world(WORLD, segment.text), segment.text
