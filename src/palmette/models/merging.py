"""Merges of models by their names: a folder, `zoo:NAME`, `hf:OWNER/NAME`, `gguf:FILE`, or `OWNER/NAME` of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palmette.core.errors import BadParameter, ModelNotFound, near_miss
from palmette.models.embedded import ZOO
from palmette.models.hub import snapshot
from palmette.weights import merge as weights
from palmette.weights.folder import Fetch
from palmette.weights.recipe.schema import Recipe

__all__ = ["fetch", "merge"]


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder, or GGUF file, of a model that a recipe names and that is no folder.

    Args:
        name: `zoo:NAME`, `hf:OWNER/NAME`, `gguf:NAME`, or `OWNER/NAME`, a repository of the hub.
        revision: of the hub's repository.

    Raises:
        UnknownModel: for a name that the zoo has not, or a scheme that nobody has.
        ModelNotFound: if neither this machine nor the hub has it.

    >>> fetch("zoo:seedling").name
    'seedling'
    """
    if ":" in name:
        from palmette.models.resolve import folder_of, parse_reference

        reference = parse_reference(name)
        if reference.scheme == "hf":
            return snapshot(reference.name, revision or reference.revision)
        if revision:
            raise BadParameter(f"{name}@{revision}: only a repository of the hub has revisions, not {name!r}")
        return Path(reference.name) if reference.scheme == "gguf" else folder_of(reference)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelNotFound(f"no folder {name!r}")
    try:
        return snapshot(name, revision)
    except ModelNotFound as error:
        hint = near_miss(name, [f"zoo:{known}" for known in ZOO]) if "/" not in name else ""
        raise ModelNotFound(f"no folder {name!r}, and on the hub: {error}.{hint}") from error


def merge(recipe: Recipe | str | Path | dict[str, Any], *, fetch: Fetch = fetch, **options: Any) -> weights.Merge:
    """Plan a merge: `palmette.merge(palmette.ties("a", "b", base="base", density=0.5)).save("out")`.

    Args:
        recipe: made by a method's function, such as `palmette.ties`; or the path of a YAML file; or its content as a
            dict. Models are folders, or references: `zoo:NAME`, `hf:OWNER/NAME[@REVISION]`, `gguf:FILE`, and
            `OWNER/NAME` of the hub.
        fetch: how to find the folder of a model that is no path.
        options: seed, compute, allow_crimes, truncate, allow_nonfinite, missing (see `palmette.weights.plan.Options`).

    Raises:
        PalmetteError: for a recipe or models that cannot be merged.

    >>> import palmette
    >>> recipe = palmette.slerp("zoo:long_arithmetic", base="zoo:seedling", t=0.5)
    >>> palmette.merge(recipe).tensors["model.norm.weight"].shape
    (128,)
    """
    return weights.merge(recipe, fetch=fetch, **options)
