"""Where a merge finds a model that is no folder: the zoo, or the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from palmette.models.hub import snapshot

__all__ = ["fetch"]


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of `zoo:seedling`, `hf:OWNER/NAME`, or `OWNER/NAME` (as mergekit's recipes write it)."""
    if name.startswith("zoo:"):
        from palmette.models.resolve import folder_of, parse_reference

        return folder_of(parse_reference(name))
    return snapshot(name.removeprefix("hf:"), revision)
