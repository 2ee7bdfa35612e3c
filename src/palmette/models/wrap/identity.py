"""What a model is, as JSON that is the same in every run: what a cache must know beside the request.

Two models with one name answer otherwise if they have other defaults, another address, strategy or view.
"""

from __future__ import annotations

from typing import Any

from palmette.core.errors import UsageError
from palmette.core.message import Output
from palmette.core.model import Model
from palmette.core.types import schema_of
from palmette.core.values import to_json
from palmette.models.local import LocalModel
from palmette.models.remote.model import RemoteModel
from palmette.models.wrap.base import Wrapper
from palmette.models.wrap.fallback import Fallback
from palmette.models.wrap.route import Router
from palmette.tokens.strategies.named import Named
from palmette.tokens.views.base import PointView

__all__ = ["identity"]


def identity(model: Model) -> Any:
    """The model's name with all of its own choices.

    Raises:
        UsageError: for a model on this machine whose choices have no words that would last.

    >>> import palmette
    >>> identity(palmette.connect("ollama:qwen3", temperature=0))
    {'id': 'ollama:qwen3', 'base': 'http://127.0.0.1:11434', 'options': {'temperature': 0}}
    """
    if isinstance(model, RemoteModel):
        made = {"id": model.id, "base": model.client.base, "options": _options(model.options)}
        return made | ({"system": model.system} if model.system else {})
    if isinstance(model, LocalModel):
        return _local(model)
    if isinstance(model, Wrapper):
        return identity(model.model)
    if isinstance(model, Fallback):
        return [identity(one) for one in model.models]
    if isinstance(model, Router):
        return {name: identity(one) for name, one in model.models.items()}
    return model.id


def _local(model: LocalModel) -> Any:
    def refuse(what: str) -> UsageError:
        return UsageError(f"{model.id}: {what} has no words that tell it from another; give the cache a name= for it")

    if model.id in ("merge", type(model.engine).__name__):
        raise refuse("a model that was made of an engine or a merge")
    if model.strategy is not None and not isinstance(model.strategy, Named):
        raise refuse(f"the strategy {model.strategy!r}")
    odd = next((view for view in model.views if not isinstance(view, PointView)), None)
    if odd is not None:
        raise refuse(f"the view {odd!r}")
    options = _options({**model.options, **({} if model.output is None else {"output": model.output})})
    strategy = None if model.strategy is None else repr(model.strategy)
    return {"id": model.id, "strategy": strategy, "views": list(map(repr, model.views)), "options": options}


def _options(options: Any) -> dict[str, Any]:
    made = dict(options)
    if "output" in made and not isinstance(made["output"], Output):
        made["output"] = schema_of(made["output"])
    return {name: to_json(value) for name, value in sorted(made.items()) if value not in (None, ())}
