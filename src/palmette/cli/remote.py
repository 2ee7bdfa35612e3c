"""`palmette run` on a model behind an API: what it takes of the options, and how the answer is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from palmette.cli.shared import Generation, read_text
from palmette.core.errors import UsageError
from palmette.tokens.structure.schema.values import spelled
from palmette.tokens.trace.visible import printable

__all__ = ["run_remote"]

_SETTINGS = ("temperature", "top_p", "top_k")


def run_remote(model: str, prompt: str, generation: Generation, refused: Sequence[str], as_json: bool) -> int:
    """Ask and stream the text to standard output; notes on what could not be said go to standard error."""
    from palmette.models.remote.model import connect

    local = {"--regex": generation.regex, "--choices": generation.choices, "--grammar": generation.grammar,
             "--heal": generation.heal, "--dialect": generation.dialect}  # fmt: skip
    refused = [*refused, *(name for name, value in local.items() if value)]
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: this needs the scores of every token, which {model.partition(':')[0]} does not "
            "give; it works with models on this machine (here: --set temperature=…, top_p=…, top_k=…, --json-schema)"
        )
    schema = None if generation.json_schema is None else json.loads(read_text(generation.json_schema))
    asked = connect(
        model, output=schema, max_tokens=generation.max_tokens, seed=generation.seed or None, stop=generation.stop,
        **_settings(generation.settings),
    )  # fmt: skip
    if as_json or schema is not None:
        answer = asked(prompt)
        text = answer.text if schema is None else spelled(answer.value)
        report = {"model": model, "prompt": prompt, "text": text, **asdict(answer.response)}
        click.echo(json.dumps(report, ensure_ascii=False, default=str) if as_json else text)
        _note(answer.response.notes)
        return 0
    terminal, written = sys.stdout.isatty(), False
    try:
        for piece in asked.stream(prompt):
            sys.stdout.write(printable(piece) if terminal else piece)
            sys.stdout.flush()
            written = True
    finally:
        if written:
            sys.stdout.write("\n")
            sys.stdout.flush()
    return 0


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """temperature=0.7,top_p=0.9 as options."""
    made: dict[str, Any] = {}
    for pair in (part for text in pairs for part in text.split(",") if part):
        name, equals, value = pair.partition("=")
        if name not in _SETTINGS or not equals:
            raise UsageError(f"--set {pair!r}: a remote model takes {', '.join(_SETTINGS)}, as temperature=0.7")
        try:
            made[name] = int(value) if name == "top_k" else float(value)
        except ValueError:
            raise UsageError(f"--set {pair!r}: {value!r} is no number") from None
    return made


def _note(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"palmette: {note}", err=True)
