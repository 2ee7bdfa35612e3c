"""`palmette graph calibrate`: how sure is sure enough for this store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from palmette.cli.graph.shared import counted, opened, verb
from palmette.core.errors import UsageError

__all__ = ["command"]


@verb("calibrate")
@click.argument("questions", type=click.Path(path_type=Path))
@click.option(
    "--refuse",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="The share of questions without an answer to refuse.",
)
def command(store: str, questions: Path, refuse: float) -> int:
    """Learn from QUESTIONS how sure `ask --care` must be in this store.

    \b
      [{"question": "Who leads Apple?", "gold": ["notes/apple.md"]}, …]

    `gold` names all the documents that answer a question. Each is asked with them and without them; the store is not
    changed.
    """
    asked = _read(questions)
    with opened(store) as graph:
        found = graph.calibrate(asked, refuse=refuse)
    click.echo(f"--care {found.care:g}")
    click.echo(f"refuses {found.refused:.0%} of {counted(found.without, 'question')} without an answer here")
    if found.answered:
        click.echo(f"refuses {found.falsely:.0%} of {counted(found.answered, 'question')} with one")
    return 0


def _read(path: Path) -> list[tuple[str, list[str]]]:
    """Questions with the documents that answer them: a JSON list, or an object with `questions`."""
    try:
        said: Any = json.loads(path.read_text("utf-8"))
        rows = said["questions"] if isinstance(said, dict) else said
        out = [(row["question"], row.get("gold", [])) for row in rows]
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        out = [("", [])]
    if not all(isinstance(q, str) and q.strip() and _names(gold) for q, gold in out):
        raise UsageError(f'{str(path)!r} must hold a JSON list of {{"question": "…", "gold": ["DOCUMENT", …]}}')
    return out


def _names(gold: Any) -> bool:
    return isinstance(gold, list) and all(isinstance(name, str) for name in gold)
