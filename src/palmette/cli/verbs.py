"""Groups of verbs: one verb a module, loaded when it is called, so that `--help` loads no array library."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import ClassVar

import click

from palmette.core.errors import near_miss

__all__ = ["Verbs"]


class Verbs(click.Group):
    """A group whose commands are modules, each with a `command`.

    Args:
        package: where the modules are.
        table: verbs with the lines that --help shows, in its order.
        home: modules that have another name than their verb.
    """

    package: ClassVar[str]
    table: ClassVar[Mapping[str, str]]
    home: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load a verb's module."""
        if name not in self.table:
            return None
        command = importlib.import_module(f"{self.package}.{self.home.get(name, name)}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the near miss."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            known = ", ".join(self.table)
            raise click.UsageError(f"no verb {args[0]!r}.{near_miss(args[0], self.table)} Known: {known}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their lines, without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.table.items()))
