"""`palmette run`: continue a prompt and stream the text."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from palmette.cli.calls import logged_run
from palmette.cli.remote import run_remote
from palmette.cli.shared import (
    Generation,
    common_views,
    generation_options,
    log_option,
    positionals,
    read_text,
    refuse_the_unfinished,
    strategy_from,
)
from palmette.core.errors import UsageError
from palmette.models.keep.logs import wanted
from palmette.models.remote.providers import is_remote
from palmette.tokens.decode import Decoding, Plan, decode_together
from palmette.tokens.structure.template import Program
from palmette.tokens.trace.terminal import color_text, scale_line, token_table
from palmette.tokens.trace.visible import printable
from palmette.tokens.views.base import show

__all__ = ["command"]


@click.command(
    "run", short_help="Continue a prompt and stream the text.", context_settings={"ignore_unknown_options": False}
)
@click.argument("words", nargs=-1, metavar="[MODEL] PROMPT")
@click.option(
    "--strategy",
    default=None,
    metavar="NAME[:ARG]",
    help="How tokens are chosen, such as greedy, beam:4 or 'sample|temperature:0.7'; see palmette strategies. "
    "[default: nucleus:0.9; sample with --set or --dialect]",
)
@click.option("--template", metavar="FILE", help="Fill the typed holes of this template after the prompt.")
@click.option("--system", metavar="TEXT", help="What holds for the whole conversation (models behind an API).")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="A picture, sound or document to read (models behind an API).",
)
@click.option("--base-url", metavar="URL", help="Another address of the same API (models behind an API).")
@click.option("--show-probs", is_flag=True, help="Colour the text by log-probability (piped: list the tokens).")
@log_option
@generation_options
def command(
    words: tuple[str, ...],
    strategy: str | None,
    views: tuple[str, ...],
    template: str | None,
    show_probs: bool,
    as_json: bool,
    log: bool,
    base_url: str | None,
    **options: Any,
) -> int:
    """Continue PROMPT by MODEL (zoo:seedling if none is named) and stream the text to standard output.

    MODEL is zoo:seedling, hf:OWNER/NAME, a folder in Hugging Face format, or PROVIDER:NAME (openai, anthropic, gemini,
    cohere, openrouter, huggingface, together, ollama, lmstudio, llamacpp, vllm …). PROMPT - reads standard input.
    """
    model, prompt = positionals(words)
    generation = Generation(**options)
    if is_remote(model):
        given = {"--strategy": strategy, "--view": views, "--template": template, "--show-probs": show_probs}
        refused = [name for name, value in given.items() if value]
        return run_remote(model, prompt, generation, refused, as_json, log, base_url)
    _refuse_what_is_said_to_apis(model, generation, base_url)
    strategy = strategy or generation.default_strategy
    chosen, own = strategy_from(strategy, generation)
    seen = [*common_views(views, generation), *own]
    if template is not None:
        if generation.constraint_views() or show_probs:
            raise UsageError(
                "--template says all about the text; leave --regex, --choices, --grammar, --json-schema, "
                "--show-probs out"
            )
        if log:
            raise UsageError("--log writes down a question and its answer, and a template is neither; leave --log out")
        if wanted():
            click.echo("palmette: a filled template is not logged", err=True)
        return _fill(generation, model, prompt, template, Plan(chosen, seen, seed=generation.seed), as_json)
    decoding = decode_together(
        generation.open(model),
        prompt,
        [Plan(chosen, seen, strategy, generation.seed)],
        model=model,
        trace=show_probs,
        **generation.limits,
    )
    with logged_run(log, model, prompt, generation, decoding):
        if as_json:
            decoding.run()
            report = _report(decoding, model, prompt, strategy, [show(v) for v in seen])
            click.echo(json.dumps(report, ensure_ascii=False))
        elif show_probs:
            decoding.run()
            _show_probabilities(decoding)
        else:
            _stream(decoding)
        refuse_the_unfinished(decoding, generation)
    return 0


def _refuse_what_is_said_to_apis(model: str, generation: Generation, base_url: str | None) -> None:
    """Options that mean nothing to a model on this machine, whose text is continued."""
    if generation.system or generation.files:
        raise UsageError(
            f"--system and --file are said in a conversation: palmette chat {model} --system …; run continues a text"
        )
    if base_url is not None:
        raise UsageError(f"--base-url is the address of an API, and {model} runs on this machine")


def _fill(generation: Generation, model: str, prompt: str, file: str, plan: Plan, as_json: bool) -> int:
    """Fill a template; standard output gets the filled template alone."""
    start = Program.begin(generation.open(model), prompt)
    done = start.fill(
        read_text(file), strategy=plan.strategy, views=plan.views, seed=plan.seed, max_tokens=generation.max_tokens
    )
    text = done.text[len(prompt) :]
    if as_json:
        report = {"model": model, "prompt": prompt, "text": text, "values": dict(done.values), "logprob": done.logprob}
        click.echo(json.dumps(report, ensure_ascii=False, default=str))
    else:
        click.echo((printable(text) if sys.stdout.isatty() else text).removesuffix("\n"))
    return 0


def _stream(decoding: Decoding) -> None:
    terminal = sys.stdout.isatty()
    written = False
    try:
        for step in decoding:
            if step.text:
                sys.stdout.write(printable(step.text) if terminal else step.text)
                sys.stdout.flush()
                written = True
    finally:
        if written:
            sys.stdout.write("\n")
            sys.stdout.flush()


def _report(decoding: Decoding, model: str, prompt: str, strategy: str, views: list[str]) -> dict[str, Any]:
    answers = [
        {"text": text, "tokens": list(h.tokens), "finish": h.finish, "logprob": h.logprob, "score": h.score}
        for text, h in zip(decoding.answer_texts(), decoding.answers, strict=True)
    ]
    free = {"dollars": 0.0, "source": "it runs on this machine"}
    return {"model": model, "prompt": prompt, "strategy": strategy, "views": views, **answers[0], "answers": answers,
            "cost": free}  # fmt: skip


def _show_probabilities(decoding: Decoding) -> None:
    """Colour the text on a terminal; elsewhere leave it plain and list its tokens on standard error."""
    trace = decoding.trace
    best = trace.path(trace.runs[0].answers[0].node)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        click.echo(printable(decoding.text) if sys.stdout.isatty() else decoding.text)
        click.echo(token_table(best), err=True)
        return
    click.echo(color_text(decoding.pieces()), color=True)
    click.echo(scale_line(sys.stderr.isatty()), err=True)
