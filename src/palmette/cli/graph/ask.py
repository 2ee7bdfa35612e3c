"""`palmette graph ask`: an answer with quotes, or none."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from palmette.cli.graph.shared import fact_of, group_of, model_option, opened, safe, time_option, verb, write
from palmette.core.errors import UsageError

__all__ = ["command"]


@verb("ask")
@click.argument("question")
@model_option
@click.option("--global", "whole", is_flag=True, help="About the whole store: by groups of things (extra communities).")
@click.option("--mode", type=click.Choice(["cite", "confined", "free", "none"]), help="cite, unless there is no model.")
@click.option(
    "--care",
    type=click.FloatRange(0, 1),
    default=0.843,
    show_default=True,
    help="How sure it must be that the store supports an answer; 0 answers anyway.",
)
@time_option
@click.option("--html", type=click.Path(path_type=Path), help="Also write the facts behind the answer as a page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: str,
    question: str,
    model: str,
    whole: bool,
    mode: str | None,
    care: float,
    at: str | None,
    html: Path | None,
    as_json: bool,
) -> int:
    """Answer QUESTION from STORE, with quotes, or say that it does not know (exit code 3)."""
    if whole:
        _refuse(mode, at, html)
        with opened(store, read_only=model == "none") as graph:
            return _overview(graph.overview(question, by=model), as_json)
    with opened(store, read_only=True) as graph:
        answer = graph.ask(question, by=model, mode=mode, care=care, at=at)
        if html is not None:
            from palmette.knowledge.picture.html import to_html
            from palmette.knowledge.store.read import united

            shown = united(graph.store, dict.fromkeys([*answer.facts, *answer.evidence.facts]))
            write(html, to_html(shown, title=question, lead=answer.text))
    if as_json:
        click.echo(json.dumps(_plain(answer), ensure_ascii=False, indent=2))
    else:
        click.echo(safe(answer.text))
        for sentence in answer.sentences:
            if not sentence.facts:
                click.echo(safe(f"  not in the graph: {sentence.text}"), err=True)
        for quote in answer.quotes:
            click.echo(safe(f"  {quote}"))
    return 3 if answer.abstained else 0


def _refuse(mode: str | None, at: str | None, html: Path | None) -> None:
    given = [name for name, value in (("--mode", mode), ("--at", at), ("--html", html)) if value is not None]
    if given:
        raise UsageError(f"--global has no {given[0]}; it answers in prose, from the store as it is now")


def _overview(answer: Any, as_json: bool) -> int:
    if as_json:
        groups = [group_of(g) for g in answer.groups]
        sentences = [{"text": s.text, "facts": [f.id for f in s.facts]} for s in answer.sentences]
        said = {"answer": answer.text, "abstained": answer.abstained, "groups": groups, "sentences": sentences}
        click.echo(json.dumps(said | {"calls": answer.calls, "tokens": answer.tokens}, ensure_ascii=False, indent=2))
    else:
        click.echo(safe(answer.text))
        for sentence in answer.sentences:
            if not sentence.facts:
                click.echo(safe(f"  not in the graph: {sentence.text}"), err=True)
    return 3 if answer.abstained else 0


def _plain(answer: Any) -> dict[str, Any]:
    return {
        "answer": answer.text, "abstained": answer.abstained, "mode": answer.mode, "supported": answer.supported,
        "facts": [fact_of(f) for f in answer.facts],
        "quotes": [asdict(q) for q in answer.quotes],
        "sentences": [{"text": s.text, "facts": [f.id for f in s.facts]} for s in answer.sentences],
        "calls": answer.calls, "tokens": answer.tokens,
    }  # fmt: skip
