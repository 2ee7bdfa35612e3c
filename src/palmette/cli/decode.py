"""`palmette decode`: several strategies from one prompt on one tree, as text, picture or JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from palmette.cli.shared import (
    Generation,
    common_views,
    generation_options,
    positionals,
    refuse_the_unfinished,
    strategy_from,
)
from palmette.tokens.decode import Decoding, Plan, decode_together
from palmette.tokens.trace.export import check_target, write, write_steps
from palmette.tokens.trace.json import to_json
from palmette.tokens.trace.terminal import to_terminal
from palmette.tokens.trace.values import Trace
from palmette.tokens.trace.visible import printable

__all__ = ["command"]


@click.command("decode", short_help="Continue a prompt by several strategies on one tree.")
@click.argument("words", nargs=-1, metavar="[MODEL] PROMPT")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME[:ARG]",
    help="A strategy; repeatable. Own views follow a bar: 'sample|temperature:0.7|top_k:20'. "
    "[default: nucleus:0.9; sample with --set or --dialect]",
)
@click.option(
    "--tree",
    "trees",
    multiple=True,
    metavar="FILE",
    help="Write the tree to a .html, .svg, .png or .json file; repeatable.",
)
@click.option("--steps", metavar="FOLDER", help="Write each step of the best answers as a histogram, A-001.svg and on.")
@generation_options
def command(
    words: tuple[str, ...],
    strategies: tuple[str, ...],
    trees: tuple[str, ...],
    steps: str | None,
    views: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Continue PROMPT by each strategy, all on ONE tree that shares every forward pass.

    Standard output gets the text of each strategy's best answer, in order. The tree goes to the files of --tree, or,
    when there are none, to the terminal (standard error).
    """
    for tree in trees:
        check_target(Path(tree))
    model, prompt = positionals(words)
    generation = Generation(**options)
    common = common_views(views, generation)
    plans = []
    for text in strategies or (generation.default_strategy,):
        chosen, own = strategy_from(text, generation)
        plans.append(Plan(chosen, [*common, *own], text, generation.seed))
    decoding = decode_together(generation.open(model), prompt, plans, model=model, **generation.limits)
    try:
        decoding.run()
    except KeyboardInterrupt:
        _save(decoding.trace, trees)
        raise
    if as_json:
        click.echo(to_json(decoding.trace))
    else:
        _print_texts(decoding)
    _save(decoding.trace, trees)
    if steps:
        written = write_steps(decoding.trace, steps)
        click.echo(f"wrote {len(written)} histograms to {json.dumps(steps)}", err=True)
    if not trees and not as_json:
        _print_tree(decoding.trace)
    refuse_the_unfinished(decoding, generation)
    return 0


def _print_texts(decoding: Decoding) -> None:
    several = len(decoding.texts) > 1
    terminal = sys.stdout.isatty()
    for run, text in zip(decoding.trace.runs, decoding.texts, strict=True):
        if several:
            click.echo(f"── {run.label}", err=True)
        click.echo(printable(text) if terminal else text)


def _print_tree(trace: Trace) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    click.echo(to_terminal(trace, width=width, color=color), err=True, color=color)


def _save(trace: Trace, trees: tuple[str, ...]) -> None:
    for tree in trees:
        write(trace, Path(tree))
        click.echo(f"wrote {json.dumps(tree)}: {len(trace.nodes) - 1} tokens, {len(trace.runs)} strategies", err=True)
