"""`palmette chat`: a conversation in the terminal, or one answer to what is piped in."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from palmette.cli.remote import fields_of, note, stream_to_output, turns, with_log
from palmette.cli.shared import debug_option, log_option
from palmette.core.errors import PalmetteError, UsageError
from palmette.core.message import Message, Response
from palmette.core.model import Model
from palmette.models.resolve import DEFAULT_MODEL

__all__ = ["command"]

_HELP = """\
/system TEXT   what holds for the whole conversation
/file FILE     send a picture, sound or document with the next message
/undo          take the last question and its answer back
/again         ask the last question again
/save FILE     write the conversation as JSON
/bye           leave (so does Ctrl-D)"""


@click.command("chat", short_help="Talk with a model, on this machine or behind an API.")
@click.argument("model", default=DEFAULT_MODEL)
@click.argument("prompt", required=False)
@click.option("--system", metavar="TEXT", help="What holds for the whole conversation.")
@click.option(
    "--file", "files", multiple=True, metavar="FILE", help="A picture, sound or document for the first message."
)
@click.option("--temperature", type=float, help="0 is greedy.")
@click.option("--top-p", type=float, help="Probability mass to keep.")
@click.option("--max-tokens", type=int, help="The most tokens of an answer.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End an answer before this text; repeatable.")
@click.option("--seed", type=int, help="Same seed, same text, where the model takes one.")
@click.option("--base-url", metavar="URL", help="Another address of the same API.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer to PROMPT as one JSON object.")
@log_option
@debug_option
def command(model: str, prompt: str | None, system: str | None, files: tuple[str, ...], as_json: bool,
            base_url: str | None, log: bool, **options: Any) -> int:  # fmt: skip
    """Talk with MODEL: zoo:seedling, hf:OWNER/NAME, a folder, or PROVIDER:NAME.

    With PROMPT, or with text piped in, one answer is given; on a terminal a conversation begins, with /help for its
    commands. A model on this machine is written to in its own chat format.
    """
    from palmette.models.opening import model as opened

    given = {key: value for key, value in options.items() if value not in (None, ())}
    talker = with_log(opened(model, **({"base_url": base_url} if base_url else {})), log)
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().removesuffix("\n")
    if prompt is not None:
        return _once(talker, turns(prompt, system, files), given, as_json)
    if as_json:
        raise UsageError("--json answers a PROMPT; there is none")
    _talk(talker, system, list(files), given)
    return 0


def _once(talker: Model, said: list[Message], options: dict[str, Any], as_json: bool) -> int:
    if as_json:
        response = talker.respond(said, **options)
        click.echo(
            json.dumps(
                {"model": talker.id, "text": response.text, **fields_of(response, talker.id)}, ensure_ascii=False
            )
        )
    else:
        response = stream_to_output(talker.events(said, **options))
    note(response.notes)
    return 0


def _talk(talker: Model, system: str | None, files: list[str], options: dict[str, Any]) -> None:
    """Read, answer, and again."""
    said: list[Message] = [Message.of("system", system)] if system else []
    click.echo(f"{talker.id}: /help for the commands, Ctrl-D to leave", err=True)
    while (line := _line()) is not None:
        word, _, rest = line.partition(" ")
        try:
            match word:
                case "/bye":
                    return
                case "/help":
                    click.echo(_HELP, err=True)
                case "/system":
                    said = [Message.of("system", rest), *(m for m in said if m.role != "system")]
                case "/file":
                    turns("", None, [rest])  # refuses what cannot be sent
                    files.append(rest)
                case "/undo":
                    del said[_last_question(said) :]
                case "/again":
                    at = _last_question(said)
                    said = _answered(talker, said[: at + 1], options)
                case "/save":
                    _save(Path(rest or "conversation.json"), said)
                case _ if line.startswith("/"):
                    click.echo(f"no command {word!r}; /help lists them", err=True)
                case _:
                    said = _answered(talker, [*said, *turns(line, None, files)], options)
                    files.clear()
        except PalmetteError as error:  # the conversation so far is kept
            click.echo(f"palmette: {type(error).__name__}: {error}", err=True)


def _answered(talker: Model, said: list[Message], options: dict[str, Any]) -> list[Message]:
    """The conversation with the model's answer; Ctrl-C ends the answer and leaves what it was."""
    try:
        response: Response = stream_to_output(talker.events(said, **options))
    except KeyboardInterrupt:
        click.echo("(stopped)", err=True)
        return said
    note(response.notes)
    return [*said, replace(response.message)]


def _line() -> str | None:
    """What a person types; three quotation marks open and close a text of several lines."""
    try:
        line = input(">>> ")
        if not line.startswith('"""'):
            return line if line.strip() else _line()
        lines = [line[3:]]
        while not lines[-1].endswith('"""'):
            lines.append(input("... "))
        return "\n".join(lines)[:-3]
    except (EOFError, KeyboardInterrupt):
        click.echo(err=True)
        return None


def _last_question(said: list[Message]) -> int:
    places = [i for i, message in enumerate(said) if message.role == "user"]
    if not places:
        raise UsageError("nothing has been asked yet")
    return places[-1]


def _save(path: Path, said: list[Message]) -> None:
    rows = [{"role": message.role, "text": message.text} for message in said]
    try:
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    click.echo(f"written: {path}", err=True)
