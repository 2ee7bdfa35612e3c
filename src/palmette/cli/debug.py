"""The option that every verb has; a module of its own, so that a verb that decodes nothing loads no decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["debug_option"]

F = TypeVar("F", bound=Callable[..., Any])


def debug_option(function: F) -> F:
    """Add --debug, which `main` reads."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(function)
