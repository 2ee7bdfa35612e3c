"""`palmette run` on a model behind an API: what it takes of the options, and how the answer is shown."""

from __future__ import annotations

import json
import mimetypes
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from palmette.cli.shared import Generation, read_text
from palmette.core.errors import UsageError
from palmette.core.events import Collector, Event
from palmette.core.message import Audio, Document, Image, Message, Part, Response, Text
from palmette.core.model import Model
from palmette.tokens.trace.visible import printable

__all__ = ["fields_of", "note", "run_remote", "stream_to_output", "turns", "with_log"]

_SETTINGS = ("temperature", "top_p", "top_k", "api")


def run_remote(
    model: str,
    prompt: str,
    generation: Generation,
    refused: Sequence[str],
    as_json: bool,
    log: bool,
    base_url: str | None = None,
) -> int:
    """Ask and stream the text to standard output; notes on what could not be said go to standard error."""
    from palmette.models.opening import model as opened

    local = {"--regex": generation.regex, "--choices": generation.choices, "--grammar": generation.grammar,
             "--heal": generation.heal, "--dialect": generation.dialect}  # fmt: skip
    refused = [*refused, *(name for name, value in local.items() if value)]
    if refused:
        raise UsageError(
            f"{', '.join(refused)}: this needs the scores of every token, which {model.partition(':')[0]} does not "
            "give; it works with models on this machine (here: --set temperature=…, top_p=…, top_k=…, --json-schema)"
        )
    schema = None if generation.json_schema is None else json.loads(read_text(generation.json_schema))
    given: dict[str, Any] = {
        "max_tokens": generation.max_tokens, "seed": generation.seed or None, "stop": generation.stop,
        **_settings(generation.settings), **({} if schema is None else {"output": schema}),
    }  # fmt: skip
    api = {"api": given.pop("api")} if "api" in given else {}
    api |= {"base_url": base_url} if base_url else {}
    talker = with_log(opened(model, **api), log)
    question = turns(prompt, generation.system, generation.files)
    if as_json:
        answer = talker(question, **given)
        report = {"model": model, "prompt": prompt, "text": answer.text, **fields_of(answer.response, model)}
        click.echo(json.dumps(report, ensure_ascii=False, default=str))
        note(answer.response.notes)
        return 0
    note(stream_to_output(talker.events(question, **given)).notes)
    return 0


def fields_of(response: Response, model: str) -> dict[str, Any]:
    """A response as JSON has it, the body as it came left out, with what it cost; null dollars are unknown, not 0."""
    from palmette.models.keep.prices import cost

    spent = cost(response, model)
    made = {key: value for key, value in asdict(response).items() if key not in ("raw", "headers")}
    return {**made, "cost": {"dollars": spent.dollars, "source": spent.source}}


def with_log(model: Model, flag: bool) -> Model:
    """The model, whose calls are logged if --log or PALMETTE_LOG asks for it."""
    from palmette.models.keep.logs import wanted

    if not wanted(flag):
        return model
    from palmette.models.wrap.logged import logged

    return logged(model)


def stream_to_output(events: Iterator[Event]) -> Response:
    """Write an answer's text to standard output as it comes; what the model thinks goes to standard error, dimmed."""
    terminal, written, thinking = sys.stdout.isatty(), False, False
    collector = Collector()
    try:
        for event in events:
            collector.add(event)
            if event.reasoning and sys.stderr.isatty():
                click.echo(click.style(printable(event.reasoning), dim=True), nl=False, err=True)
                thinking = True
            text = event.text if event.whole is None else event.whole.text
            if text and not event.index:
                if thinking:
                    click.echo(err=True)
                    thinking = False
                sys.stdout.write(printable(text) if terminal else text)
                sys.stdout.flush()
                written = True
    finally:
        if written:
            sys.stdout.write("\n")
            sys.stdout.flush()
    return collector.response


def turns(prompt: str, system: str | None, files: Sequence[str]) -> list[Message]:
    """A question with its files."""
    parts: list[Part] = [*map(_file, files), Text(prompt)]
    begun = [Message.of("system", system)] if system else []
    return [*begun, Message("user", tuple(parts))]


def _file(path: str) -> Part:
    """A picture, sound or document by its name's ending.

    Raises:
        UsageError: for another kind of file, or one that cannot be read.
    """
    mime = mimetypes.guess_type(path)[0] or ""
    kinds: dict[str, type[Image | Audio | Document]] = {
        "image": Image,
        "audio": Audio,
        "application": Document,
        "text": Document,
    }
    kind = kinds.get(mime.partition("/")[0])
    if kind is None:
        raise UsageError(f"--file {path!r}: neither a picture, a sound nor a document, by its name")
    try:
        return kind(Path(path).read_bytes(), mime, name=Path(path).name)
    except OSError as error:
        raise UsageError(f"--file {path!r} cannot be read: {error.strerror or error}") from None


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """temperature=0.7,top_p=0.9 as options, and which of its APIs a provider is asked through."""
    made: dict[str, Any] = {}
    for pair in (part for text in pairs for part in text.split(",") if part):
        name, equals, value = pair.partition("=")
        if name not in _SETTINGS or not equals:
            raise UsageError(f"--set {pair!r}: a remote model takes {', '.join(_SETTINGS)}, as temperature=0.7")
        if name == "api":
            made[name] = value
            continue
        try:
            made[name] = int(value) if name == "top_k" else float(value)
        except ValueError:
            raise UsageError(f"--set {pair!r}: {value!r} is no number") from None
    return made


def note(notes: Sequence[str]) -> None:
    """What a model could not be told, on standard error."""
    for note in notes:
        click.echo(f"palmette: {note}", err=True)
