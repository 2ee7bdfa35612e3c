"""`palmette graph show`: the graph as text, page or picture."""

from __future__ import annotations

from pathlib import Path

import click

from palmette.cli.graph.shared import opened, safe, time_option, verb, write

__all__ = ["command"]


@verb("show")
@click.argument("names", nargs=-1)
@click.option("--hops", type=click.IntRange(1), default=1, show_default=True, help="How far around the names.")
@click.option("--most", type=click.IntRange(1), default=120, show_default=True, help="Things in the picture.")
@time_option
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to explore.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write a picture.")
@click.option("--png", type=click.Path(path_type=Path), help="Write a picture (extra plot).")
def command(
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

    with opened(store, read_only=True) as graph:
        if names:
            found = list(dict.fromkeys(f for name in names for f in graph.around(name, hops, most=LISTED, at=at)))
        else:
            found = quoted(graph.store, graph.facts(most=LISTED, at=at), when=When(at))
        found = united(graph.store, found)
        counts = graph.counts()
    if svg or png:
        picture = drawn(found, most=most)
        if svg:
            write(svg, to_svg(picture))
        if png:
            write(png, to_png(picture))
    if html:
        write(html, to_html(found, title=", ".join(names) or Path(store).name, most=most))
    if html or svg or png:
        return 0
    click.echo(", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing yet")
    for fact in found[:most]:
        click.echo(safe(f"  {fact}" + (f"   [{fact.quotes[0].document}]" if fact.quotes else "")))
    if len(found) > most:
        click.echo(f"  … and {len(found) - most:,} more (--most)")
    return 0
