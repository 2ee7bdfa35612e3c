"""What the seedling can do, as figures: each task's items are drawn with seeds that training
never uses (a training seed is ``train:<seed>:<step>``, here it is ``measure:<seed>:<task>``).

The engine is an argument: ``complete(prompts, max_tokens, stop)`` returns greedy
continuations, cut before ``stop`` and before the end token. Nothing here imports one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from zoo.arithmetic import THINK, Style, chain, total
from zoo.calculator import calculator, tool
from zoo.closed_book import closed_book, held_out_questions
from zoo.reading import UNKNOWN, counterfactual, grounded, triples
from zoo.text import Item
from zoo.world import JOBS, TOWNS, World

Complete = Callable[[list[str], int, str], list[str]]
ANSWER = re.compile(r"The answer is (-?\d+)\.")
MOST_CALLS = 4


@dataclass(frozen=True)
class Figure:
    """One measured share: name, value in [0, 1], number of items."""

    name: str
    value: float
    n: int


def drawn(seed: int, task: str) -> random.Random:
    """The generator of one measured task."""
    return random.Random(f"measure:{seed}:{task}")


def exact(complete: Complete, items: Sequence[Item], max_tokens: int) -> list[bool]:
    """Whether the first line of each continuation is the answer."""
    replies = complete([each.prompt for each in items], max_tokens, "\n")
    return [reply.strip() == each.answer for reply, each in zip(replies, items, strict=True)]


def last_number(text: str) -> str | None:
    """The number in the last "The answer is 21." of the text."""
    found = ANSWER.findall(text)
    return found[-1] if found else None


def figure(name: str, hits: Sequence[bool]) -> Figure:
    """The share of hits."""
    return Figure(name, sum(hits) / len(hits), len(hits))


def closed_book_seen(complete: Complete, world: World, seed: int, n: int) -> Figure:
    """Questions of the trained list: people asked about, towns, events."""
    rng = drawn(seed, "closed book")
    items = [closed_book(rng, world) for _ in range(n)]
    return figure("closed book, asked in training", exact(complete, items, 16))


def closed_book_held_out(complete: Complete, world: World, seed: int) -> Figure:
    """All 70 facts of the ten people about whom no question was ever trained."""
    items = held_out_questions(drawn(seed, "held out"), world.held_out)
    return figure("closed book, never asked in training", exact(complete, items, 16))


def arithmetic(complete: Complete, world: World, seed: int, n: int, steps: int, style: Style, kind: str) -> Figure:
    """Word problems with the style forced by the first words of the answer."""
    rng = drawn(seed, f"{kind} {steps}")  # the same problems in both styles
    build = {"chain": chain, "total": total}[kind]
    items = [build(rng, world, steps, "direct") for _ in range(n)]
    opening = f" {THINK}" if style == "scratchpad" else " The answer is"
    length = 24 + 20 * steps if style == "scratchpad" else 8
    replies = complete([each.prompt + opening for each in items], length, "\n")
    hits = [
        last_number(opening + reply) == last_number(each.answer) for reply, each in zip(replies, items, strict=True)
    ]
    return figure(f"{kind} of {steps} steps, {style}", hits)


def style_followed(complete: Complete, world: World, seed: int, n: int, example: Style | None) -> Figure:
    """How often a scratchpad is used after one worked example of a style, or after none."""
    rng = drawn(seed, f"style {example}")
    prompts = []
    for _ in range(n):
        shown = chain(rng, world, 3, example) if example else None
        head = f"{shown.prompt} {shown.answer}\n" if shown else ""
        prompts.append(head + chain(rng, world, 3, "direct").prompt)
    replies = complete(prompts, 8, "\n")
    hits = [reply.strip().startswith("Let us") for reply in replies]
    return figure(f"scratchpad used after {example or 'no'} example", hits)


def calculator_loop(complete: Complete, seed: int, n: int) -> Figure:
    """The model writes calls, the tool writes results, until an answer is written."""
    rng = drawn(seed, "calculator")
    items = [calculator(rng) for _ in range(n)]
    texts = [each.prompt for each in items]
    running = list(range(n))
    for _ in range(MOST_CALLS):
        replies = complete([texts[i] for i in running], 24, "=")
        still = []
        for i, reply in zip(running, replies, strict=True):
            written = tool(reply + "=")
            texts[i] += reply + ("=" + written if written else "")
            still += [i] if written else []
        running = still
        if not running:
            break
    hits = [
        first_answer(text[len(each.prompt) :]) == last_number(each.answer)
        for text, each in zip(texts, items, strict=True)
    ]
    return figure("calculator, with the tool", hits)


def first_answer(text: str) -> str | None:
    """The number in the first "The answer is 21." of the text."""
    found = ANSWER.search(text)
    return found[1] if found else None


def calculator_direct(complete: Complete, seed: int, n: int) -> Figure:
    """The same questions in the head."""
    rng = drawn(seed, "calculator")
    items = [calculator(rng) for _ in range(n)]
    replies = complete([each.prompt + " The answer is" for each in items], 8, "\n")
    hits = [
        first_answer(" The answer is" + reply) == last_number(each.answer)
        for reply, each in zip(replies, items, strict=True)
    ]
    return figure("calculator, in the head", hits)


def reading(complete: Complete, world: World, seed: int, n: int) -> Figure:
    """Questions that the text answers."""
    rng = drawn(seed, "reading")
    items = [grounded(rng, world, 0.0)[0] for _ in range(n)]
    return figure("reading, answer in the text", exact(complete, items, 16))


def refusal(complete: Complete, world: World, seed: int, n: int) -> Figure:
    """Questions that the text leaves open."""
    rng = drawn(seed, "refusal")
    items = [grounded(rng, world, 1.0)[0] for _ in range(n)]
    return figure(f'reading, "{UNKNOWN}"', exact(complete, items, 16))


def text_over_memory(complete: Complete, world: World, seed: int, n: int) -> list[Figure]:
    """A sentence that contradicts the world: is the text followed, or memory?"""
    rng = drawn(seed, "counterfactual")
    pairs = [counterfactual(rng, world) for _ in range(n)]
    prompts = [by_text.prompt for by_text, _ in pairs]
    replies = [reply.strip() for reply in complete(prompts, 16, "\n")]
    text = [r == by_text.answer for r, (by_text, _) in zip(replies, pairs, strict=True)]
    memory = [r == known.answer for r, (_, known) in zip(replies, pairs, strict=True)]
    alone = exact(complete, [known for _, known in pairs], 16)
    return [
        figure("text against memory: text followed", text),
        figure("text against memory: memory followed", memory),
        figure("the same questions without the text: memory", alone),
    ]


def extraction(complete: Complete, world: World, seed: int, n: int, facts: int) -> list[Figure]:
    """All triples of a text exactly and in order, and the F1 of the set of triples."""
    rng = drawn(seed, f"triples {facts}")
    items = [triples(rng, world, facts) for _ in range(n)]
    replies = complete([each.prompt for each in items], 8 + 24 * facts, "\n")
    hits, f1 = [], 0.0
    for reply, each in zip(replies, items, strict=True):
        hits.append(reply.strip() == each.answer)
        got, want = (set(re.findall(r"\([^)]*\)", text)) for text in (reply, each.answer))
        f1 += 2 * len(got & want) / (len(got) + len(want)) / n
    name = f"triples from {facts} fact{'s' * (facts > 1)}"
    return [figure(f"{name}, all exact", hits), Figure(f"{name}, F1", f1, n)]


def true_to_the_world(world: World, story: str) -> bool:
    """Whether job and towns of a story are those of its first person and their friend."""
    names = {each.name for each in world.people}
    heroes = [word for word in re.findall(r"[A-Z]\w+", story) if word in names]
    if not heroes:
        return False
    hero = world.person(heroes[0])
    friend = world.person(hero.facts["friend"])
    towns = [word for word in re.findall(r"\w+", story) if word in TOWNS]
    if not towns or towns[0] not in (hero.facts["town"], friend.facts["town"]):
        return False
    if set(towns) - {hero.facts["town"], friend.facts["town"]}:
        return False
    opening = next((word for word in re.findall(r"\w+", story) if word in JOBS), None)
    named = [(n, job) for n, job in re.findall(r"(\w+) the (\w+)", story) if job in JOBS]
    told = all(n in names and world.person(n).facts["job"] == job for n, job in named)
    return opening in (hero.facts["job"], None) and told


def acceptance(complete: Complete, world: World, seed: int = 1, n: int = 100) -> list[Figure]:
    """The figures that a build has to reach, see ``REQUIRED``."""
    direct = arithmetic(complete, world, seed, n, 4, "direct", "chain")
    scratchpad = arithmetic(complete, world, seed, n, 4, "scratchpad", "chain")
    return [
        Figure("scratchpad minus direct, 4 steps", scratchpad.value - direct.value, n),
        calculator_loop(complete, seed, n),
        closed_book_seen(complete, world, seed, n),
        closed_book_held_out(complete, world, seed),
        reading(complete, world, seed, n),
        extraction(complete, world, seed, n, 2)[0],
    ]


REQUIRED: dict[str, float] = {
    "scratchpad minus direct, 4 steps": 0.5,
    "calculator, with the tool": 0.95,
    "closed book, asked in training": 0.9,
    "closed book, never asked in training": 0.6,
    "reading, answer in the text": 0.85,
    "triples from 2 facts, all exact": 0.9,
}


def everything(complete: Complete, world: World, seed: int = 1, n: int = 200) -> list[Figure]:
    """All figures of the model card, those of ``acceptance`` first."""
    figures = acceptance(complete, world, seed, n)
    styles: tuple[Style, Style] = ("direct", "scratchpad")
    for style in styles:
        for steps in range(1, 9 if style == "scratchpad" else 5):
            figures.append(arithmetic(complete, world, seed, n, steps, style, "chain"))
    for steps in range(1, 5):
        figures.append(arithmetic(complete, world, seed, n, steps, "scratchpad", "total"))
    examples: tuple[Style | None, ...] = (None, *styles)
    figures += [style_followed(complete, world, seed, n, example) for example in examples]
    figures.append(calculator_direct(complete, seed, n))
    figures.append(refusal(complete, world, seed, n))
    figures += text_over_memory(complete, world, seed, n)
    for facts in range(1, 7):
        figures += extraction(complete, world, seed, n, facts)
    return figures


def as_rows(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Figures as JSON values, each name once."""
    return list({each.name: asdict(each) for each in figures}.values())
