"""What `palmette landscape` measures for each of its options, writes, and says in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from palmette.core.errors import OutputError, UsageError
from palmette.models.landscape import (
    basin,
    landscape,
    landscape_shard,
    robustness,
    sharpness,
)
from palmette.weights.landscape.forward import slow
from palmette.weights.landscape.landscape import Landscape
from palmette.weights.landscape.metric import known
from palmette.weights.landscape.pictures.tables import finite
from palmette.weights.landscape.pictures.write import formats, write
from palmette.weights.landscape.profile import Layers, Profile
from palmette.weights.landscape.sharpness import Sharpness

__all__ = ["finished", "measured"]

Made = Landscape | Profile | Layers | Sharpness | int
_HOW = ("metric", "select", "tokens", "length", "dtype", "device", "threads", "workers", "ray")
_PLANE = ("plane", "line", "merges", "span", "seed", "norm", "tolerance", "grid")


def measured(
    model: str | None, data: str | Mapping[str, str], store: Path | None, progress: Callable[[int, int], None],
    options: dict[str, Any], asked: list[str],
) -> Made:  # fmt: skip
    """The measurement that the options ask for."""
    how = {name: options[name] for name in _HOW}
    if options["dtype"] == "bfloat16" and slow(options["device"]):
        click.echo("palmette: this processor has no products in bfloat16; float32 is many times faster here", err=True)
    common: dict[str, Any] = how | {"store": store, "progress": progress}
    if asked == ["profile"]:
        more = {name: options[name] for name in ("seed", "norm", "span")}
        return basin(str(model), data, count=options["profile"], **more, **common)
    if asked == ["layers"]:
        return robustness(str(model), data, options["layers"], seed=options["seed"], norm=options["norm"], **common)
    if asked == ["sharpness"]:
        asked_for = {"count": "eigenvalues", "most": "products", "tolerance": "tolerance"}
        sharp = {name: options[flag] for name, flag in asked_for.items() if options[flag] is not None}
        return sharpness(str(model), data, progress=progress, **sharp, **how)
    plane = {name: options[name] for name in _PLANE if options[name] is not None}
    if options["shard"] is not None:
        assert store is not None
        return landscape_shard(options["shard"], model, data, **plane, **common)
    return landscape(model, data, **plane, **common)


def finished(made: Made, paths: list[Path], options: dict[str, Any]) -> None:
    """Write every file, and say what was found."""
    if isinstance(made, int):
        click.echo(f"{made} points of this shard are measured; without --shard the same command draws all of them")
        return
    if isinstance(made, Sharpness):
        _json(paths[0], made)
        _flagged(made)
        click.echo(str(made))
        return
    wrong = next((path for path in paths if path.suffix not in formats(made)), None)
    if wrong is not None:
        raise UsageError(f"{wrong.name!r}: this picture may end in {', '.join(formats(made))}; its points are kept")
    for path in paths:
        write(made, path)
    _flagged(made)
    click.echo(made.caption)
    for line in _said(made, options):
        click.echo(line)
    if options["best"] is not None:
        _recipe(made, options["best"])


def _flagged(made: Landscape | Profile | Layers | Sharpness) -> None:
    for flag in made.flags:
        click.echo(f"palmette: {flag}", err=True)


def _said(made: Landscape | Profile | Layers, options: dict[str, Any]) -> list[str]:
    """What the measurement means, in words."""
    if isinstance(made, Profile):
        mean, low, high = made.basin_radius(options["rise"])
        if mean == float("inf"):
            return [f"the loss does not rise by {options['rise']:g} in all directions: measure a larger --span"]
        count = len(made.losses)
        sure = f"95 % of the mean: {low:.4f} to {high:.4f}, {count} directions" if count > 1 else "one direction only"
        rise = f"the loss rises by less than {options['rise']:g}"
        return [f"basin: up to a relative radius of {mean:.4f} ({sure}) {rise}"]
    if isinstance(made, Layers):
        width = max(len(row[0]) for row in made.rows)
        return [f"  {name:<{width}}  {a.value:+.4f}{_give(a.error)}   noise of the same size {b.value:+.4f}"
                for name, a, b, _ in made.rows]  # fmt: skip
    lines = [_mark(name, mark) for name, mark in made.marks.items() if mark.off >= 5e-4]
    at, value = made.argmin()
    where = ", ".join(f"{x:.3g} × {label}" for x, label in zip(at, made.labels, strict=True))
    checked = made.marks["lowest"].loss
    truth = f"; measured there: {known(checked)}" if checked is not None else ""
    lines.append(f"lowest: {value:.4f} at {where}{truth}{_edge(made, at)}")
    if made.tasks:
        own = {name: made.task(name) for name in made.tasks}
        lines += [
            f"  {name}: {float(one(*at)):.4f} there, {one.argmin()[1]:.4f} at its own best" for name, one in own.items()
        ]
    ends = [name for name in made.others if made.marks[name].off < 5e-4]
    for name in ends:
        end = made.marks[name].at
        height = made.barrier((0.0,) * len(end), end)
        lines.append(
            f"barrier on the way to {name}: "
            + ("not known, for a part of it was not measured, or has no finite loss" if height.value != height.value
               else f"{height.value:.4f}{_give(height.error)}")
        )  # fmt: skip
    return lines


def _edge(made: Landscape, at: tuple[float, ...]) -> str:
    """What to say of a lowest point at the picture's edge."""
    ends = zip(at, made.surrogate.low, made.surrogate.high, strict=True)
    touching = any(min(x - a, b - x) < 1e-3 * (b - a) for x, a, b in ends)
    return "; it is at the edge, and may be lower outside: measure a larger --span" if touching else ""


def _give(error: float) -> str:
    """Two standard errors, if there are any."""
    return f" ± {2 * error:.2g}" if error == error else ""


def _mark(name: str, mark: Any) -> str:
    own = f"; its own loss {known(mark.loss)}" if mark.loss is not None else ""
    return f"{name}: nearest at {', '.join(f'{x:.3f}' for x in mark.at)}, {mark.off:.2%} of ‖θ‖ off the plane{own}"


def _recipe(made: Landscape | Profile | Layers, path: Path) -> None:
    """The lowest point of a plane through two checkpoints as a merge recipe: task arithmetic with these weights."""
    spans = made.facts.get("checkpoints") if isinstance(made, Landscape) else None
    if not isinstance(made, Landscape) or not spans:
        raise UsageError("--best needs a plane through two checkpoints: --plane A,B, or --merge with two parents")
    at = made.argmin()[0]
    held = {
        "merge_method": "task_arithmetic", "base_model": spans["base"], "dtype": "float32",
        "models": [{"model": folder, "parameters": {"weight": round(x, 6)}}
                   for folder, x in zip(spans["to"], at, strict=True)],
        "parameters": {"normalize": False},
    }  # fmt: skip
    try:
        path.write_text(json.dumps(held, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")  # JSON is YAML
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def _json(path: Path, made: Sharpness) -> None:
    said = {
        "eigenvalues": made.values, "residuals": made.residuals, "converged": made.converged,
        "tolerance": made.tolerance, "flags": made.flags, "standard_error": made.error,
        "learning_rate": made.learning_rate, "products": made.products, "exact": made.exact, "loss": made.origin.value,
        **made.facts,
    }  # fmt: skip
    try:
        path.write_text(json.dumps(finite(said), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
