"""The models that ship with Palmette."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["ZOO", "zoo_folder"]

ZOO = {
    "seedling": "a toy Llama of 0.9 million parameters that ships with Palmette",
    "long_arithmetic": "the seedling, fine-tuned on long word problems",
    "dense_extraction": "the seedling, fine-tuned on texts of many facts",
    "merged": "the merge of these two, with both skills",
    "reversing": "the seedling, fine-tuned to reverse digits, which is new to it",
    "swapping": "the seedling, fine-tuned to swap digits: the merge of the two knows neither",
}


def zoo_folder(name: str) -> Path:
    """The folder of a model in the zoo."""
    return Path(str(resources.files("palmette.models") / "zoo" / name))
