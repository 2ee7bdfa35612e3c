"""What lowering a schema yields: a schema for the grammar engine, and notes on what that leaves to the validator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Carrier", "Notes"]


@dataclass
class Notes:
    """What lowering a part left to the validator, and the definitions it leads to."""

    weak: set[str] = field(default_factory=set)  # keywords of the part itself
    below: set[str] = field(default_factory=set)  # of the parts inside it
    refs: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        """The keywords of the part and of those inside it."""
        return self.weak | self.below


@dataclass(frozen=True)
class Carrier:
    """A schema for the grammar engine, and the keywords it leaves to the validator."""

    schema: dict[str, Any]
    weak: frozenset[str]
