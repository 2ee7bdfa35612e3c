"""Values of documents: without decimals, and as text."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any

__all__ = ["plain", "spelled"]


def spelled(value: Any) -> str:
    """The compact text of a value, as the mask spells it.

    >>> spelled({"a": [1, "é"]})
    '{"a":[1,"é"]}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=1024)
def _number(value: Any) -> int | float:
    whole = int(value) if isinstance(value, Decimal) and isfinite(value) and value == int(value) else None
    if whole is not None:
        return whole
    return float(value) if isinstance(value, Decimal) else value


def plain(value: Any) -> Any:
    """A value without decimals: what JSON text is made of."""
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return int(value)
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return value
