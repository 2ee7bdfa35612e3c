"""YAML read with care, wherever it comes from: plain values, no key twice, no bombs of aliases, no bottomless nesting.

The one place that knows the library (an extra). What is wrong is told with its line, as the reader of that kind of file
wants to tell it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from palmette.core.errors import MissingExtra, UsageError

__all__ = ["as_yaml", "document", "documents"]

LARGEST = 4_000_000  # characters
MOST_NODES = 200_000  # after aliases are written out
DEEPEST = 64
_MERGE = "tag:yaml.org,2002:merge"  # `<<`, the one key that may occur twice

Wrong = Callable[[int, str], UsageError]  # a line (0 for the whole text) and a reason -> the error to raise


def documents(text: str, wrong: Wrong, extra: str = "prompts") -> list[Any]:
    """The documents of a YAML text as plain values, empty ones left out.

    Args:
        text: the text.
        wrong: makes the error that is raised.
        extra: the one that brings the library, for whoever lacks it.

    Raises:
        UsageError: the one that `wrong` makes.
        MissingExtra: without PyYAML.

    >>> documents("a: [1, yes]\\n---\\nb: 2", lambda line, reason: UsageError(reason))
    [{'a': [1, True]}, {'b': 2}]
    """
    yaml = _yaml(extra)
    if len(text) > LARGEST:
        raise wrong(0, f"{len(text)} characters are more than the {LARGEST} allowed")
    found: list[Any] = []
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_node():
            node = loader.get_node()
            _measure(yaml, node, wrong, {}, 0)
            found.append(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise wrong(*_complaint(error)) from error
    except (RecursionError, ValueError) as error:
        raise wrong(0, f"no YAML: {error}") from error
    return [each for each in found if each is not None]


def document(text: str, where: str, before: int = 0) -> Any:
    """The one document of a YAML text; None for an empty one.

    Args:
        text: the text.
        where: the name of its file, for errors.
        before: lines of the file that stand before it.

    Raises:
        UsageError: naming the place and what is wrong.
        MissingExtra: without PyYAML.

    >>> document("a: 1\\na: 2", "task.yaml")
    Traceback (most recent call last):
    ...
    palmette.core.errors.UsageError: task.yaml, line 2: the key 'a' occurs twice
    """

    def wrong(line: int, reason: str) -> UsageError:
        return UsageError(f"{where}, line {line + before}: {reason}" if line else f"{where}: {reason}")

    found = documents(text, wrong)
    if len(found) > 1:
        raise wrong(0, f"{len(found)} documents (parted by ---) where one is read")
    return found[0] if found else None


def as_yaml(value: Any, extra: str = "prompts") -> str:
    """A value as YAML in block style that `document` reads back, keys in their order.

    >>> as_yaml({"b": [1], "a": "x"})
    'b:\\n- 1\\na: x\\n'
    """
    return str(_yaml(extra).safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def _yaml(extra: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("a file in YAML", extra) from error
    return yaml


def _complaint(error: Any) -> tuple[int, str]:
    """The line and the reason of an error of the library."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if mark is None:
        return 0, f"no YAML: {' '.join(str(error).split())}"
    return mark.line + 1, f"no YAML: {reason}"


def _measure(yaml: Any, node: Any, wrong: Wrong, known: dict[int, int], depth: int) -> int:
    """How many nodes a document has once aliases are written out; each of its tables is looked through once."""
    line = node.start_mark.line + 1
    if depth > DEEPEST:
        raise wrong(line, f"nested more than {DEEPEST} levels deep (or an alias that holds itself)")
    if id(node) in known:
        return known[id(node)]
    inner: list[Any] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and key.tag != _MERGE:
                raise wrong(key.start_mark.line + 1, f"the key {name!r} occurs twice")
            seen.add(name)
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    size = 1 + sum(_measure(yaml, part, wrong, known, depth + 1) for part in inner)
    if size > MOST_NODES:
        raise wrong(line, f"aliases write out to more than {MOST_NODES} values")
    known[id(node)] = size
    return size
