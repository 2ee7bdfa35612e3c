"""The models that ship with Palmette."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["ZOO", "zoo_folder"]

ZOO = {"seedling": "a toy Llama of 0.9 million parameters that ships with Palmette"}


def zoo_folder(name: str) -> Path:
    """The folder of a model in the zoo."""
    return Path(str(resources.files("palmette.models") / "zoo" / name))
