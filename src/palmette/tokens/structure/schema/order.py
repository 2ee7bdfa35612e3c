"""The order of properties: as the schema wrote them, also where several `properties` of one object were merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Order"]

_MOST = 64  # lists looked at for one name


class Order:
    """The lists of property names in a schema and the documents it refers to.

    >>> order = Order([{"properties": {"z": True, "a": True}, "allOf": [{"properties": {"b": True}}]}])
    >>> order.sorted(["a", "b", "c", "z"])
    ['z', 'a', 'b', 'c']
    """

    def __init__(self, documents: Iterable[Any]) -> None:
        self._lists: list[dict[str, int]] = []
        self._of: dict[str, list[int]] = {}
        todo = list(documents)[::-1]
        while todo:
            value = todo.pop()
            if isinstance(value, Mapping):
                self._add(value.get("properties"))
                self._add(value.get("required"))
                todo.extend(list(value.values())[::-1])
            elif isinstance(value, (list, tuple)):
                todo.extend(value[::-1])

    def _add(self, names: Any) -> None:
        if not isinstance(names, (Mapping, list)) or not names:
            return
        listed = [name for name in names if isinstance(name, str)]
        for name in listed:
            self._of.setdefault(name, []).append(len(self._lists))
        self._lists.append({name: place for place, name in enumerate(listed)})

    def sorted(self, names: Iterable[str]) -> list[str]:
        """Names in the order of the list that holds most of them, then of the next such list, and so on."""
        left = list(dict.fromkeys(names))
        out: list[str] = []
        while left:
            shared = Counter(place for name in left for place in self._of.get(name, ())[:_MOST])
            if not shared:
                return out + left
            best = self._lists[min(shared, key=lambda place: (-shared[place], place))]
            out += sorted((name for name in left if name in best), key=best.__getitem__)
            left = [name for name in left if name not in best]
        return out
