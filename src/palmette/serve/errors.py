"""What a failure is called over HTTP, and what its status is."""

from __future__ import annotations

from palmette.core.errors import (
    BadAnswer,
    Busy,
    EmptySupport,
    KeyRefused,
    MissingKey,
    NoConnection,
    NotServed,
    PalmetteError,
    ProviderError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    TimedOut,
    UnknownName,
    Unsupported,
    UsageError,
)

__all__ = ["status_of", "told"]

# A provider's answer to *our* key or address is the gateway's trouble, not the client's.
_STATUS: dict[type[PalmetteError], int] = {
    Busy: 503, RateLimited: 429, RequestRefused: 400, NotServed: 404, TimedOut: 504, MissingKey: 502, KeyRefused: 502,
    NoConnection: 502, BadAnswer: 502, ProviderFailed: 502, ProviderError: 502, UnknownName: 404, Unsupported: 400,
    UsageError: 400, EmptySupport: 400, PalmetteError: 500,
}  # fmt: skip


def status_of(error: BaseException) -> int:
    """The status of an error; the most particular class counts.

    >>> status_of(Busy("full")), status_of(UsageError("no")), status_of(ValueError("bug"))
    (503, 400, 500)
    """
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def told(error: BaseException) -> str:
    """What a client may hear of an error; of one that nobody foresaw, nothing but its kind."""
    if isinstance(error, PalmetteError):
        return str(error)
    return f"this server failed unexpectedly ({type(error).__name__}); its log says more"
