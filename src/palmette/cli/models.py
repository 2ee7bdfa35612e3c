"""`palmette models`: what can be run from here, by the names under which it is run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UnknownModel
from palmette.models.discover.disk import on_disk
from palmette.models.discover.found import Found
from palmette.models.discover.servers import Reachable, keys_set, servers
from palmette.models.remote.listing import models_of
from palmette.models.remote.providers import PROVIDERS

__all__ = ["command"]


@click.command("models", short_help="List what can be run.")
@click.argument("words", nargs=-1, metavar="[TEXT]…")
@click.option("--of", "provider", metavar="PROVIDER", help="Ask this provider for its models.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def command(words: tuple[str, ...], provider: str | None, as_json: bool) -> int:
    """List what can be run from here, under the names that `palmette run` takes.

    Weights: those that ship with Palmette, Hugging Face's cache, Ollama, LM Studio, llama.cpp, folders in
    PALMETTE_MODELS and the working directory. Servers: those of this machine that answer on their usual ports.
    Providers: those whose key is in the environment. TEXT keeps the names that contain all of it.
    """
    if provider is not None:
        if provider not in PROVIDERS:
            raise UnknownModel("provider", provider, PROVIDERS)
        names = _kept([f"{provider}:{name}" for name in models_of(provider)], words)
        click.echo(json.dumps(names) if as_json else "\n".join(names))
        return 0
    found = [row for row in on_disk() if _fits(row.reference, words)]
    answering = [Reachable(s.provider, s.url, tuple(_kept(s.models, words)), s.trouble) for s in servers()]
    keyed = keys_set()
    if as_json:
        report: dict[str, Any] = {"weights": [asdict(row) for row in found],
                                  "servers": [asdict(row) for row in answering],
                                  "providers": [{"name": n, "key": k} for n, k in keyed]}  # fmt: skip
        click.echo(json.dumps(report, default=str))
        return 0
    _show_weights(found)
    _show_servers(answering)
    _show_providers(keyed)
    return 0


def _show_weights(found: Sequence[Found]) -> None:
    click.echo(click.style("Weights on this disk", bold=True))
    if not found:
        click.echo("  none of that name")
    width = max((len(row.reference) for row in found), default=0)
    for row in found:
        told = [
            _size(row.size),
            _count(row.parameters),
            row.family,
            row.format,
            f"{row.context}" if row.context else "",
        ]
        line = f"  {row.reference:<{width}}  {told[0]:>8}  {told[1]:>6}  {' '.join(t for t in told[2:] if t)}"
        click.echo(line.rstrip() + (click.style(f"  cannot be run: {row.trouble}", dim=True) if row.trouble else ""))


def _show_servers(answering: Sequence[Reachable]) -> None:
    click.echo(click.style("Servers on this machine", bold=True))
    for row in answering:
        for name in row.models:
            click.echo(f"  {name}  at {row.url}")
        if row.trouble or not row.models:
            click.echo(f"  {row.provider}: at {row.url}: {row.trouble or 'it has no such models'}")
    if not answering:
        usual = ", ".join(f"{p.name} ({p.where()})" for p in PROVIDERS.values() if p.optional)
        click.echo(f"  none answers; asked were {usual}")


def _show_providers(keyed: Sequence[tuple[str, str]]) -> None:
    click.echo(click.style("Providers", bold=True))
    for name, variable in keyed:
        click.echo(f"  {name}:MODEL  by {variable}; palmette models --of {name} lists them")
    known = dict(keyed)
    others = [f"{p.name} ({p.keys[0]})" for p in PROVIDERS.values() if not p.optional and p.name not in known]
    click.echo(f"  no key is set for {', '.join(others)}")


def _kept(names: Sequence[str], words: Sequence[str]) -> list[str]:
    return [name for name in names if _fits(name, words)]


def _fits(name: str, words: Sequence[str]) -> bool:
    return all(word.lower() in name.lower() for word in words)


def _size(count: int) -> str:
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _count(parameters: int) -> str:
    if not parameters:
        return ""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.3g}{unit}"
    return str(parameters)
