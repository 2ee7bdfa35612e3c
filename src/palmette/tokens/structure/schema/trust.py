"""How far the mask may be trusted: where whatever the grammar allows can be completed, no search need look ahead.

A part that the mask enforces alone is trusted. So is one whose only demand beyond the mask is that items differ, where
there is no end of different items: nothing but a repetition can go wrong there, and that shows at once.
"""

from __future__ import annotations

import re

from jsonschema_rs import canonical

from palmette.tokens.structure.schema.cases import Case, Place, SchemaRules
from palmette.tokens.structure.schema.witness import FUEL, Witnesses
from palmette.tokens.structure.schema.witness import NONE as MISSING

__all__ = ["DEEP", "HERE", "NONE", "Trust"]

# Nothing is known; what is open can be completed, but parts it may still get must be looked at; neither need be.
NONE, HERE, DEEP = range(3)
_MOST = 500  # parts that one question may lead to
_ROOM = 1000  # different items that are no end of them
_CONTAINERS = (canonical.ArrayView, canonical.ObjectView)
_CLASS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
_LOOP = re.compile(r"[+*]|\{\d+,\}")


class Trust:
    """Answers for the parts of one schema; the answers are kept."""

    def __init__(self, rules: SchemaRules, witnesses: Witnesses) -> None:
        self._rules = rules
        self._witnesses = witnesses
        self._places: dict[Place, bool] = {}
        self._cases: dict[Case, int] = {}

    def case(self, case: Case) -> int:
        """How far the mask is trusted in an array or object that is known to be this alternative."""
        if case not in self._cases:
            parts = self._parts(case)
            level = NONE
            if parts is not None and all(self.place(p) or self._has_values(p) for p in parts):
                level = DEEP if all(map(self.place, parts)) else HERE
            self._cases[case] = level
        return self._cases[case]

    def place(self, place: Place) -> bool:
        """Whether whatever the mask allows here can be completed, all that is inside it included."""
        known = self._places.get(place)
        if known is not None:
            return known
        seen, todo = {place}, [place]
        while todo:
            at = todo.pop()
            if self._places.get(at) or at.exact:
                continue
            inner = None if self._places.get(at) is False or len(seen) > _MOST else self._inside(at)
            if inner is None:
                self._places[place] = False
                return False
            todo += [p for p in inner if p not in seen]
            seen.update(inner)
        self._places.update(dict.fromkeys(seen, True))
        return True

    def scalar(self, place: Place) -> bool:
        """Whether a string, number or word that has begun here can be completed."""
        if self._rules.lowering.own(place.node):
            return False
        scalars = [case for case in place.cases or () if not isinstance(case.view, _CONTAINERS)]
        return bool(scalars) and all(self._rules.place(case.node).exact for case in scalars)

    def _has_values(self, place: Place) -> bool:
        known = place.node.satisfiability() == canonical.Satisfiability.YES
        return known or self._witnesses.of(place, FUEL) is not MISSING

    def _inside(self, place: Place) -> list[Place] | None:
        """The parts of a place whose alternatives differ in their type; None where it is not to be trusted itself."""
        cases = place.cases
        if not cases or any(sum(case.opens(kind) for case in cases) > 1 for kind in b"[{"):
            return None
        parts = [[] if self._rules.place(case.node).exact else self._parts(case) for case in cases]
        return None if None in parts else [p for inner in parts if inner is not None for p in inner]

    def _parts(self, case: Case) -> list[Place] | None:
        """The places of an alternative's members, if it asks for nothing else that the mask does not enforce."""
        own = self._rules.lowering.own(case.node)
        if isinstance(case.view, canonical.ArrayView):
            places = [case.inside(index) for index in range(len(case.view.prefix_items) + 1)]
            found = [place for place in places if place is not None]
            return found if not own or (own == {"uniqueItems"} and self._differ(case.view, found)) else None
        if isinstance(case.view, canonical.ObjectView) and not own:
            return self._members(case)
        return None

    def _members(self, case: Case) -> list[Place] | None:
        view = case.view
        named = [case.inside(name) for name in view.properties]
        loose = [self._rules.place(node) for node in view.pattern_properties.values()]
        if len(loose) > 1 and not all(place.exact for place in loose):
            return None  # a name may match several
        if view.additional_properties is not None:
            loose.append(self._rules.place(view.additional_properties))
        return None if None in named else [p for p in named if p is not None] + loose

    def _differ(self, view: canonical.ArrayView, places: list[Place]) -> bool:
        """Whether there is no end of different items."""
        distinct = view.distinctness == canonical.Distinctness.ALL_DISTINCT and not view.contains
        return distinct and all(self._roomy(place) for place in places)

    def _roomy(self, place: Place, depth: int = 3) -> bool:
        return depth > 0 and any(self._endless(case, depth) for case in place.cases or ())

    def _endless(self, case: Case, depth: int) -> bool:
        """Whether an alternative has very many values."""
        match case.view:
            case canonical.TrueView():
                return True
            case canonical.MultiTypeView() as v:
                return not {"string", "number", "integer", "array", "object"}.isdisjoint(v.types)
            case canonical.StringView() as v:
                long = v.max_length is None or v.max_length >= 3
                return long and not v.formats and all(_LOOP.search(_CLASS.sub("", p)) for p in v.patterns)
            case canonical.IntegerView() | canonical.NumberView() as v:
                far = v.minimum is None or v.maximum is None or float(v.maximum) - float(v.minimum) >= _ROOM
                return far and not v.multiple_of
            case canonical.ObjectView() as v:
                members = [inside for name in v.properties if (inside := case.inside(name)) is not None]
                return v.max_properties is None and any(self._roomy(member, depth - 1) for member in members)
            case canonical.ArrayView() as v:
                items = case.inside(len(v.prefix_items))
                return v.max_items is None and (items is None or self._roomy(items, depth - 1))
        return False
