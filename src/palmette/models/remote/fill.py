"""A template filled by a model behind an API: gap by gap, each answer checked, and asked for again if it does not fit.

Models on this machine cannot write anything that does not fit; here the template is held by asking. The literal text is
never sent back by the model, so it stands as it is written in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.errors import ConstraintError
from palmette.core.message import Message
from palmette.models.remote.model import RemoteModel
from palmette.tokens.structure.template import Filled, parse_template
from palmette.tokens.structure.template.compile import expanded, kind_in, limits_of
from palmette.tokens.structure.template.fill import Where, holes_in
from palmette.tokens.structure.template.parse import Group, Hole, Literal, Part

__all__ = ["fill_remote"]

_ASK = (
    "You fill one gap in a text. Answer with exactly the characters that stand in the gap: no quotation marks, "
    "no explanation, nothing of the text before or after it."
)


def fill_remote(
    model: RemoteModel,
    template: str,
    *,
    where: Where | None = None,
    tries: int = 3,
    before: Sequence[Message] = (),
    **options: Any,
) -> Filled:
    """Fill a template's holes, groups and lists by asking for one after another.

    Args:
        model: made by `palmette.connect`.
        template: literal text with holes, as for `palmette.fill`.
        where: conditions on values, by the names of holes.
        tries: answers that are looked at for each gap.
        before: a conversation that goes before; the template is the model's next turn in it.
        options: of every call: max_tokens, temperature …

    Returns:
        The text and the values; the log-probability is NaN, since the API does not tell it.

    Raises:
        ConstraintError: if no answer for a gap fits.
    """
    text, values = "", dict[str, Any]()
    parts = expanded(parse_template(template))
    for place, part in enumerate(parts):
        if isinstance(part, Literal):
            text += part.text
            continue
        after = next((p.text for p in parts[place + 1 :] if isinstance(p, Literal)), "")
        turns = [*before, Message.of("user", _question(text, after, part))]
        said, found = _gap(model, turns, after, part, where or {}, tries, options)
        text += said
        values |= found
    return Filled(text, values, float("nan"))


def _question(before: str, after: str, part: Hole | Group) -> str:
    return f"{_ASK}\n\nText before the gap:\n{before}\n\nText after the gap:\n{after}\n\nThe gap holds {_form(part)}."


def _gap(
    model: RemoteModel, turns: list[Message], after: str, part: Hole | Group, where: Where, tries: int,
    options: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """The text of one gap and the values in it."""
    said = complaint = ""
    for _ in range(tries):
        answer = model(turns, **options)
        said = answer.text if after[:1].isspace() or not after else answer.text.strip()
        complaint, values = _read(part, said.rstrip("\n"), where)
        if not complaint:
            return said.rstrip("\n"), values
        turns += [
            Message("assistant", answer.response.parts),
            Message.of("user", f"That does not fit: {complaint}. Again."),
        ]
    raise ConstraintError(f"{model.id} gave {tries} answers that do not fit; the last was {said[:80]!r}: {complaint}")


def _read(part: Hole | Group, said: str, where: Where) -> tuple[str, dict[str, Any]]:
    """What is wrong with an answer, or an empty text; and the values in it."""
    try:
        values = holes_in((part,), said)
    except ConstraintError:
        return f"{said[:60]!r} is not {_form(part)}", {}
    for name, test in where.items():
        rows = values.get(name, [])
        if name in values and not all(test(v) for v in (rows if isinstance(rows, list) else [rows])):
            return f"{name} may not be {values[name]!r}", {}
    return "", values


def _form(part: Part) -> str:
    """What a gap may hold, in words."""
    if isinstance(part, Literal):
        return f"the text {part.text!r}"
    if isinstance(part, Hole):
        kind, limits = kind_in(part), limits_of(part)
        options = " or ".join(map(repr, part.arguments))
        what = (
            f"{options}"
            if part.kind == "choice"
            else f"a {part.kind} that matches the regular expression {kind.pattern}"
        )
        length = f", of at most {limits.tokens} tokens" if limits.tokens else ""
        return f"{part.name}: {what}{length}"
    ways = ", or ".join(_sequence(way) for way in part.ways)
    if (part.least, part.most) == (1, 1):
        return ways
    most = "any number of" if part.most is None else f"at most {part.most}"
    return f"at least {part.least} and {most} times: {ways}"


def _sequence(way: Sequence[Part]) -> str:
    return " then ".join(_form(part) for part in way) or "nothing"
