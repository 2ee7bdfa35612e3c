"""Python types as JSON Schemas (draft 2020-12), and JSON values back as values of these types.

Known are: bool, int, float, str, None, Literal, Enum, date, time, datetime, UUID, Decimal, list, tuple, set, frozenset,
dict[str, T], Optional and unions, dataclasses, TypedDict, NamedTuple, Annotated with constraints, recursive types, and
every class with `model_json_schema` and `model_validate` (pydantic's protocol). Objects are closed: no other keys.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from palmette.core.errors import BadParameter, ConstraintError

__all__ = ["parts_of", "schema_of", "value_of"]

Json = dict[str, Any]

YEAR = "([1-9]|0[1-9]|00[1-9]|000[1-9])"  # Python knows no year 0, and no leap second
PLAIN: Mapping[Any, Json] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    datetime.date: {"type": "string", "format": "date", "pattern": f"^{YEAR}"},
    datetime.time: {"type": "string", "format": "time", "pattern": "^..:..:[0-5]"},
    datetime.datetime: {"type": "string", "format": "date-time", "pattern": f"^{YEAR}......T..:..:[0-5]"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    decimal.Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
}
READ: Mapping[Any, Callable[[Any], Any]] = {
    datetime.date: datetime.date.fromisoformat,
    datetime.time: lambda text: datetime.time.fromisoformat(text.upper()),
    datetime.datetime: lambda text: datetime.datetime.fromisoformat(text.upper()),
    uuid.UUID: uuid.UUID,
    decimal.Decimal: decimal.Decimal,
}
# Constraints of Annotated, by the name under which annotated_types and pydantic's Field hold them.
BOUNDS = {
    "gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum", "multiple_of": "multipleOf",
    "pattern": "pattern", "description": "description",
}  # fmt: skip


def schema_of(kind: Any) -> Json:
    """The JSON Schema of a type.

    Args:
        kind: a type, or a schema already (a mapping or a boolean), which is returned as it is.

    Raises:
        BadParameter: for a type that has no JSON form.

    >>> schema_of(list[Literal["a", "b"]])
    {'type': 'array', 'items': {'enum': ['a', 'b']}}
    >>> from typing import Annotated
    >>> schema_of(Annotated[int, {"minimum": 1}])
    {'type': 'integer', 'minimum': 1}
    """
    if isinstance(kind, (dict, bool)):
        return typing.cast(Json, kind)
    writer = _Writer()
    schema = writer.write(kind)
    return {**schema, "$defs": writer.shared} if writer.shared else schema


class _Writer:
    """Writes schemas; a class gets one definition, so that recursive types end."""

    def __init__(self) -> None:
        self.shared: dict[str, Json] = {}
        self._open: dict[Any, str] = {}

    def write(self, kind: Any) -> Json:
        """One type."""
        if isinstance(kind, (dict, bool)):
            return typing.cast(Json, kind)
        origin, inner = get_origin(kind), get_args(kind)
        if origin is typing.Annotated:
            return self._annotated(inner)
        if kind in PLAIN:
            return dict(PLAIN[kind])
        if hasattr(kind, "model_json_schema"):
            return self._foreign(kind)
        if isinstance(kind, typing.NewType):
            return self.write(kind.__supertype__)
        if origin in (typing.Required, typing.NotRequired):
            return self.write(inner[0])
        if origin is Literal:
            return {"enum": [_plain(value) for value in inner]}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.write(each) for each in inner]}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return {"enum": [_plain(member.value) for member in kind]}
        if isinstance(kind, range):
            return _range(kind)
        if fields := _fields(kind):
            return self._object(kind, fields)
        return self._container(kind, origin, inner)

    def _container(self, kind: Any, origin: Any, inner: tuple[Any, ...]) -> Json:
        base = origin or kind
        if base in (list, Sequence, set, frozenset):
            schema: Json = {"type": "array", **({"items": self.write(inner[0])} if inner else {})}
            return {**schema, "uniqueItems": True} if base in (set, frozenset) else schema
        if base is tuple:
            if len(inner) == 2 and inner[1] is Ellipsis:
                return {"type": "array", "items": self.write(inner[0])}
            given = [self.write(each) for each in inner]
            return {"type": "array", "prefixItems": given, "items": False, "minItems": len(given)}
        if base in (dict, Mapping):
            if inner and inner[0] is not str:
                raise BadParameter(f"a JSON object has text keys, so {kind!r} has no schema; use dict[str, …]")
            return {"type": "object", **({"additionalProperties": self.write(inner[1])} if inner else {})}
        raise BadParameter(
            f"{kind!r} has no JSON form; use str, int, float, bool, Literal, list, dict[str, …] or a dataclass"
        )

    def _object(self, kind: Any, fields: list[_Field]) -> Json:
        if kind in self._open:
            return {"$ref": f"#/$defs/{self._open[kind]}"}
        name = kind.__name__
        while name in self.shared or name in self._open.values():
            name += "_"
        self._open[kind] = name
        properties = {f.name: {**self.write(f.kind), **f.notes} for f in fields}
        schema: Json = {
            "type": "object",
            "properties": properties,
            "required": [f.name for f in fields if f.required],
            "additionalProperties": False,
        }
        said = inspect.cleandoc(kind.__doc__ or "")
        if said and not said.startswith((f"{kind.__name__}(", "dict(")):
            schema["description"] = said
        self.shared[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def _annotated(self, inner: tuple[Any, ...]) -> Json:
        schema = self.write(inner[0])
        for note in inner[1:]:
            schema |= note if isinstance(note, dict) else _bounds(note, schema)
        return schema

    def _foreign(self, kind: Any) -> Json:
        """A pydantic model: its own schema, its definitions joined with ours."""
        schema = dict(kind.model_json_schema())
        self.shared |= schema.pop("$defs", {})
        schema.setdefault("additionalProperties", False)
        return schema


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    kind: Any
    required: bool
    notes: Json = dataclasses.field(default_factory=dict)


def _fields(kind: Any) -> list[_Field]:
    """The fields of a dataclass, TypedDict or NamedTuple; none for other types."""
    if not isinstance(kind, type) or not (dataclasses.is_dataclass(kind) or issubclass(kind, (tuple, dict))):
        return []
    return _found_fields(kind)


@functools.lru_cache(maxsize=1024)  # a type's annotations are looked up by evaluating text
def _found_fields(kind: type) -> list[_Field]:
    hints = get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        empty = dataclasses.MISSING
        return [
            _Field(f.name, hints[f.name], f.default is empty and f.default_factory is empty, dict(f.metadata))
            for f in dataclasses.fields(kind)
            if f.init
        ]
    if typing.is_typeddict(kind):
        needed: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
        loose = typing.NotRequired  # where annotations are text, __required_keys__ does not know of it
        return [_Field(name, hint, name in needed and get_origin(hint) is not loose) for name, hint in hints.items()]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        defaults = getattr(kind, "_field_defaults", {})
        return [_Field(name, hints[name], name not in defaults) for name in kind._fields]
    return []


def _bounds(note: Any, schema: Json) -> Json:
    """Constraints that an annotation object holds as attributes (annotated_types, pydantic's Field)."""
    found = {key: getattr(note, name) for name, key in BOUNDS.items() if getattr(note, name, None) is not None}
    sizes = ("minItems", "maxItems") if schema.get("type") == "array" else ("minLength", "maxLength")
    for name, key in zip(("min_length", "max_length"), sizes, strict=True):
        if getattr(note, name, None) is not None:
            found[key] = getattr(note, name)
    for part in getattr(note, "metadata", ()) or ():
        found |= _bounds(part, schema)
    return found


def _range(numbers: range) -> Json:
    if not numbers:
        raise BadParameter(f"{numbers!r} is empty, so no value fits it")
    if numbers.step == 1:
        return {"type": "integer", "minimum": numbers.start, "maximum": numbers.stop - 1}
    return {"enum": list(numbers)}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise BadParameter(f"{value!r} cannot be written in JSON; use text, numbers, booleans or None as values")


_EXACT: tuple[type, ...] = (str, int, float, bool)  # most values: there is nothing to convert


def value_of(kind: Any, value: Any, path: str = "") -> Any:
    """A JSON value as a value of `kind`.

    Args:
        kind: what `schema_of` takes; a schema gives the value as it is.
        value: what json.loads gave.
        path: where it stands, as a JSON pointer, for errors.

    Raises:
        ConstraintError: with the path, if the value does not fit.

    >>> value_of(tuple[int, datetime.date], [3, "2026-01-31"])
    (3, datetime.date(2026, 1, 31))
    """
    if type(value) is kind and kind in _EXACT:
        return value
    if isinstance(kind, (dict, bool)) or kind in (Any, object):
        return value
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, typing.NewType):
        return value_of(kind.__supertype__, value, path)
    if origin is typing.Annotated or origin in (typing.Required, typing.NotRequired):
        return value_of(inner[0], value, path)
    if origin is Literal:
        return value if any(v == value and type(v) is type(value) for v in inner) else _no(kind, value, path)
    if origin in (Union, types.UnionType):
        return _first(inner, value, path)
    if isinstance(kind, range):
        return value if isinstance(value, int) and value in kind else _no(kind, value, path)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next((m for m in kind if m.value == value), None) or _no(kind, value, path)
    if fields := _fields(kind):
        return _build(kind, fields, value, path)
    if (origin or kind) in (list, Sequence, set, frozenset, tuple, dict, Mapping):
        return _collect(kind, origin or kind, inner, value, path)
    return _scalar(kind, value, path)


