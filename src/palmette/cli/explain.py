"""`palmette explain`: what sampling settings mean in each program, and the same settings said in another."""

from __future__ import annotations

import json

import click

from palmette.cli.shared import debug_option, settings_option
from palmette.core.errors import UsageError
from palmette.tokens.dialect import DIALECTS, SETTINGS, explain, parse_settings, translate

__all__ = ["command"]


@click.command("explain", short_help="Show what sampling settings mean in transformers, llama.cpp and vLLM.")
@settings_option
@click.option("--dialect", metavar="NAME", help=f"Show this one alone: {', '.join(DIALECTS)}.")
@click.option("--from", "source", metavar="NAME", help="Translate the settings from this dialect …")
@click.option("--to", "target", metavar="NAME", help="… to this one.")
@click.option("--list", "listing", is_flag=True, help="List the settings with their names in each dialect.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@debug_option
def command(
    settings: tuple[str, ...], dialect: str | None, source: str | None, target: str | None, listing: bool, as_json: bool
) -> int:
    """Show the chain that each program makes of the settings, its silent defaults marked, and where they differ.

    With --from and --to, say the settings of one program in another's words, so that both give the same distribution;
    notes say what cannot be carried. Without --set, the programs' own defaults are shown.

    \b
      palmette explain --set temperature=0.5,top_p=0.7
      palmette explain --set temperature=0.7,min_p=0.05 --from llama.cpp --to vllm
    """
    given = parse_settings(settings)
    if listing:
        click.echo(json.dumps(_table()) if as_json else _listed())
        return 0
    if (source is None) != (target is None):
        raise UsageError("--from and --to belong together: --from llama.cpp --to hf")
    if source is not None and target is not None:
        if dialect is not None:
            raise UsageError("--dialect shows one dialect, --from and --to name two; give one or the other")
        translation = translate(given, source, target)
        click.echo(json.dumps(translation.to_dict()) if as_json else str(translation))
        return 0
    explanation = explain(given, dialect)
    click.echo(json.dumps(explanation.to_dict()) if as_json else str(explanation))
    return 0


def _table() -> dict[str, dict[str, object]]:
    return {
        s.name: {
            "help": s.help,
            "aliases": list(s.aliases),
            "names": {d.name: d.names.get(s.name) for d in DIALECTS.values()},
            "defaults": {d.name: d.defaults[s.name] for d in DIALECTS.values() if s.name in d.defaults},
        }
        for s in SETTINGS.values()
    }


def _listed() -> str:
    lines = []
    for s in SETTINGS.values():
        lines.append(f"{s.name}  {s.help}" + (f"  (also {', '.join(s.aliases)})" if s.aliases else ""))
        cells = [
            f"{d.name}: {d.names.get(s.name, 'no')}" + (f" = {d.defaults[s.name]}" if s.name in d.defaults else "")
            for d in DIALECTS.values()
        ]
        lines.append("    " + ", ".join(cells))
    return "\n".join(lines)
