"""Tools that need nothing: a calculator and a clock."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from palmette.core.errors import UsageError
from palmette.prompts.tools.interpreter import evaluate
from palmette.prompts.tools.tool import FunctionTool, tool

__all__ = ["calculator", "clock"]


def _calculate(expression: str) -> str:
    """Work out an arithmetic expression, such as (37 * 46 + 12) / 2 or sqrt(2) ** 3.

    Args:
        expression: numbers with + - * / // % ** and parentheses, comparisons, and functions such as sqrt, round, min.
    """
    value = evaluate(expression)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


calculator: FunctionTool = tool(_calculate, name="calculator", effect="pure", timeout=5.0)


def clock(now: Callable[[], datetime.datetime] | None = None) -> FunctionTool:
    """A tool that tells date and time.

    Args:
        now: where the time comes from; this machine's clock unless given.

    >>> told = clock(lambda: datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc))
    >>> told("Asia/Tokyo")
    'Saturday 2026-01-31 21:00:00 JST'
    """

    def tell(zone: str = "UTC") -> str:
        """Tell the current date and time.

        Args:
            zone: an IANA time zone, such as Europe/Berlin.
        """
        try:
            place = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UsageError(f"no time zone {zone!r}") from error
        moment = now() if now else datetime.datetime.now(datetime.UTC)
        return moment.astimezone(place).strftime("%A %Y-%m-%d %H:%M:%S %Z")

    return tool(tell, name="clock", effect="read")  # type: ignore[no-any-return]