def parts_of(kind: Any, value: Any) -> Any:
    """The types of a value's parts: a list for an array, a dict for an object; None where the type does not say.

    >>> parts_of(dict[str, int], {"a": 1})
    {'a': <class 'int'>}
    """
    if get_origin(kind) is typing.Annotated:
        return parts_of(get_args(kind)[0], value)
    base, inner = get_origin(kind) or kind, get_args(kind)
    if isinstance(value, dict) and not isinstance(kind, (dict, bool)):
        kinds = {f.name: f.kind for f in _fields(kind)}
        if kinds:
            return {name: kinds.get(name, Any) for name in value}
        return dict.fromkeys(value, inner[1]) if base in (dict, Mapping) and inner else None
    if isinstance(value, list) and inner and base in (list, Sequence, set, frozenset, tuple):
        fixed = base is tuple and not (len(inner) == 2 and inner[1] is Ellipsis)
        return [*inner[: len(value)]] if fixed else [inner[0]] * len(value)
    return None


def _scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float:
        return (
            float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else _no(kind, value, path)
        )
    if kind in READ:
        try:
            return READ[kind](value) if isinstance(value, str) else _no(kind, value, path)
        except (ValueError, decimal.InvalidOperation):
            return _no(kind, value, path)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    return value if fits else _no(kind, value, path)


