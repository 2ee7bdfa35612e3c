"""What may still hold: the alternatives of a canonical schema that the closed members of an open container leave.

A container opens with the arrays or objects that the schema allows at its place; each member that closes strikes out
the alternatives it contradicts. When none is left, no document begins like this. Parts that the mask enforces by itself
are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from jsonschema_rs import CanonicalSchema, canonical, canonicalize, validator_for

from palmette.tokens.structure.schema.lower import Lowering
from palmette.tokens.structure.schema.pattern import is_found
from palmette.tokens.structure.schema.source import PATTERNS, Source
from palmette.tokens.structure.schema.stream import Frame

__all__ = ["Case", "Place", "SchemaRules"]

_DISTINCT = (canonical.Distinctness.ALL_DISTINCT, canonical.Distinctness.SOME_REPEATED)
_MOST = 64  # alternatives that are followed; more are left to the value around them


class Place:
    """Where a value stands: the canonical schema it must satisfy."""

    def __init__(self, node: CanonicalSchema, rules: SchemaRules) -> None:
        self.node = node
        self._rules = rules

    @cached_property
    def exact(self) -> bool:
        """Whether the mask alone enforces it."""
        return not self._rules.doubtful and self._rules.lowering.exact(self.node)

    @cached_property
    def narrow(self) -> bool:
        """Whether it is a string of limited form that the mask does not enforce alone."""
        views = [case.view for case in self.cases or ()]
        strings = [view for view in views if isinstance(view, canonical.StringView)]
        return not self.exact and any(view.patterns or view.max_length is not None for view in strings)

    @cached_property
    def _validator(self) -> Any:
        schema: Any = self.node.to_json_schema()
        return validator_for(
            schema,
            validate_formats=self._rules.source.formats,
            registry=self._rules.source.registry,
            offline=True,
            pattern_options=PATTERNS,
        )

    def accepts(self, value: Any) -> bool:
        """Whether a closed value satisfies it."""
        try:
            return bool(self._validator.is_valid(value))
        except (ValueError, OverflowError):
            return False

    @cached_property
    def cases(self) -> tuple[Case, ...] | None:
        """Its alternatives, unions and references followed; None when there are too many to follow."""
        out: list[Case] = []
        todo, seen = [self.node], 0
        while todo:
            node, seen = todo.pop(), seen + 1
            view = node.view()
            if isinstance(view, (canonical.AnyOfView, canonical.OneOfView)):
                todo += view.branches
            elif isinstance(view, canonical.ReferenceView):
                target = self._rules.lowering.target(view.uri)
                todo += [] if target is None else [target]
                seen += 4 * _MOST if target is None else 0
            elif isinstance(view, canonical.AllOfView):
                whole = self._rules.lowering.merged(view.branches)
                if whole is None or isinstance(whole.view(), canonical.AllOfView):
                    return None
                todo.append(whole)
            elif not isinstance(view, canonical.FalseView):
                out.append(Case(view, self._rules, node))
            if seen > 4 * _MOST or len(out) > _MOST:
                return None
        return tuple(out[::-1])


class Case:
    """One alternative of a place."""

    def __init__(self, view: Any, rules: SchemaRules, node: CanonicalSchema) -> None:
        self.view = view
        self.node = node
        self._rules = rules
        self._places: dict[str | int, Place | None] = {}

    def opens(self, kind: int) -> bool:
        """Whether it may be an array (or an object, by the bracket)."""
        name, wanted = ("array", canonical.ArrayView) if kind == 0x5B else ("object", canonical.ObjectView)
        view = self.view
        if isinstance(view, canonical.MultiTypeView):
            return name in view.types
        if isinstance(view, canonical.TypedGroupView):
            return bool(view.type_name == name)
        if isinstance(view, (canonical.ConstView, canonical.EnumView)):
            values = [view.value] if isinstance(view, canonical.ConstView) else view.values
            return any(isinstance(value, list if kind == 0x5B else dict) for value in values)
        scalar = (canonical.StringView, canonical.NumberView, canonical.IntegerView)
        return isinstance(view, wanted) or not isinstance(view, (*scalar, canonical.ArrayView, canonical.ObjectView))

    @cached_property
    def wanted(self) -> list[tuple[Place, int]]:
        """What an array must contain, and how often it matters."""
        return [
            (self._rules.place(one.schema), int(one.max_contains or one.min_contains or 1) + 1)
            for one in self.view.contains
        ]

    @cached_property
    def wanted_at_least(self) -> list[tuple[Place, int]]:
        """What an array must contain, and how often at least."""
        least = (1 if one.min_contains is None else int(one.min_contains) for one in self.view.contains)
        return [(self._rules.place(one.schema), n) for one, n in zip(self.view.contains, least, strict=True)]

    def crowded(self, count: int) -> bool:
        """Whether an array of `count` items has hardly more room than what it must contain."""
        view = self.view
        if not isinstance(view, canonical.ArrayView) or view.max_items is None or not view.contains:
            return False
        return view.max_items - count <= 1 + sum(int(one.min_contains or 1) for one in view.contains)

    def repeats(self, frame: Frame, value: Any) -> bool:
        """Whether `value` is a second one where all must differ."""
        view = self.view
        if not isinstance(view, canonical.ArrayView) or view.distinctness != canonical.Distinctness.ALL_DISTINCT:
            return False
        text, link = canonical.json.to_string(value), frame.held
        while link is not None:
            if canonical.json.to_string(link[2]) == text:
                return True
            link = link[0]
        return False

    def inside(self, key: str | int) -> Place | None:
        """The place of a member; None where this case does not say."""
        if key not in self._places:
            parts = self._object(key) if isinstance(key, str) else self._array(key)
            whole = self._rules.lowering.merged(parts) if parts else None
            self._places[key] = None if whole is None else self._rules.place(whole)
        return self._places[key]

    def _array(self, index: int) -> list[CanonicalSchema]:
        view = self.view
        if not isinstance(view, canonical.ArrayView):
            return []
        if index < len(view.prefix_items):
            return [view.prefix_items[index]]
        return [] if view.items is None else [view.items]

    def _object(self, name: str) -> list[CanonicalSchema]:
        view = self.view
        if not isinstance(view, canonical.ObjectView):
            return []
        parts = [view.properties[name]] if name in view.properties else []
        parts += [inner for pattern, inner in view.pattern_properties.items() if is_found(pattern, name)]
        if not parts and view.additional_properties is not None:
            parts.append(view.additional_properties)
        return parts


class SchemaRules:
    """The rules of one schema: alternatives for what is open, the validator for the whole document.

    Args:
        source: the schema and its validator.
        lowering: the canonical schema and what the mask enforces of it.
        inexact: whether anything at all is left to the validator.
        doubtful: whether the mask says less than the lowering, so that nothing counts as enforced by it.
    """

    def __init__(self, source: Source, lowering: Lowering, inexact: bool, doubtful: bool = False) -> None:
        self.doubtful = doubtful
        self.source = source
        self.lowering = lowering
        self._places_of: dict[CanonicalSchema, Place] = {}
        self.root = self.place(lowering.root)
        self.inexact = inexact
        self.trust: Callable[[Case], int] = lambda case: 0
        self.most_trust = 0

    def place(self, node: CanonicalSchema) -> Place:
        """The place of a canonical schema; one for each."""
        if node not in self._places_of:
            self._places_of[node] = Place(node, self)
        return self._places_of[node]

    @cached_property
    def anything(self) -> Place:
        """A place for any value."""
        return self.place(canonicalize(True))

    def opened(self, frame: Frame | None, kind: int) -> tuple[tuple[Case, ...] | None, int]:
        """The cases of a container that opens inside `frame`, and how far the mask is trusted in it."""
        if not self.inexact:
            return None, 0
        trust = self.most_trust if frame is None else frame.trust
        if trust and frame is not None and frame.cases is None:
            return None, trust  # inside what the mask enforces
        places = [self.root] if frame is None else self._places(frame)
        if places is None:
            return None, 0
        if all(place.exact for place in places):
            return None, trust
        out: list[Case] = []
        for place in places:
            if place.cases is None:
                return None, 0
            out += [case for case in place.cases if case.opens(kind)]
        if len(out) > _MOST:
            return None, 0
        return tuple(out), min(trust, self.trust(out[0])) if trust and len(out) == 1 else 0

    def member(self, frame: Frame, value: Any) -> tuple[bool, tuple[Case, ...] | None]:
        """Whether `value` may close as the next member of `frame`, and the cases it leaves."""
        if frame.cases is None:
            return True, None
        key = frame.count if frame.key is None else frame.key
        left = []
        for case in frame.cases:
            place = case.inside(key)
            sure = place is None or (len(frame.cases) == 1 and place.exact)
            if (sure or (place is not None and place.accepts(value))) and not case.repeats(frame, value):
                left.append(case)
        return bool(left), tuple(left)

    def mark(self, frame: Frame) -> tuple[object, bool]:
        """What a search tells this container from others by, and whether that is all there is to it.

        Where an array must contain something, what counts is how much of it is there.
        """
        cases = frame.cases
        views = [case.view for case in cases or ()]
        loose = [isinstance(v, canonical.ArrayView) and v.distinctness not in _DISTINCT for v in views]
        if cases is None or not all(loose):
            return (frame.keys if cases is None else repr(frame.value())), True
        held = frame.value()
        found = tuple(
            min(sum(place.accepts(value) for value in held), least) for case in cases for place, least in case.wanted
        )
        return (tuple(map(id, cases)), found), False

    def narrow(self, frame: Frame | None) -> bool:
        """Whether a value here may run into a dead end: few strings, not all of them right, or little room left."""
        if frame is not None and any(case.crowded(frame.count) for case in frame.cases or ()):
            return True
        places = [self.root] if frame is None else self._places(frame)
        return any(place.narrow for place in places or ())

    def whole(self, value: Any) -> bool:
        """Whether the validator accepts the document."""
        return self.source.valid(value)

    def _places(self, frame: Frame) -> list[Place] | None:
        """Where the next member of `frame` may stand; None where nothing is known."""
        if frame.cases is None:
            return None
        key = frame.count if frame.key is None else frame.key
        places = [case.inside(key) for case in frame.cases]
        return None if None in places else [place for place in places if place is not None]
