"""`palmette logs`: the calls that were logged, what they said, took and cost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError
from palmette.tokens.trace.visible import printable

if TYPE_CHECKING:
    from palmette.models.keep.logs import Call

__all__ = ["command"]

WIDE = 70


@click.command("logs", short_help="Show the calls that were logged.")
@click.argument("number", type=int, required=False)
@click.option("--last", default=10, show_default=True, metavar="N", help="How many; the latest stand last.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--search", default="", metavar="TEXT", help="Those whose question or answer has this text.")
@click.option("--model", default="", metavar="NAME", help="Those of models whose name begins so, as openai:.")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with requests and responses.")
@click.option("--forget", type=float, metavar="DAYS", help="Delete the calls older than this; 0 deletes all.")
@click.option("--path", "show_path", is_flag=True, help="Print where the log is.")
@click.option(
    "--tree",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the token tree of call NUMBER as .html, .svg, .png or .json, if the call asked for it.",
)
@debug_option
def command(number: int | None, last: int, everything: bool, search: str, model: str, failed: bool, as_json: bool,
            forget: float | None, show_path: bool, tree: Path | None) -> int:  # fmt: skip
    """Show the logged calls, or the one with this NUMBER whole.

    Calls are logged by --log of run and chat, by PALMETTE_LOG=1 (or a file's path), and by palmette.logged in Python.
    They are kept for 90 days, or as many as PALMETTE_LOG_DAYS says.
    """
    from palmette.models.keep.logs import Logs

    log = Logs()
    if show_path:
        click.echo(log.path)
        return 0
    if forget is not None:
        if forget < 0:
            raise UsageError(f"--forget takes a number of days from 0, not {forget!r}")
        click.echo(f"{log.forget(forget)} calls deleted", err=True)
        return 0
    found = log.find(None if everything else last, search=search, model=model, failed=failed, id=number)
    if number is not None and not found:
        raise UsageError(f"the log {str(log.path)!r} has no call {number}")
    if tree is not None:
        _draw(found[0] if number is not None else None, tree)
    elif as_json:
        for call in reversed(found):
            click.echo(json.dumps(call.as_json(), ensure_ascii=False))
    elif number is not None:
        _whole(found[0])
    else:
        for call in reversed(found):
            _line(call)
        if not found:
            click.echo(
                f"no calls in {log.path}" + ("" if log.path.exists() else "; palmette run --log writes it"), err=True
            )
    return 0


def _draw(call: Call | None, path: Path) -> None:
    """Write the tree of a call as a picture or page."""
    from palmette.tokens.trace.export import check_target, write
    from palmette.tokens.trace.json import from_json

    if call is None:
        raise UsageError("--tree needs the NUMBER of a call, as palmette logs shows it")
    check_target(path)
    if call.tree is None:
        raise UsageError(
            f'call {call.id} has no tree; ask a served model with "palmette": {{"tree": true}} to have it kept'
        )
    write(from_json(json.dumps(call.tree)), path)


def _line(call: Call) -> None:
    """Two lines for a call: its numbers, and what was said."""
    tokens = "" if call.input is None else f"{call.input}+{call.output} tokens, "
    price = "cost unknown" if call.dollars is None else f"${call.dollars:.6f}" if call.dollars else "free"
    click.echo(f"{call.id}  {call.when}  {call.model}  {tokens}{call.seconds:.2f} s, {price}  {call.finish}")
    said = call.error or call.answer
    if call.prompt or said:
        click.echo(f"    {_short(call.prompt)} → {_short(said)}")


def _whole(call: Call) -> None:
    for key, value in call.as_json().items():
        if key in ("request", "response", "prompt", "answer", "time") or value in ("", None):
            continue
        click.echo(f"{key}: {value}")
    for key, value in (("prompt", call.prompt), ("answer", call.answer)):
        if value:
            click.echo(f"\n{key}:\n{printable(value) if sys.stdout.isatty() else value}")


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= WIDE else line[: WIDE - 1] + "…"
