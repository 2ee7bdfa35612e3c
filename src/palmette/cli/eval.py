"""`palmette eval`: a task on a grid of models, techniques and settings, with intervals and paired tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from palmette.cli.prompt import options_of
from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError
from palmette.models.resolve import DEFAULT_MODEL
from palmette.prompts.evaluate.report import Record, Report
from palmette.prompts.evaluate.statistics import estimate
from palmette.prompts.techniques import SHORT, TECHNIQUES

__all__ = ["command", "specs_of"]


@click.command("eval", short_help="Measure techniques and models on a task, with intervals and paired tests.")
@click.argument("task_file", metavar="TASK")
@click.option("--model", "models", multiple=True, metavar="MODEL", help="Who is asked; repeatable.")
@click.option("--technique", "techniques", multiple=True, metavar="NAME[:ARG],…", help="How; repeatable, or by commas.")
@click.option("--data", metavar="FILE", help="JSONL, JSON, CSV, TSV or Parquet; the task file's unless given.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME[:ARG]",
              help="exact, numeric, regex, contains, schema, judge:MODEL, perplexity; repeatable.")  # fmt: skip
@click.option("--tool", "tools", multiple=True, metavar="TOOL", help="As for palmette prompt.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE,…", help="One setting of the grid; repeatable.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N items.")
@click.option("--concurrency", type=int, default=8, show_default=True, help="The most items in flight.")
@click.option("--ray", is_flag=False, flag_value="local", metavar="[ADDRESS]",
              help="Ask on a Ray cluster: local, auto or its address; the same report and log.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), metavar="N",
              help="With --ray: how many hold the models; one for each machine unless given.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of bootstrap and sampling.")
@click.option("--log", metavar="FILE", help="Keep every call here, and go on from it; without it nothing is kept.")
@click.option("--replay", is_flag=True, help="Make no call: all must be in --log.")
@click.option("--price", "prices", multiple=True, metavar="MODEL=IN,OUT", help="Prices of a million tokens.")
@click.option(
    "--out", "outs", multiple=True, metavar="FILE", help="Write .html, .json, .sqlite or .parquet; repeatable."
)
@click.option("--differ", is_flag=True, help="Print the items on which a technique and the first one differ.")
@click.option("--min", "floors", multiple=True, metavar="METRIC=VALUE", help="Exit code 3 if a cell is below.")
@debug_option
def command(task_file: str, **options: Any) -> int:
    """Measure TASK, a file in YAML or JSON, on every model × technique × setting.

    \b
      palmette eval tasks/arithmetic.yaml --model zoo:seedling --technique zero_shot,cot,self_consistency:15
      palmette eval tasks/arithmetic.yaml --model openai:gpt-5 --log run.jsonl --out report.html
    """
    from palmette.models.prompting import evaluate
    from palmette.prompts.evaluate.save import save, writer
    from palmette.prompts.files.task_file import load_task

    file = load_task(task_file)
    data = options["data"] or file.data
    if data is None:
        raise UsageError(f"{task_file} names no data; give --data FILE")
    floors = _floors(options["floors"])
    for out in options["outs"]:
        writer(out)  # an ending that says nothing is refused before the first call
    with _Live() as live:
        report = evaluate(
            file.task, data, options["models"] or file.models or (DEFAULT_MODEL,),
            specs_of(options["techniques"]) or file.techniques or ("zero_shot",),
            tools=options["tools"] or file.tools, metrics=options["metrics"] or file.metrics,
            prompts=file.prompts or None, decodings=_decodings(options["settings"]) or file.decodings or ({},),
            limit=options["limit"], concurrency=options["concurrency"], seed=options["seed"], log=options["log"],
            replay=options["replay"], ray=options["ray"], workers=options["workers"],
            prices=_prices(options["prices"]), on_item=live.took,
        )  # fmt: skip
    click.echo(table(report))
    if options["differ"]:
        click.echo(differing(report))
    for out in options["outs"]:
        click.echo(f"palmette: wrote {save(report, out)}", err=True)
    return _judge(report, floors)


def specs_of(texts: Iterable[str]) -> list[str]:
    """Specs that commas join: a comma ends a spec where the name of a technique follows.

    >>> specs_of(["zero_shot,few_shot:4,nearest,cot"])
    ['zero_shot', 'few_shot:4,nearest', 'cot']
    """
    made: list[str] = []
    for text in texts:
        start = True
        for piece in text.split(","):
            name = piece.partition(":")[0].strip()
            if start or name in TECHNIQUES or name in SHORT or ("=" not in name and ":" in piece):
                made.append(piece.strip())
            else:
                made[-1] += f",{piece}"
            start = False
    return made


def table(report: Report) -> str:
    """The figures, and every cell against the first."""
    heads = ["", *(name for name, _ in report.metrics), "unread", "calls", "tokens in/out", "seconds", "cost"]
    rows = [
        [s.cell.name, *(str(s.scores[name]) for name, _ in report.metrics), str(s.unread), f"{s.calls:.1f}",
         f"{s.input:.0f}/{s.output:.0f}", f"{s.seconds:.2f}", "unknown" if s.cost is None else f"{s.cost:.4f}"]
        for s in report.summaries
    ]  # fmt: skip
    text = f"{len(report.items)} items; 95 % intervals; calls, tokens and seconds are means of an item\n" + _grid(
        heads, rows
    )
    if report.comparisons:
        compared = [
            [
                cell.name,
                f"{c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}]",
                f"{c.won}/{c.lost}",
                f"{c.p:.2g}",
                f"{p:.2g}",
            ]
            for cell, c, p in report.comparisons
        ]
        text += f"\n\nagainst {report.cells[0].name}, on the same items\n"
        text += _grid(["", "difference", "better/worse on", "p", "p (Holm)"], compared)
    return text


def differing(report: Report) -> str:
    """Items on which a cell and the first one differ."""
    lines: list[str] = []
    for cell, _, _ in report.comparisons:
        for item, a, b in report.disagreements(report.cells[0], cell):
            better = report.cells[0].name if (a.scores[report.metrics[0][0]] or 0) > 0 else cell.name
            said = f"{report.cells[0].technique}: {a.value!r}\t{cell.technique}: {b.value!r}"
            lines.append(f"{item.id}\tright: {better}\texpected {item.expected!r}\t{said}")
    return "\n".join(lines)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]
    ]
    return "\n".join(lines)


class _Live:
    """A table that grows on a terminal, and lines at times elsewhere."""

    def __init__(self) -> None:
        self._scores: dict[str, list[float]] = {}
        self._begun = self._told = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> _Live:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*exception)

    def took(self, record: Record, done: int, total: int) -> None:
        """Told of each finished item."""
        score = next(iter(record.scores.values()))
        self._scores.setdefault(record.cell, []).append(score if score is not None else 0.0)
        now = time.monotonic()
        left = (now - self._begun) / done * (total - done)
        if self._live is not None and (now - self._told > 0.2 or done == total):
            self._told = now
            self._live.update(self._table(done, total, left))
        elif self._live is None and now - self._told > 10:
            self._told = now
            click.echo(f"palmette: {done} of {total} items, about {left:.0f} s left", err=True)

    def _table(self, done: int, total: int, left: float) -> Any:
        from rich.table import Table

        made = Table(title=f"{done} of {total}, about {left:.0f} s left", title_justify="left")
        for head in ("cell", "items", "score so far"):
            made.add_column(head)
        for name, scores in self._scores.items():
            made.add_row(name, str(len(scores)), str(estimate(scores)))
        return made


def _decodings(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [options_of([text]) for text in texts]


def _prices(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    made: dict[str, tuple[float, float]] = {}
    for text in texts:
        model, _, pair = text.rpartition("=")
        try:
            one, two = (float(each) for each in pair.split(","))
        except ValueError:
            raise UsageError(f"--price {text!r}: write MODEL=IN,OUT, the prices of a million tokens") from None
        made[model] = (one, two)
    return made


def _floors(texts: Sequence[str]) -> dict[str, float]:
    made: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            made[name] = float(value)
        except ValueError:
            raise UsageError(f"--min {text!r}: write METRIC=VALUE, such as exact=0.8") from None
    return made


def _judge(report: Report, floors: Mapping[str, float]) -> int:
    names = dict(report.metrics)
    code = 0
    for name, floor in floors.items():
        if name not in names:
            raise UsageError(f"--min {name}: the metrics are {', '.join(names)}")
        for summary in report.summaries:
            mean = summary.scores[name].mean
            if (mean > floor) if names[name] else not mean >= floor:
                click.echo(f"palmette: {summary.cell.name}: {name} {mean:.3f} does not reach {floor:g}", err=True)
                code = 3
    return code
