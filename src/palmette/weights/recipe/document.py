"""The YAML of a recipe as plain values; what is wrong with it is an error of the recipe, with its line."""

from __future__ import annotations

from typing import Any

from palmette.core import yaml_text
from palmette.core.errors import RecipeError

__all__ = ["documents"]


def documents(text: str) -> list[Any]:
    """The documents of a YAML text as plain values.

    Raises:
        RecipeError: for text that is no YAML, too large, or holds a key twice.
        MissingExtra: without PyYAML.

    >>> documents("a: [1, 2]")
    [{'a': [1, 2]}]
    """
    return yaml_text.documents(text, lambda line, why: RecipeError(f"line {line}" if line else "", why), "merge")
