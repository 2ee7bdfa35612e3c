"""A canonical schema in the words of the grammar engine: exactly where it has them, as a superset where it has not.

The canonical form (from the validator's library) has resolved every reference and anchor, merged `allOf`, and turned
`if`, `dependent*`, `not`, `oneOf` and `unevaluated*` into unions of typed parts wherever that is exact. What the engine
cannot say is left out here, never said more narrowly, and its keyword is noted: the validator enforces it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from jsonschema_rs import CanonicalSchema, canonical

from palmette.tokens.structure.schema.carrier import Carrier, Notes
from palmette.tokens.structure.schema.names import listed_names, names_of
from palmette.tokens.structure.schema.numeric import integers, numbers
from palmette.tokens.structure.schema.order import Order
from palmette.tokens.structure.schema.pattern import carried, is_found
from palmette.tokens.structure.schema.values import plain
from palmette.tokens.structure.schema.void import without_void

__all__ = ["EXACT_FORMATS", "FORMATS", "Lowering"]

FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
EXACT_FORMATS = ("ipv4", "uuid")  # of the others the engine's grammar says a little more, such as 29 February
_EXPANDED = 6  # arrays up to this length have `contains` written out
_MERGED = 300  # recursive conjunctions that are merged into definitions of their own
_BRANCHES = 24  # of a oneOf whose pairs are compared

Json = Any
Probe = Callable[[Json], bool]


class Lowering:
    """Lowers the parts of one canonical schema.

    Args:
        root: the canonical schema.
        order: how properties are ordered.
        formats: whether formats are asserted.
        probe: asked whether the grammar engine takes a small schema; None trusts that it takes everything.
    """

    def __init__(self, root: CanonicalSchema, order: Order, formats: bool = False, probe: Probe | None = None) -> None:
        self.root = root
        self.order = order
        self.formats = formats
        self.probe = probe
        self._merged: dict[CanonicalSchema, str] = {}
        self._nodes: dict[str, CanonicalSchema] = {}
        self._names: dict[str, str] = {}
        self._notes: dict[str, Notes] = {}
        self._lowered: dict[str, Json] = {}
        self._own: dict[CanonicalSchema, frozenset[str]] = {}

    def carrier(self) -> Carrier:
        """The whole schema, definitions included."""
        notes = Notes()
        out = self.part(self.root, notes)
        self._definitions(notes.refs)
        schema = dict(out) if isinstance(out, dict) else {"anyOf": [{}] if out else []}
        if self._lowered:
            schema["$defs"] = {self._names[uri]: part for uri, part in self._lowered.items()}
        weak = notes.all.union(*(n.all for n in self._notes.values()))
        return Carrier(without_void(schema), frozenset(weak))

    def exact(self, node: CanonicalSchema) -> bool:
        """Whether the mask alone enforces this part, everything below it included."""
        notes = Notes()
        self.part(node, notes)
        if notes.all:
            return False
        self._definitions(notes.refs)
        seen, todo = set(notes.refs), list(notes.refs)
        while todo:
            inner = self._notes[todo.pop()]
            if inner.all:
                return False
            todo += [uri for uri in inner.refs if uri not in seen]
            seen |= inner.refs
        return True

    def own(self, node: CanonicalSchema) -> frozenset[str]:
        """The keywords that this part leaves to the validator, not counting the parts inside it."""
        if node not in self._own:
            self.part(node, Notes())
        return self._own[node]

    def target(self, uri: str) -> CanonicalSchema | None:
        """What a reference leads to."""
        return self._nodes.get(uri) or self.root.definition(uri)

    def merged(self, branches: Sequence[CanonicalSchema]) -> CanonicalSchema | None:
        """All branches in one part, references followed; None where the canonical form has no word for it."""
        out: CanonicalSchema | None = None
        for branch in branches:
            view = branch.view()
            if isinstance(view, canonical.ReferenceView):
                branch = self.target(view.uri) or branch
            try:
                out = branch if out is None else out.intersect(branch)
            except canonical.CanonicalizationError:
                return None
        return out

    def _definitions(self, refs: set[str]) -> None:
        todo = sorted(refs)
        while todo:
            uri = todo.pop()
            if uri in self._lowered:
                continue
            node = self.target(uri)
            notes = self._notes[uri] = Notes()
            if node is None:
                notes.weak.add("$ref")
            self._lowered[uri] = True  # a cycle of references alone says nothing
            self._lowered[uri] = {} if node is None else self.part(node, notes)
            todo += sorted(notes.refs)

    # -- one part ------------------------------------------------------------------------------------------------------

    def part(self, node: CanonicalSchema, notes: Notes) -> Json:
        """One canonical node for the grammar engine; what it leaves to the validator goes to `notes`."""
        inner = Notes()
        out = self._part(node, inner)
        self._own[node] = frozenset(inner.weak)
        notes.below |= inner.all
        notes.refs |= inner.refs
        return out

    def _part(self, node: CanonicalSchema, notes: Notes) -> Json:
        match node.view():
            case canonical.TrueView():
                return {}
            case canonical.FalseView():
                return False
            case canonical.MultiTypeView() as v:
                return {"type": v.types}
            case canonical.TypedGroupView() as v:
                return {"allOf": [{"type": v.type_name}, self.part(v.body, notes)]}
            case canonical.StringView() as v:
                return self._string(v, notes)
            case canonical.IntegerView() as v:
                return integers(v, notes, self._takes)
            case canonical.NumberView() as v:
                return numbers(v, notes, self._takes)
            case canonical.ArrayView() as v:
                return self._array(v, notes)
            case canonical.ObjectView() as v:
                return self._object(v, notes)
            case canonical.ConstView() as v:
                return {"const": plain(v.value)}
            case canonical.EnumView() as v:
                return {"enum": [plain(value) for value in v.values]}
            case canonical.AnyOfView() as v:
                return {"anyOf": [self.part(branch, notes) for branch in v.branches]}
            case canonical.OneOfView() as v:
                if not self._disjoint(v.branches):
                    notes.weak.add("oneOf")
                return {"anyOf": [self.part(branch, notes) for branch in v.branches]}
            case canonical.AllOfView() as v:
                return self._all(node, v.branches, notes)
            case canonical.ReferenceView() as v:
                return self._link(v.uri, notes)
            case canonical.NotView():
                notes.weak.add("not")
                return {}
            case _:
                notes.weak.add("*")
                return {}

    def _disjoint(self, branches: Sequence[CanonicalSchema]) -> bool:
        """Whether no value satisfies two of them, as far as their canonical forms tell."""
        if len(branches) > _BRANCHES:
            return False
        both = (self.merged(pair) for pair in combinations(branches, 2))
        return all(part is not None and isinstance(part.view(), canonical.FalseView) for part in both)

    def _takes(self, schema: Json) -> bool:
        return self.probe is None or self.probe(schema)

    def _all(self, node: CanonicalSchema, branches: Sequence[CanonicalSchema], notes: Notes) -> Json:
        if node not in self._merged and len(self._merged) < _MERGED:
            whole = self.merged(branches)
            if whole is not None and whole != node and not isinstance(whole.view(), canonical.AllOfView):
                self._merged[node] = uri = f"all {len(self._merged)}"
                self._nodes[uri] = whole
        if node in self._merged:
            return self._link(self._merged[node], notes)
        parts = [self.part(branch, notes) for branch in branches]
        if self.probe is not None:  # merging is what the engine most often refuses
            notes.weak.add("allOf")
            return next((p for p in parts if isinstance(p, dict) and p and "$ref" not in p), parts[0])
        return {"allOf": parts}

    def _link(self, uri: str, notes: Notes) -> Json:
        target = self.target(uri)
        if target is not None and isinstance(target.view(), canonical.FalseView):
            return False  # the engine refuses references to what cannot be
        notes.refs.add(uri)
        return {"$ref": f"#/$defs/{self._names.setdefault(uri, f'd{len(self._names)}')}"}

    def _string(self, v: canonical.StringView, notes: Notes) -> Json:
        out: dict[str, Json] = {"type": "string"}
        for name, length in (("minLength", v.min_length), ("maxLength", v.max_length)):
            if length is not None and (name == "maxLength" or length > 0):
                out[name] = min(int(length), 1 << 30)
        said = [carried(pattern) for pattern in v.patterns]
        kept = [p[0] for p in said if p is not None and self._takes({**out, "pattern": p[0]})]
        if len(kept) < len(v.patterns) or not all(p is not None and p[1] for p in said):
            notes.weak.add("pattern")
        if self.formats:
            known = [f for f in v.formats if f in FORMATS]
            if list(v.formats) != known or len(known) > 1 or not set(known) <= set(EXACT_FORMATS):
                notes.weak.add("format")
            if known:
                out["format"] = known[0]
        if v.excluded_patterns or v.excluded or (v.excluded_formats and self.formats):
            notes.weak.add("not")
        if len(kept) == 1:
            out["pattern"] = kept[0]
        elif kept:
            whole = {"allOf": [out, *({"type": "string", "pattern": p} for p in kept)]}
            if self._takes(whole):
                return whole
            notes.weak.add("pattern")
            out["pattern"] = kept[0]
        return out

    def _array(self, v: canonical.ArrayView, notes: Notes) -> Json:
        out: dict[str, Json] = {"type": "array"}
        if v.min_items:
            out["minItems"] = min(int(v.min_items), 1 << 30)
        if v.max_items is not None:
            out["maxItems"] = min(int(v.max_items), 1 << 30)
        if v.distinctness != canonical.Distinctness.UNCONSTRAINED and (v.max_items is None or v.max_items > 1):
            notes.weak.add("uniqueItems")
        if v.prefix_items:
            out["prefixItems"] = [self.part(item, notes) for item in v.prefix_items]
        if v.items is not None:
            out["items"] = self.part(v.items, notes)
        if v.contains:
            return self._contains(v, out, notes)
        return out

    def _contains(self, v: canonical.ArrayView, out: dict[str, Json], notes: Notes) -> Json:
        """Short arrays: one of the places holds what must be contained. Longer ones are left to the validator."""
        one = v.contains[0]
        single = len(v.contains) == 1 and one.min_contains in (None, 1) and one.max_contains is None
        if not single or v.prefix_items or v.max_items is None or v.max_items > _EXPANDED or self.probe is not None:
            notes.weak.add("contains")
            return out
        items = {} if v.items is None else self.part(v.items, notes)
        try:
            held = self.part(one.schema if v.items is None else one.schema.intersect(v.items), notes)
        except canonical.CanonicalizationError:
            notes.weak.add("contains")
            return out
        places = range(int(v.max_items))
        return {
            "anyOf": [
                {**out, "prefixItems": [items] * k + [held], "minItems": max(int(v.min_items or 0), k + 1)}
                for k in places
            ]
        }

    # -- objects -------------------------------------------------------------------------------------------------------

    def _object(self, v: canonical.ObjectView, notes: Notes) -> Json:
        if v.violations:
            notes.weak.add("not")
        only = listed_names(v.property_names)
        if only is not None:
            return self._sized(v, self._named(v, only, notes), notes)
        rest: Json = {} if v.additional_properties is None else self.part(v.additional_properties, notes)
        kept: dict[str, Json] = {}
        for pattern, inner in v.pattern_properties.items():
            said = carried(pattern)
            trial = None if said is None else {"type": "object", "patternProperties": {**kept, said[0]: {}}}
            if said is None or not said[1] or not self._takes(trial):
                notes.weak.add("patternProperties")
                rest = _either(rest, self.part(inner, notes))
            else:
                kept[said[0]] = self.part(inner, notes)
        declared = {name: self.part(inner, notes) for name, inner in v.properties.items()}
        for name in v.required:
            if name not in declared:
                matched = any(is_found(p, name) for p in v.pattern_properties)
                declared[name] = {} if matched else rest
        if v.property_names is not None:
            kept, rest = self._names_of(v, declared, kept, rest, notes)
        out: dict[str, Json] = {
            "type": "object",
            "properties": {name: declared[name] for name in self.order.sorted(declared)},
            "additionalProperties": rest,
        }
        if kept:
            out["patternProperties"] = kept
        if v.required:
            out["required"] = list(v.required)
        return self._sized(v, out, notes)

    def _named(self, v: canonical.ObjectView, only: Sequence[str], notes: Notes) -> dict[str, Json]:
        """An object whose names come from a finite list."""
        declared: dict[str, Json] = {}
        for name in self.order.sorted(only):
            parts = [inner for pattern, inner in v.pattern_properties.items() if is_found(pattern, name)]
            if name in v.properties:
                parts.append(v.properties[name])
            if not parts and v.additional_properties is not None:
                parts.append(v.additional_properties)
            lowered = [self.part(inner, notes) for inner in parts]
            declared[name] = lowered[0] if len(lowered) == 1 else {"allOf": lowered} if lowered else {}
        out: dict[str, Json] = {"type": "object", "properties": declared, "additionalProperties": False}
        if v.required:
            out["required"] = list(v.required)
            for name in v.required:
                declared.setdefault(name, False)
        return out

    def _names_of(
        self, v: canonical.ObjectView, declared: dict[str, Json], kept: dict[str, Json], rest: Json, notes: Notes
    ) -> tuple[dict[str, Json], Json]:
        """`propertyNames` as listed names and patterns, where that is what it says; `declared` follows it."""
        said = names_of(v.property_names)
        patterns = {} if said is None else {p: kept.get(p, rest) for p, _ in said.patterns}
        simple = not patterns or set(patterns) == set(kept) or (not kept and (not declared or rest == {}))
        trial = {"type": "object", "patternProperties": {p: {} for p in patterns}}
        if said is None or not set(kept) <= set(patterns) or not simple or not self._takes(trial):
            notes.weak.add("propertyNames")
            return kept, rest
        if not said.exact:
            notes.weak.add("propertyNames")
        for name in said.listed:
            if name not in declared:
                inner = [patterns[p] for p, original in said.patterns if is_found(original, name)]
                declared[name] = rest if not inner else inner[0] if len(inner) == 1 else {"allOf": inner}
        for name in [n for n in declared if n not in said.listed]:
            if not any(is_found(original, name) for _, original in said.patterns):
                declared[name] = False
        return patterns, False

    def _sized(self, v: canonical.ObjectView, out: dict[str, Json], notes: Notes) -> Json:
        """Numbers of properties, where the engine can count them."""
        least, most = int(v.min_properties or 0), v.max_properties
        closed = out["additionalProperties"] is False and not out.get("patternProperties")
        if least <= len(v.required):
            least = 0
        if most is not None and closed and most >= len(out["properties"]):
            most = None
        if not least and most is None:
            return out
        sized = {**out, **({"minProperties": least} if least else {})}
        if most is not None:
            sized["maxProperties"] = int(most)
        simple = least <= 1 and (most is None or most <= 1)
        if (simple or set(out["properties"]) <= set(v.required)) and self._takes(sized):
            return sized
        notes.weak |= ({"minProperties"} if least else set()) | ({"maxProperties"} if most is not None else set())
        return out


def _either(a: Json, b: Json) -> Json:
    if a is False:
        return b
    return {} if {} in (a, b) else {"anyOf": [a, b]}
