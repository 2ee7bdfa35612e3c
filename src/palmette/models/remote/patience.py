"""What a client is told once: a key that nobody sees, and how long it waits and how often it tries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Limits", "Secret"]


class Secret:
    """A key: shown to nobody, in no message, log or trace."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a key is not to be copied or stored")

    @property
    def mark(self) -> str:
        """What tells one key from another within this process."""
        return self._value or type(self).__name__

    def reveal(self) -> str:
        """The key itself."""
        return self._value


@dataclass(frozen=True)
class Limits:
    """Seconds and tries.

    Args:
        connect: to reach the host.
        read: of silence, between two pieces of an answer.
        total: for the whole call, retries included.
        retries: further tries after a failure that may pass; a stream that has begun is never begun again.
    """

    connect: float = 5.0
    read: float = 60.0
    total: float = 600.0
    retries: int = 2
