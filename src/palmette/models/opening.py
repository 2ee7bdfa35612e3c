"""`palmette.model`: one door to every model, on this machine or behind an API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from palmette.core.engine import Engine, Strategy, View
from palmette.core.errors import Unsupported
from palmette.models.local import LocalModel, local_model
from palmette.models.remote.model import connect
from palmette.models.remote.providers import is_remote
from palmette.models.remote.space import space
from palmette.models.resolve import DEFAULT_MODEL

if TYPE_CHECKING:
    from palmette.weights.merge import Merge

__all__ = ["model"]


@overload
def model(reference: Path | Engine | Merge, **options: Any) -> LocalModel: ...


@overload
def model(reference: str = DEFAULT_MODEL, **options: Any) -> Any: ...


def model(
    reference: str | Path | Engine | Merge = DEFAULT_MODEL,
    *,
    strategy: Strategy | None = None,
    views: Sequence[View] = (),
    dialect: str | None = None,
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> Any:
    """Open a model.

    Args:
        reference: `zoo:seedling`, `hf:OWNER/NAME[@REVISION]`, a folder, an engine, a merge (see `palmette.merge`), or
            PROVIDER:NAME, a model behind an API: openai, anthropic, gemini, cohere, ollama … (see `palmette.connect`),
            or space:OWNER/NAME, a Gradio Space (see `palmette.space`).
        strategy: how to choose tokens; nucleus sampling with p = 0.9 by default, plain sampling with a dialect.
        views: what to see the model through, the first nearest to the model.
        dialect: read `settings` as this program does, "paper", "hf", "llama.cpp" or "vllm" ("paper" unless given); its
            views stand after `views`.
        settings: sampling settings, such as {"temperature": 0.7, "top_p": 0.9}.
        options: on this machine: engine ("auto", "numpy", "torch"), dtype, device, and defaults of every call:
            max_tokens, stop, seed, heal. Behind an API: what `palmette.connect` takes. For both: output, a type
            (dataclass, TypedDict, pydantic model, Literal, int, date, list[…] …) or a JSON schema: every answer is a
            document of it, and its `value` one of the type.

    Raises:
        UnknownModel: for a name that leads nowhere.
        Unsupported: for strategies and views with an API, which does not give the scores of every token.

    >>> import palmette
    >>> toy = palmette.model("zoo:seedling", strategy=palmette.greedy(), max_tokens=8)
    >>> toy("Once upon a time").finish
    'length'
    >>> palmette.model("zoo:seedling", output=range(1, 7))("The die shows ").value in range(1, 7)
    True
    >>> palmette.model("ollama:qwen3", temperature=0).id
    'ollama:qwen3'
    """
    if isinstance(reference, str) and is_remote(reference):
        if strategy is not None or views or dialect is not None:
            raise Unsupported(
                f"{reference} does not give the scores of every token, which strategies and views need; they work with "
                "models on this machine. What it takes: temperature, top_p, top_k, output …"
            )
        start = space if reference.startswith("space:") else connect
        return start(reference, **{**(settings or {}), **options})
    return local_model(reference, strategy=strategy, views=views, dialect=dialect, settings=settings, **options)
