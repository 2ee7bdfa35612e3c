"""YAML of prompt and task files, read with care: plain values, no key twice, no aliases, bounded size and depth."""

from __future__ import annotations

from typing import Any

from palmette.core.errors import MissingExtra, UsageError

__all__ = ["read_yaml", "write_yaml"]

LARGEST = 1_000_000  # characters
DEEPEST = 40


def read_yaml(text: str, where: str) -> Any:
    """The one document of a YAML text.

    Raises:
        UsageError: naming the place and what is wrong.
        MissingExtra: without PyYAML.

    >>> read_yaml("a: [1, yes]", "file")
    {'a': [1, True]}
    """
    yaml = _yaml()
    if len(text) > LARGEST:
        raise UsageError(f"{where}: {len(text)} characters are more than the {LARGEST} allowed")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _checked(yaml, node, where, 0, set())
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: no YAML: {' '.join(str(error).split())}") from error
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error


def write_yaml(value: Any) -> str:
    """A value as YAML that `read_yaml` reads back."""
    yaml = _yaml()
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("a file in YAML", "prompts") from error
    return yaml


def _checked(yaml: Any, node: Any, where: str, depth: int, seen: set[int]) -> None:
    if depth > DEEPEST:
        raise UsageError(f"{where}: nested more than {DEEPEST} levels deep")
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if id(node) in seen:
        raise UsageError(f"{where}, line {node.start_mark.line + 1}: aliases are not read; write the value out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise UsageError(f"{where}, line {node.start_mark.line + 1}: the key {twice!r} occurs twice")
    for part in node.value:
        for each in part if isinstance(part, tuple) else (part,):
            _checked(yaml, each, where, depth + 1, seen)
