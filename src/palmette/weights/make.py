"""Recipes written in Python: one function for each merge method.

    merge(ties("a", ("b", {"weight": 0.3}), base="base", density=0.5)).save("out")

The functions take models (a folder or name, or a pair of it and its own parameters), `base`, what belongs to the recipe
as a whole (`dtype`, `out_dtype`, `tokenizer`, `chat_template`), and the method's parameters: a number, a gradient over
the layers, or a list of filters, as in YAML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palmette.core.errors import BadParameter
from palmette.weights.methods import METHODS
from palmette.weights.recipe.schema import Recipe, recipe_of

__all__ = ["Maker", "where", *METHODS]

Part = str | tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Maker:
    """Makes recipes of one merge method.

    >>> Maker("ties")("a", ("b", {"weight": 0.3}), base="base", density=0.5).method
    'ties'
    """

    method: str

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """What the method does."""
        return METHODS[self.method].function.__doc__

    def __call__(
        self,
        *models: Part,
        base: str | None = None,
        dtype: str | None = None,
        out_dtype: str | None = None,
        tokenizer: str | Mapping[str, Any] | None = None,
        chat_template: str | None = None,
        **parameters: Any,
    ) -> Recipe:
        """A recipe of this method.

        Args:
            models: folders or names, `path[@revision][+lora[@revision]]`; or pairs of one and its own parameters.
            base: the base model.
            dtype: what the arithmetic starts from, "float32", "bfloat16" or "float16".
            out_dtype: what is written.
            tokenizer: "union", "base", a model, or the recipe's `tokenizer` block.
            chat_template: a template's name, its text, or "auto".
            parameters: the method's.

        Raises:
            RecipeError: for anything that mergekit's format would not allow.
        """
        said: dict[str, Any] = {"merge_method": self.method, "models": [_entry(part) for part in models]}
        if isinstance(tokenizer, Mapping):
            said["tokenizer"] = dict(tokenizer)
        elif tokenizer is not None:
            said["tokenizer_source"] = tokenizer
        more = {"base_model": base, "dtype": dtype, "out_dtype": out_dtype, "chat_template": chat_template}
        said |= {key: value for key, value in more.items() if value is not None}
        if parameters:
            said["parameters"] = parameters
        return _made(said)


def where(recipe: Recipe, name: str, method: str, **parameters: Any) -> Recipe:
    """The recipe with another method for tensors whose names hold `name`; of several, the first that matches counts.

    >>> mixed = where(Maker("linear")("a", "b", weight=1), "mlp", "slerp", t=0.5)
    >>> mixed.choices[0].filter, mixed.choices[0].method
    ('mlp', 'slerp')
    """
    said = json.loads(recipe.text)
    rows = said.setdefault("palmette", {}).setdefault("methods", [])
    rows.append({"filter": name, "merge_method": method, "parameters": parameters})
    return _made(said)


def _entry(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"model": part}
    try:
        name, own = part
        return {"model": name, "parameters": dict(own)}
    except (TypeError, ValueError):
        raise BadParameter(f"a model is a name, or a pair (name, parameters), not {part!r}") from None


def _made(said: dict[str, Any]) -> Recipe:
    text = json.dumps(said, indent=2)  # which is YAML as well
    return recipe_of(json.loads(text), text + "\n")


linear = Maker("linear")
slerp = Maker("slerp")
nuslerp = Maker("nuslerp")
multislerp = Maker("multislerp")
karcher = Maker("karcher")
task_arithmetic = Maker("task_arithmetic")
ties = Maker("ties")
dare_linear = Maker("dare_linear")
dare_ties = Maker("dare_ties")
della = Maker("della")
della_linear = Maker("della_linear")
breadcrumbs = Maker("breadcrumbs")
breadcrumbs_ties = Maker("breadcrumbs_ties")
sce = Maker("sce")
ram = Maker("ram")
ramplus_tl = Maker("ramplus_tl")
model_stock = Maker("model_stock")
nearswap = Maker("nearswap")
arcee_fusion = Maker("arcee_fusion")
passthrough = Maker("passthrough")
tsv = Maker("tsv")
iso_c = Maker("iso_c")
iso_cts = Maker("iso_cts")
knots = Maker("knots")
consensus = Maker("consensus")
emr = Maker("emr")
magmax = Maker("magmax")