def _first(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    for kind in kinds:
        try:
            return value_of(kind, value, path)
        except ConstraintError:
            continue
    return _no(Union[kinds], value, path)  # noqa: UP007 - built at run time


def _build(kind: Any, fields: list[_Field], value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return _no(kind, value, path)
    known = {f.name: f for f in fields}
    extra = [key for key in value if key not in known]
    if extra:
        raise ConstraintError(f"at {path or '/'}: {kind.__name__} has no field {extra[0]!r}")
    missing = [f.name for f in fields if f.required and f.name not in value]
    if missing:
        raise ConstraintError(f"at {path or '/'}: {kind.__name__} lacks the field {missing[0]!r}")
    read = {key: value_of(known[key].kind, item, f"{path}/{key}") for key, item in value.items()}
    return read if typing.is_typeddict(kind) else kind(**read)


def _collect(kind: Any, base: Any, inner: tuple[Any, ...], value: Any, path: str) -> Any:
    if base in (dict, Mapping):
        if not isinstance(value, dict):
            return _no(kind, value, path)
        return {k: value_of(inner[1] if inner else Any, v, f"{path}/{k}") for k, v in value.items()}
    if not isinstance(value, list):
        return _no(kind, value, path)
    if base is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if inner and len(inner) != len(value):
            return _no(kind, value, path)
        return tuple(value_of(k, v, f"{path}/{i}") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    read = [value_of(inner[0] if inner else Any, v, f"{path}/{i}") for i, v in enumerate(value)]
    return base(read) if base in (tuple, set, frozenset) else read


def _no(kind: Any, value: Any, path: str) -> Any:
    raise ConstraintError(f"at {path or '/'}: {value!r} is no {getattr(kind, '__name__', kind)}")
