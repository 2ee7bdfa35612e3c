"""The course's lesson on knowledge graphs, step by step, on any model: what it did, and what is possible beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from palmette.core.errors import PalmetteError
from palmette.core.message import Message, Request
from palmette.core.model import Model
from palmette.knowledge.apple import QUESTION, SENTENCE, TRIPLES, TYPES
from palmette.knowledge.picture.drawing import drawn
from palmette.models.graph import graph
from palmette.models.opening import model as open_model

__all__ = ["demo"]


def demo(model: str = "none") -> Iterator[str]:
    """The seven steps as lines to read.

    >>> lines = list(demo("none"))
    >>> sum(line.startswith("Step") for line in lines)
    7
    """
    source: Any = None if model == "none" else open_model(model)
    yield f"Step 1. The question without a graph: {QUESTION}"
    yield f"  {_freely(source)}"

    yield f"Step 2. A graph from one sentence: {SENTENCE}"
    with graph() as notes:
        options: dict[str, Any] = (
            {} if source is None or not hasattr(source, "engine") else {"least": 1, "max_tokens": 200}
        )
        try:
            notes.add(SENTENCE, name="sentence", by=source, **options)
        except PalmetteError as error:
            yield f"  {model} read nothing: {error}"
        if source is not None:
            notes.add(SENTENCE, name="by rules")
        for fact in notes.facts():
            (said,) = notes.quotes(fact)[:1]
            yield f"  {fact.subject} | {fact.relation} | {fact.object}   {said.quote}"

        yield "Step 3. Its picture (palmette graph show --svg draws it)"
        picture = drawn(notes.facts())
        yield f"  {len(picture.spots)} things, {len(picture.bonds)} lines, {picture.width:g} × {picture.height:g}"

        yield "Step 4. The question with this graph"
        yield from _asked(notes, source)

    with graph() as apple:
        apple.say(*TRIPLES, types=TYPES)
        yield f"Step 5. A graph by hand: {len(TRIPLES)} facts"
        yield f"  two relations between the same two things stay two, and {apple.path('iPhone', 'Steve Jobs')}"
        yield "Step 6. Its picture"
        picture = drawn(apple.facts())
        yield f"  {len(picture.spots)} things, {len(picture.bonds)} lines, {picture.width:g} × {picture.height:g}"
        yield "Step 7. The same question with that graph"
        yield from _asked(apple, source)
        yield f"  asked what is not there: {apple.ask('Who leads Microsoft?').text}"


def _freely(source: Any) -> str:
    if source is None:
        return "(no model: nothing can be said without a graph)"
    if isinstance(source, Model):
        response = source.respond(Request((Message.of("user", QUESTION),), max_tokens=40))
        return f"{source.id} says: {response.text.strip()!r}"
    return ""


def _asked(notes: Any, source: Any) -> Iterator[str]:
    modes = ["none"] if source is None else ["cite", "confined"] if hasattr(source, "engine") else ["cite"]
    for mode in modes:
        answer = notes.ask(QUESTION, by=None if mode == "none" else source, mode=mode, abstain=False)
        shown = answer.text.replace("\n", " ")
        yield f"  {mode}: {shown}"
