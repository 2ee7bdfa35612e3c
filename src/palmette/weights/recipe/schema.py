"""Recipes: mergekit's YAML format, read strictly. An unknown key is an error that names the near miss.

Beyond mergekit's format there is one key, `palmette`, with `methods`: other methods for tensors whose names match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palmette.core.errors import RecipeError, near_miss
from palmette.weights.dtypes import ALIASES
from palmette.weights.methods import METHODS, settings
from palmette.weights.recipe.values import check

__all__ = ["Choice", "Entry", "Module", "Recipe", "Reference", "Slice", "TokenSource", "Tokenizer", "recipe_of",
           "read_recipe", "read_recipes", "reference_of"]  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A model: `path[@revision][+lora[@revision]]`."""

    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None
    architecture: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        lora = f"+{self.lora}" + (f"@{self.lora_revision}" if self.lora_revision else "") if self.lora else ""
        return f"{self.path}{revision}{lora}"


@dataclass(frozen=True)
class Entry:
    """A model of a merge with its own parameters and, in a slice, its layers [first, last)."""

    model: Reference
    parameters: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class Slice:
    """Consecutive layers of the output, and where they come from."""

    sources: tuple[Entry, ...]
    base: Reference | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """A part of a model that is merged by itself: whole models, or slices."""

    models: tuple[Entry, ...] = ()
    slices: tuple[Slice, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenSource:
    """Where a token's embedding comes from: a model's token (by text or id), or zero."""

    kind: str = "model"  # model | token | zero
    model: Reference | None = None
    token: str | int | None = None
    force: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """The output's vocabulary: "union", "base", or a model's."""

    source: str | Reference = "union"
    tokens: Mapping[str, TokenSource] = field(default_factory=dict)
    multiple: int | None = None


@dataclass(frozen=True)
class Choice:
    """A merge method of its own for tensors whose names hold `filter` (an extension)."""

    filter: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One merge."""

    method: str
    modules: Mapping[str, Module]
    base: Reference | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    name: str | None = None
    choices: tuple[Choice, ...] = ()
    text: str = ""

    def references(self) -> list[Reference]:
        """Every model that is named, the base first, without repetition and in the order of the recipe."""
        found = [] if self.base is None else [self.base]
        for module in self.modules.values():
            for piece in module.slices:
                found += [entry.model for entry in piece.sources] + ([piece.base] if piece.base else [])
            found += [entry.model for entry in module.models]
        if self.tokenizer:
            found += [self.tokenizer.source] if isinstance(self.tokenizer.source, Reference) else []
            found += [source.model for source in self.tokenizer.tokens.values() if source.model]
        return list(dict.fromkeys(found))


def read_recipes(text: str) -> list[Recipe]:
    """All recipes of a YAML text; several documents are stages, named by `name`.

    Raises:
        RecipeError: for anything that cannot be understood.
        MissingExtra: without a YAML reader.
    """
    from palmette.weights.recipe.document import documents

    found = [recipe_of(document, text) for document in documents(text)]
    if not found:
        raise RecipeError("", "the file holds no recipe")
    names = [recipe.name for recipe in found if recipe.name]
    if len(set(names)) != len(names):
        raise RecipeError(
            "name", f"two stages have the same name: {sorted(n for n in names if names.count(n) > 1)[0]!r}"
        )
    return found


def read_recipe(text: str) -> Recipe:
    """The one recipe of a YAML text.

    Raises:
        RecipeError: for anything that cannot be understood.

    >>> recipe = read_recipe("merge_method: linear\\nmodels: [{model: a, parameters: {weight: 1}}]")
    >>> recipe.method, str(recipe.references()[0])
    ('linear', 'a')
    """
    found = read_recipes(text)
    if len(found) > 1:
        raise RecipeError("", f"{len(found)} documents where one recipe is expected")
    return found[0]


_TOP = ("merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source",  # noqa: E501
        "tokenizer", "chat_template", "name", "palmette")  # fmt: skip


def recipe_of(document: Any, text: str) -> Recipe:
    """The recipe of a document that was read already; `text` is kept beside the merged model.

    Raises:
        RecipeError: for anything that cannot be understood.
    """
    top = _table(document, "", _TOP, needs=("merge_method",))
    method = _method(top["merge_method"], "merge_method")
    kinds = [key for key in ("models", "slices", "modules") if top.get(key) is not None]
    if len(kinds) != 1:
        raise RecipeError(
            "", f"exactly one of models, slices and modules is needed, not {' and '.join(kinds) or 'none'}"
        )
    if top.get("tokenizer") is not None and top.get("tokenizer_source") is not None:
        raise RecipeError("", "give tokenizer or tokenizer_source, not both")
    modules = (
        {str(k): _module(v, f"modules.{k}") for k, v in _table(top["modules"], "modules").items()}
        if kinds == ["modules"]
        else {"default": _module({kinds[0]: top[kinds[0]]}, "")}
    )
    made = Recipe(
        method,
        modules,
        _maybe_reference(top.get("base_model"), "base_model"),
        _parameters(top.get("parameters"), "parameters"),
        _dtype(top.get("dtype"), "dtype"),
        _dtype(top.get("out_dtype"), "out_dtype"),
        _tokenizer(top),
        None if top.get("chat_template") is None else str(top["chat_template"]),
        None if top.get("name") is None else str(top["name"]),
        _choices(top.get("palmette")),
        text,
    )
    _refuse_unknown_parameters(made)
    return made


def _choices(value: Any) -> tuple[Choice, ...]:
    if value is None:
        return ()
    made = []
    for i, row in enumerate(_list(_table(value, "palmette", ("methods",)).get("methods") or [], "palmette.methods")):
        path = f"palmette.methods[{i}]"
        table = _table(row, path, ("filter", "merge_method", "parameters"), ("filter", "merge_method"))
        method = _method(table["merge_method"], f"{path}.merge_method")
        made.append(Choice(str(table["filter"]), method, _parameters(table.get("parameters"), f"{path}.parameters")))
    return tuple(made)


def _method(value: Any, path: str) -> str:
    if str(value) not in METHODS:
        raise RecipeError(
            path, f"no merge method {value!r}.{near_miss(str(value), METHODS)} Known: {', '.join(METHODS)}"
        )
    return str(value)


def _module(value: Any, path: str) -> Module:
    table = _table(value, path, ("models", "slices", "parameters"))
    if (table.get("models") is None) == (table.get("slices") is None):
        raise RecipeError(path, "exactly one of models and slices is needed")
    dot = f"{path}." if path else ""
    models = [_entry(v, f"{dot}models[{i}]", False) for i, v in enumerate(_list(table.get("models"), f"{dot}models"))]
    slices = [_slice(v, f"{dot}slices[{i}]") for i, v in enumerate(_list(table.get("slices"), f"{dot}slices"))]
    if not models and not slices:
        raise RecipeError(path or "models", "no model is named")
    return Module(tuple(models), tuple(slices), _parameters(table.get("parameters"), f"{dot}parameters"))


def _slice(value: Any, path: str) -> Slice:
    if isinstance(value, dict) and value.get("residual_weight") is not None:
        raise RecipeError(f"{path}.residual_weight", "has no effect (mergekit reads it and uses it nowhere); remove it")
    table = _table(value, path, ("sources", "base_model", "parameters", "residual_weight"), ("sources",))
    sources = [
        _entry(v, f"{path}.sources[{i}]", True) for i, v in enumerate(_list(table["sources"], f"{path}.sources"))
    ]
    if not sources:
        raise RecipeError(f"{path}.sources", "a slice needs a source")
    if len({e.layers[1] - e.layers[0] for e in sources if e.layers}) > 1:
        shown = ", ".join(str(list(e.layers or ())) for e in sources)
        raise RecipeError(path, f"all sources of a slice need the same number of layers, not {shown}")
    base = _maybe_reference(table.get("base_model"), f"{path}.base_model")
    return Slice(tuple(sources), base, _parameters(table.get("parameters"), f"{path}.parameters"))


def _entry(value: Any, path: str, in_slice: bool) -> Entry:
    known = ("model", "parameters", "layer_range") if in_slice else ("model", "parameters")
    table = _table(value, path, known, ("model", "layer_range") if in_slice else ("model",))
    layers = None
    if in_slice:
        found = table["layer_range"]
        whole = isinstance(found, list) and len(found) == 2 and all(type(n) is int for n in found)
        if not whole or not 0 <= found[0] <= found[1]:
            raise RecipeError(f"{path}.layer_range", f"should be [first, end) with 0 <= first <= end, not {found!r}")
        layers = (found[0], found[1])
    return Entry(reference_of(table["model"], f"{path}.model"), _parameters(table.get("parameters"), path), layers)


def _tokenizer(top: Mapping[str, Any]) -> Tokenizer | None:
    if top.get("tokenizer_source") is not None:
        return Tokenizer(_token_origin(top["tokenizer_source"], "tokenizer_source"))
    if top.get("tokenizer") is None:
        return None
    table = _table(top["tokenizer"], "tokenizer", ("source", "tokens", "pad_to_multiple_of"))
    tokens = {
        str(t): _token(v, f"tokenizer.tokens.{t}")
        for t, v in _table(table.get("tokens") or {}, "tokenizer.tokens").items()
    }
    multiple = table.get("pad_to_multiple_of")
    if multiple is not None and (type(multiple) is not int or multiple < 1):
        raise RecipeError("tokenizer.pad_to_multiple_of", f"should be a positive whole number, not {multiple!r}")
    return Tokenizer(_token_origin(table.get("source", "union"), "tokenizer.source"), tokens, multiple)


def _token_origin(value: Any, path: str) -> str | Reference:
    return value if value in ("union", "base") else reference_of(value, path)


def _token(value: Any, path: str) -> TokenSource:
    table = _table(value, path, ("source", "force"), ("source",))
    source, force = table["source"], bool(table.get("force", False))
    if not isinstance(source, dict) or "kind" not in source:
        return TokenSource("model", reference_of(source, f"{path}.source"), None, force)
    if source["kind"] == "zero":
        return TokenSource("zero", force=force)
    if source["kind"] != "model_token":
        raise RecipeError(f"{path}.source.kind", f"should be zero or model_token, not {source['kind']!r}")
    inner = _table(source, f"{path}.source", ("kind", "model", "token", "token_id"), ("model",))
    if (inner.get("token") is None) == (inner.get("token_id") is None):
        raise RecipeError(f"{path}.source", "give exactly one of token and token_id")
    token = str(inner["token"]) if inner.get("token") is not None else int(inner["token_id"])
    return TokenSource("token", reference_of(inner["model"], f"{path}.source.model"), token, force)


def _maybe_reference(value: Any, path: str) -> Reference | None:
    return None if value is None else reference_of(value, path)


def reference_of(value: Any, path: str) -> Reference:
    """A model as a recipe names it: text, or a table.

    Raises:
        RecipeError: for anything else.
    """
    if isinstance(value, dict):
        table = _table(value, path, ("model", "lora", "override_architecture"), ("model",))
        model, lora = (_located(table.get(k), f"{path}.{k}") for k in ("model", "lora"))
        return Reference(model[0] or "", model[1], lora[0], lora[1], table.get("override_architecture"))
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise RecipeError(path, f"{value!r} is no model")
    match = re.fullmatch(r"([^@+]+)(?:@([^@+]+))?(?:\+([^@+]+)(?:@([^@+]+))?)?", value.strip())
    if not match:
        raise RecipeError(path, f"{value!r} is no model of the form path[@revision][+lora[@revision]]")
    return Reference(match[1], match[2], match[3], match[4])


def _located(value: Any, path: str) -> tuple[str | None, str | None]:
    """A path and revision, from text or {path, revision}."""
    if value is None:
        return None, None
    if isinstance(value, str):
        inner = reference_of(value, path)
        return inner.path, inner.revision
    table = _table(value, path, ("path", "revision"), ("path",))
    return str(table["path"]), None if table.get("revision") is None else str(table["revision"])


def _parameters(value: Any, path: str) -> dict[str, Any]:
    return {str(k): check(v, f"{path}.{k}") for k, v in _table(value or {}, path).items()}


def _dtype(value: Any, path: str) -> str | None:
    if value is None:
        return None
    if value not in ALIASES:
        raise RecipeError(path, f"no dtype {value!r}.{near_miss(str(value), ALIASES)} Known: {', '.join(ALIASES)}")
    return ALIASES[value]


def _refuse_unknown_parameters(recipe: Recipe) -> None:
    """Every parameter must belong to a method of the recipe."""
    methods = [recipe.method, *(choice.method for choice in recipe.choices)]
    known = list(dict.fromkeys(name for method in methods for name in settings(METHODS[method])))
    levels: list[tuple[str, Mapping[str, Any]]] = [("parameters", recipe.parameters)]
    for label, module in recipe.modules.items():
        levels.append((f"modules.{label}.parameters", module.parameters))
        for piece in module.slices:
            levels += [("slices", piece.parameters), *((str(e.model), e.parameters) for e in piece.sources)]
        levels += [(str(entry.model), entry.parameters) for entry in module.models]
    levels += [("palmette.methods", choice.parameters) for choice in recipe.choices]
    for path, level in levels:
        for name in level:
            if name not in known:
                raise RecipeError(
                    path,
                    f"merge method {recipe.method!r} has no parameter {name!r}.{near_miss(name, known)} "
                    f"Known: {', '.join(known) or 'none'}",
                )


def _table(value: Any, path: str, known: tuple[str, ...] = (), needs: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError(path, f"a table of keys and values is expected, not {str(value)[:60]!r}")
    for key in value:
        if known and key not in known:
            raise RecipeError(path, f"unknown key {key!r}.{near_miss(str(key), known)} Known: {', '.join(known)}")
    for key in needs:
        if value.get(key) is None:
            raise RecipeError(path, f"{key} is missing")
    return {str(k): v for k, v in value.items()}


def _list(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecipeError(path, f"a list is expected, not {str(value)[:60]!r}")
    return value
