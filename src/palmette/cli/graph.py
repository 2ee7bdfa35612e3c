"""`palmette graph`: build a knowledge graph from documents, ask it, look at it, take things out of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from palmette.cli.shared import debug_option, read_text
from palmette.core.errors import OutputError, PalmetteError, UsageError

__all__ = ["command"]

_model = click.option("--model", "-m", default="none", show_default=True, help="Who reads or answers; none: no model.")
_time = click.option("--at", help="What held at this time: 2023, 2023-06, 2023-06-05.")


@click.group("graph", short_help="Knowledge graphs: build, ask, show, export.")
def command() -> None:
    """Knowledge graphs whose every fact has its quote, and answers that can only say what is known.

    \b
      palmette graph build notes.db docs/*.md
      palmette graph ask notes.db "Who founded Apple?"
      palmette graph path notes.db iPhone "Steve Jobs"
      palmette graph show notes.db --html notes.html

    STORE is a file, or postgresql://USER@HOST/DATABASE.
    """


def _verb(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A verb of the group: its first argument is the store."""

    def register(function: Callable[..., Any]) -> click.Command:
        return command.command(name)(click.argument("store")(debug_option(function)))

    return register


@contextmanager
def _opened(store: str, *, existing: bool = True, read_only: bool = False) -> Iterator[Any]:
    from palmette.models.graph import graph

    if existing and "://" not in store and not Path(store).exists():
        raise UsageError(f"no store at {store!r}; begin one with: palmette graph build {store} FILE …")
    options = {"read_only": True} if read_only and "://" not in store else {}
    with graph(store, **options) as found:
        yield found


@_verb("build")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_model
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    help="What may be said: JSON with types and relations; kept in the store.",
)
@click.option("--size", default=1200, show_default=True, help="Characters of a piece, at most.")
@click.option("--encoding", default="", help="Of text files; UTF-8 unless they say otherwise.")
@click.option("--max-mb", default=32.0, show_default=True, help="Refuse larger files.")
@click.option("--max-tokens", type=click.IntRange(1), help="Of a model's reply to a piece.")
@click.option("--calls", type=click.IntRange(0), help="Stop before more calls of the model than this.")
@click.option("--tokens", type=click.IntRange(0), help="Stop before more tokens than this.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def build(
    store: str, files: tuple[Path, ...], model: str, schema: Path | None, size: int, encoding: str, max_mb: float,
    max_tokens: int | None, calls: int | None, tokens: int | None, dry_run: bool, quiet: bool,
) -> int:  # fmt: skip
    """Read FILES (Markdown, text, HTML, PDF) into STORE. What is there unchanged costs nothing; the same command goes
    on after an interruption. A file that cannot be read is named, and the others are read.
    """
    from palmette.knowledge.documents.read import Document, read
    from palmette.knowledge.extract.ingest import Budget

    documents: list[Document] = []
    failed = 0
    for path in files:
        try:
            documents.append(read(path, encoding=encoding, most_bytes=int(max_mb * 1e6)))
        except PalmetteError as error:
            failed += 1
            click.echo(f"palmette: {type(error).__name__}: {error}", err=True)
    if not documents:
        return 2
    options = {"max_tokens": max_tokens} if max_tokens else {}
    fresh = "://" not in store and not Path(store).exists()
    with _opened(":memory:" if dry_run and fresh else store, existing=False) as graph:
        if schema is not None:
            graph.schema = read_text(str(schema))
        cost = graph.estimate(documents, by=model, size=size, **options)
        if dry_run or (not quiet and cost.calls):
            click.echo(
                f"{cost.documents} documents to read in {cost.pieces} pieces: "
                f"{cost.calls} calls, {cost.tokens:,} tokens at most",
                err=not dry_run,
            )
        if dry_run:
            return 0
        with _bar(cost.pieces, quiet) as advance:
            added = graph.add(documents, by=model, size=size, budget=Budget(calls, tokens), progress=advance, **options)
    spent = f", {added.calls} calls, {added.tokens:,} tokens" if added.calls else ""
    known = f", {len(added.unchanged)} unchanged" if added.unchanged else ""
    click.echo(f"{len(added.documents)} documents read{known}: {added.statements} statements{spent}")
    if not added.statements and added.documents:
        click.echo(
            "palmette: nothing was found to say; a larger model, a schema, or --model none may find more", err=True
        )
    if added.left:
        click.echo(
            f"palmette: the budget is spent; {len(added.left)} documents are left: the same command goes on", err=True
        )
    return 1 if failed or added.left else 0


@contextmanager
def _bar(total: int, quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar with the time left, where somebody looks."""
    if quiet or total < 2 or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda done, of, name: bar.update(task, completed=done, total=of, description=name[-40:])


@_verb("ask")
@click.argument("question")
@_model
@click.option("--mode", type=click.Choice(["cite", "confined", "free", "none"]), help="cite, unless there is no model.")
@click.option(
    "--care",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="How sure it must be that the store supports an answer; 0 answers anyway.",
)
@_time
@click.option("--html", type=click.Path(path_type=Path), help="Also write the facts behind the answer as a page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ask(
    store: str,
    question: str,
    model: str,
    mode: str | None,
    care: float,
    at: str | None,
    html: Path | None,
    as_json: bool,
) -> int:
    """Answer QUESTION from STORE, with quotes, or say that it does not know (exit code 3)."""
    with _opened(store, read_only=True) as graph:
        answer = graph.ask(question, by=model, mode=mode, care=care, at=at)
        if html is not None:
            from palmette.knowledge.picture.html import to_html
            from palmette.knowledge.store.read import united

            shown = united(graph.store, dict.fromkeys([*answer.facts, *answer.evidence.facts]))
            _write(html, to_html(shown, title=question, lead=answer.text))
    if as_json:
        click.echo(json.dumps(_plain(answer), ensure_ascii=False, indent=2))
    else:
        click.echo(_safe(answer.text))
        for sentence in answer.sentences:
            if not sentence.facts:
                click.echo(_safe(f"  not in the graph: {sentence.text}"), err=True)
        for quote in answer.quotes:
            click.echo(_safe(f"  {quote}"))
    return 3 if answer.abstained else 0


def _plain(answer: Any) -> dict[str, Any]:
    return {
        "answer": answer.text, "abstained": answer.abstained, "mode": answer.mode, "supported": answer.supported,
        "facts": [_fact(f) for f in answer.facts],
        "sentences": [{"text": s.text, "facts": [f.id for f in s.facts]} for s in answer.sentences],
        "calls": answer.calls, "tokens": answer.tokens,
    }  # fmt: skip


def _fact(fact: Any) -> dict[str, Any]:
    quotes = [{"document": q.document, "start": q.start, "end": q.end, "text": q.text} for q in fact.quotes]
    return {
        "id": fact.id, "subject": fact.subject.name, "relation": fact.relation, "object": fact.object.name,
        "support": fact.support, "quotes": quotes,
    }  # fmt: skip


@_verb("show")
@click.argument("names", nargs=-1)
@click.option("--hops", default=1, show_default=True, help="How far around the names.")
@click.option("--most", default=120, show_default=True, help="Things in the picture.")
@_time
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to explore.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write a picture.")
@click.option("--png", type=click.Path(path_type=Path), help="Write a picture (extra plot).")
def show(
    store: str,
    names: tuple[str, ...],
    hops: int,
    most: int,
    at: str | None,
    html: Path | None,
    svg: Path | None,
    png: Path | None,
) -> int:
    """Show STORE, or what lies around NAMES: as text, or with --html, --svg or --png as a picture."""
    from palmette.knowledge.picture.drawing import drawn
    from palmette.knowledge.picture.html import LISTED, to_html
    from palmette.knowledge.picture.svg import to_png, to_svg
    from palmette.knowledge.store.read import When, quoted, united

    with _opened(store, read_only=True) as graph:
        if names:
            found = list(dict.fromkeys(f for name in names for f in graph.around(name, hops, most=LISTED, at=at)))
        else:
            found = quoted(graph.store, graph.facts(most=LISTED, at=at), when=When(at))
        found = united(graph.store, found)
        counts = graph.counts()
    if svg or png:
        picture = drawn(found, most=most)
        if svg:
            _write(svg, to_svg(picture))
        if png:
            _write(png, to_png(picture))
    if html:
        _write(html, to_html(found, title=", ".join(names) or Path(store).name, most=most))
    if html or svg or png:
        return 0
    click.echo(", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing yet")
    for fact in found[:most]:
        click.echo(_safe(f"  {fact}" + (f"   [{fact.quotes[0].document}]" if fact.quotes else "")))
    if len(found) > most:
        click.echo(f"  … and {len(found) - most:,} more (--most)")
    return 0


@_verb("path")
@click.argument("start")
@click.argument("goal")
@_time
def path(store: str, start: str, goal: str, at: str | None) -> int:
    """The shortest way from START to GOAL, with the quotes of its facts (exit code 3 if there is none)."""
    from palmette.knowledge.store.read import When, quoted

    with _opened(store, read_only=True) as graph:
        found = graph.path(start, goal, at=at)
        if found is None:
            click.echo(f"no way leads from {start} to {goal}")
            return 3
        click.echo(_safe(str(found)))
        for fact in quoted(graph.store, [hop.fact for hop in found.hops], when=When(at), most=1):
            for quote in fact.quotes:
                click.echo(_safe(f"  {quote}"))
    return 0


@_verb("query")
@click.argument("query", metavar="JSON")
def query_(store: str, query: str) -> int:
    """Answer a typed query.

    \b
      '{"match": [{"subject": "Apple", "relation": "created", "object": "?x"}], "select": ["?x"]}'
    """
    try:
        asked = json.loads(query)
    except ValueError as error:
        raise UsageError(f"the query is no JSON: {error}") from None
    with _opened(store, read_only=True) as graph:
        found = graph.query(asked)
    for row in found.rows:
        click.echo(_safe("\t".join(row)))
    return 0


@_verb("remove")
@click.argument("documents", nargs=-1, required=True)
def remove(store: str, documents: tuple[str, ...]) -> int:
    """Take DOCUMENTS out of STORE, with everything that stands on them alone. No model is asked."""
    with _opened(store) as graph:
        gone = graph.remove(*documents)
    click.echo(f"{len(documents)} documents and {gone} statements removed")
    return 0


@_verb("export")
@click.option(
    "--format",
    "-f",
    type=click.Choice(["json", "graphml", "nquads", "csv", "cypher"]),
    default="json",
    show_default=True,
)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="A file; standard output by default.")
def export(store: str, format: str, out: Path | None) -> int:
    """Write STORE as text. json is the canonical dump: all there is, sorted, without times of the run."""
    with _opened(store, read_only=True) as graph:
        if out is not None:
            _write(out, "".join(graph.export(format)))
        else:
            for piece in graph.export(format):
                sys.stdout.write(piece)
    return 0


@_verb("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "-f",
    type=click.Choice(["json", "graphml", "nquads", "csv", "cypher"]),
    help="By the file's ending, unless said.",
)
def import_(store: str, file: Path, format: str | None) -> int:
    """Read an export into STORE."""
    endings = {"nq": "nquads", "nt": "nquads", "cyp": "cypher"}
    ending = file.suffix.lower().lstrip(".")
    with _opened(store, existing=False) as graph:
        came = graph.take(read_text(str(file)), format or endings.get(ending, ending))
    click.echo(f"{came} statements read")
    return 0


@_verb("schema")
@click.option("--set", "given", type=click.Path(path_type=Path), help="Hold the store to this schema (JSON).")
@click.option("--induce", is_flag=True, help="Propose one from what has been found.")
def schema(store: str, given: Path | None, induce: bool) -> int:
    """Print what may be said in STORE, propose it (--induce), or set it (--set)."""
    with _opened(store) as graph:
        if given is not None:
            graph.schema = read_text(str(given))
        found = graph.induce() if induce else graph.schema
    click.echo(json.dumps(found.dump(), ensure_ascii=False, indent=2))
    return 0


@_verb("conflicts")
@click.argument("relations", nargs=-1)
def conflicts(store: str, relations: tuple[str, ...]) -> int:
    """List what contradicts itself: several objects of a functional relation, the schema's or RELATIONS, quoted."""
    with _opened(store, read_only=True) as graph:
        found = graph.conflicts(*relations)
    for conflict in found:
        click.echo(_safe(str(conflict)))
    return 0


@command.command("demo")
@_model
@debug_option
def demo(model: str) -> int:
    """The course's seven steps on its graph of twenty-two facts, with any model (zoo:seedling, ollama:qwen3, …)."""
    from palmette.models.graph_demo import demo as steps

    for line in steps(model):
        click.echo(_safe(line))
    return 0


def _safe(text: str) -> str:
    """Text that steers no terminal."""
    from palmette.tokens.trace.visible import printable

    return printable(text)


def _write(path: Path, data: str | bytes) -> None:
    """A file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
