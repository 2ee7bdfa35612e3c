"""`palmette decide`: typed questions about a state, each answered by a probability for every option."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError

__all__ = ["command"]

BAR = 24


@click.command("decide", short_help="Ask typed questions about a text; every option gets a probability.")
@click.argument("model")
@click.argument("state")
@click.option(
    "--ask",
    "asked",
    multiple=True,
    required=True,
    metavar="NAME:KIND[:TEXT]",
    help="A question: spam:bool, mood:good|bad, urgency:0..10, with its words after a further colon; repeatable.",
)
@click.option(
    "--how",
    type=click.Choice(["auto", "exact", "logprobs", "decisions", "systemone", "samples"]),
    default="auto",
    show_default=True,
    help="Exact on this machine; else by the likeliest tokens, a native endpoint, or counted answers.",
)
@click.option("--samples", default=20, show_default=True, help="Answers that are counted, where they are.")
@click.option("--seed", type=int, help="Of the answers that are counted.")
@click.option("--contextual", is_flag=True, help="Take out what the model prefers in states without content.")
@click.option("--base-url", metavar="URL", help="Another address of the same API.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@debug_option
def command(model: str, state: str, asked: tuple[str, ...], how: Any, samples: int, seed: int | None,
            contextual: bool, base_url: str | None, as_json: bool) -> int:  # fmt: skip
    """Answer questions about STATE by MODEL: zoo:seedling, hf:OWNER/NAME, a folder, or PROVIDER:NAME.

    STATE - reads standard input. A model on this machine gives exact probabilities, all questions in one pass.

    \b
      palmette decide zoo:seedling "Runa smiles." --ask 'happy:bool:Is she happy?' --ask 'mood:good|bad'
      palmette decide openai:gpt-5 - --ask 'urgency:0..10' --json < mail.txt
    """
    from palmette.models.decide.decide import calibrate, decide
    from palmette.models.keep.prices import cost
    from palmette.models.opening import model as opened

    questions = dict(_question(text) for text in _once(asked))
    if state == "-":
        state = sys.stdin.read().removesuffix("\n")
    who = model if model.startswith("typesafe:") else opened(model, **({"base_url": base_url} if base_url else {}))
    calibration = calibrate(who, questions, how=how, samples=samples, seed=seed) if contextual else None
    found = decide(who, state, questions, how=how, samples=samples, seed=seed, calibration=calibration)
    spent = None if found.usage is None else cost(found.usage, model)
    if as_json:
        report: dict[str, Any] = {"model": model, "answers": {name: one.as_json() for name, one in found.items()}}
        report |= {"notes": list(found.notes)} if found.notes else {}
        if found.usage is not None and spent is not None:
            report["usage"] = {"input": found.usage.input, "output": found.usage.output}
            report["cost"] = {"dollars": spent.dollars, "source": spent.source}
        click.echo(json.dumps(report, ensure_ascii=False))
        return 0
    for name, answer in found.items():
        confidence = "refused" if answer.refused else f"confidence {answer.confidence:.2f}, {answer.how}"
        mean = f", mean {answer.expected:.2f}" if answer.question.kind == "score" else ""
        click.echo(f"{name}: {answer.question.labels[answer.question.options.index(answer.best)]} "
                   f"({confidence}{mean})")  # fmt: skip
        longest = max(map(len, answer.question.labels))
        for i, (label, share) in enumerate(zip(answer.question.labels, answer.probabilities, strict=True)):
            between = f"  {answer.intervals[i][0]:.1%} to {answer.intervals[i][1]:.1%}" if answer.intervals else ""
            click.echo(f"  {label:<{longest}} {share:6.1%} {'█' * round(share * BAR)}{between}")
        for note in answer.notes:
            click.echo(f"palmette: {name}: {note}", err=True)
    for note in found.notes:
        click.echo(f"palmette: {note}", err=True)
    return 0


def _once(asked: tuple[str, ...]) -> tuple[str, ...]:
    names = [text.partition(":")[0] for text in asked]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UsageError(f"--ask: {twice!r} is asked twice; give every question a name of its own")
    return asked


def _question(text: str) -> tuple[str, Any]:
    """NAME:KIND[:TEXT] as a question."""
    from palmette.core.decision import question

    name, _, rest = text.partition(":")
    kind, _, words = rest.partition(":")
    low, dots, high = kind.partition("..")
    if not name or not kind:
        raise UsageError(f"--ask {text!r}: write NAME:bool, NAME:one|another or NAME:0..10")
    if kind == "bool":
        return name, question(bool, words, name=name)
    if dots:
        try:
            levels = range(int(low), int(high) + 1)
        except ValueError:
            raise UsageError(f"--ask {text!r}: levels are whole numbers, as 0..10") from None
        if len(levels) < 2:
            raise UsageError(f"--ask {text!r}: the lowest level stands first, as 0..10")
        return name, question(levels, words, name=name)
    options = [part.strip() for part in kind.split("|")]
    if len(options) < 2:
        raise UsageError(f"--ask {text!r}: {kind!r} is no kind; write NAME:bool, NAME:one|another or NAME:0..10")
    return name, question(options, words, name=name)
