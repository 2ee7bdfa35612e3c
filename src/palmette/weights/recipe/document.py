"""YAML read with care: no tags that build objects, no key twice, no alias bombs, no bottomless nesting."""

from __future__ import annotations

from typing import Any

from palmette.core.errors import MissingExtra, RecipeError

try:
    import yaml
except ImportError as error:
    raise MissingExtra("reading a recipe in YAML", "merge") from error

__all__ = ["documents"]

LARGEST = 4_000_000  # characters
MOST_NODES = 200_000  # after aliases are written out
DEEPEST = 64


class _Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """The safe loader, which also refuses a key that occurs twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise RecipeError(f"line {key.start_mark.line + 1}", f"the key {name!r} occurs twice")
            seen.add(name)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def documents(text: str) -> list[Any]:
    """The documents of a YAML text as plain values.

    Raises:
        RecipeError: for text that is no YAML, too large, or holds a key twice.

    >>> documents("a: [1, 2]")
    [{'a': [1, 2]}]
    """
    if len(text) > LARGEST:
        raise RecipeError("", f"{len(text)} characters are more than a recipe may have ({LARGEST})")
    try:
        nodes = list(yaml.compose_all(text, Loader=_Loader))
        for node in nodes:
            _measure(node, {}, 0)
        return [made for made in yaml.load_all(text, Loader=_Loader) if made is not None]
    except yaml.YAMLError as error:
        raise RecipeError("", f"not YAML: {' '.join(str(error).split())}") from error
    except (RecursionError, ValueError) as error:
        raise RecipeError("", f"not a recipe: {error}") from error


def _measure(node: Any, known: dict[int, int], depth: int) -> int:
    """How many nodes a document has once aliases are written out."""
    if depth > DEEPEST:
        raise RecipeError("", f"nested more than {DEEPEST} levels deep (or an alias that holds itself)")
    if id(node) in known:
        return known[id(node)]
    inner: list[Any] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    size = 1 + sum(_measure(part, known, depth + 1) for part in inner)
    if size > MOST_NODES:
        raise RecipeError("", f"aliases write out to more than {MOST_NODES} values")
    known[id(node)] = size
    return size
