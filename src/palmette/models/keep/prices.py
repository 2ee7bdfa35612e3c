"""What an answer cost: an estimate with its source, or unknown, which is never 0.

Prices change every week, so none is written down here: they come from your own table (a file named by PALMETTE_PRICES),
else from the installed version of genai-prices (extra `prices`; MIT), read at run time and without a network. What a
provider itself says that a call cost counts before both. A model on this machine costs nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from palmette.core.errors import UsageError, near_miss
from palmette.core.message import Response, Usage
from palmette.core.model import Answer
from palmette.models.remote.providers import PROVIDERS

__all__ = ["Cost", "Price", "cost", "price"]

MILLION = 1_000_000
HERE = "it runs on this machine"
OWN = "a server on this machine"
FREE = (HERE, OWN)
_SERVERS = frozenset({"ollama", "lmstudio", "llamacpp", "vllm"})
_THEIR_NAMES = {
    "gemini": "google",
    "vertex": "google",
    "xai": "x-ai",
    "typesafe": "typesafe",
}  # of providers, in genai-prices


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens; `cached`, `cache_write` parts of the input have the input's price unless given.

    Args:
        source: who says so, and as of when.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    source: str = "your own table"

    def of(self, usage: Usage) -> float:
        """Dollars.

        >>> Price(1.0, 10.0, cached=0.1).of(Usage(input=1_000_000, output=1000, cached=500_000))
        0.56
        """
        read = self.input if self.cached is None else self.cached
        write = self.input if self.cache_write is None else self.cache_write
        fresh = usage.input - usage.cached - usage.cache_write
        parts = fresh * self.input + usage.cached * read + usage.cache_write * write + usage.output * self.output
        return round(parts / MILLION, 12)


@dataclass(frozen=True)
class Cost:
    """An estimate in US dollars; `dollars` is None where it is unknown, and `source` says from where or why."""

    dollars: float | None
    source: str

    @property
    def known(self) -> bool:
        """Whether there is an estimate."""
        return self.dollars is not None

    def __str__(self) -> str:
        if self.dollars is None:
            return f"unknown ({self.source})"
        return f"${self.dollars:.{2 if self.dollars >= 1 or not self.dollars else 6}f} ({self.source})"

    def __add__(self, other: Cost) -> Cost:
        """The sum; unknown as soon as one is."""
        if self.dollars is None or other.dollars is None:
            return self if self.dollars is None else other
        return Cost(self.dollars + other.dollars, self.source if self.source == other.source else "several sources")


def cost(answer: Response | Answer | Usage, model: str = "", *, prices: Price | None = None) -> Cost:
    """What an answer cost.

    Args:
        answer: an answer, or its usage.
        model: the model's id, such as `openai:gpt-5`; what the answer says of its model unless given.
        prices: a price to take instead of the tables'.

    >>> cost(Usage(1000, 100), "openai:m", prices=Price(2, 8, source="list of May")).dollars
    0.0028
    >>> str(cost(Usage(1000, 100), "nobody:knows"))
    "unknown (no price of 'nobody:knows')"
    """
    response = answer.response if isinstance(answer, Answer) else answer
    usage = response if isinstance(response, Usage) else response.usage
    if isinstance(response, Response):
        said = _said(response)
        if said is not None:
            return Cost(said, "as the provider says")
        model = model or response.model
    if usage == Usage():
        return Cost(0.0, "no tokens were used")
    found = prices or price(model)
    if found is None:
        return Cost(None, f"no price of {model!r}" if model else "no model is named")
    if found.source in FREE:
        return Cost(0.0, found.source)
    if usage is None:
        return Cost(None, "the answer has no usage")
    listed = None if prices is not None or model in _own_table() else _listed(*_their_names(model), usage)
    return Cost(found.of(usage) if listed is None else listed, found.source)


def price(model: str) -> Price | None:
    """The price of a model, or None where it is unknown.

    >>> price("zoo:seedling").source
    'it runs on this machine'
    """
    own = _own_table().get(model)
    if own is not None:
        return own
    scheme, colon, _ = model.partition(":")
    if scheme in ("zoo", "hf", "gguf") or (model.startswith((".", "/", "~")) and not colon):
        return Price(0.0, 0.0, source=HERE)
    if scheme in _SERVERS:
        return Price(0.0, 0.0, source=OWN) if _is_near(PROVIDERS[scheme].where(), model) else None
    provider, name = _their_names(model)
    if not name or (colon and not provider):
        return None
    some = 1000  # tokens: within the first tier of every price that has tiers
    input, output = (_listed(provider, name, Usage(*pair)) for pair in ((some, 0), (0, some)))
    if input is None or output is None:
        return None
    cached = _listed(provider, name, Usage(some, 0, cached=some))
    written = _listed(provider, name, Usage(some, 0, cache_write=some))
    read, write = (None if dollars is None else dollars * MILLION / some for dollars in (cached, written))
    return Price(input * MILLION / some, output * MILLION / some, read, write, _edition())


def _their_names(model: str) -> tuple[str, str]:
    """(provider, model) as genai-prices calls them; an unknown provider is empty."""
    scheme, colon, name = model.partition(":")
    if not colon:
        return "", model
    return _THEIR_NAMES.get(scheme, scheme if scheme in PROVIDERS else ""), name


def _is_near(base: str, model: str) -> bool:
    """Whether a server is on this machine and computes there: Ollama passes some models on to its cloud."""
    return (urlsplit(base).hostname or "") in ("127.0.0.1", "::1", "localhost") and not model.endswith("cloud")


@lru_cache(maxsize=4096)
def _listed(provider: str, name: str, usage: Usage) -> float | None:
    """Dollars that genai-prices names for a usage, with its tiers; None where it knows none or is not installed."""
    try:
        import genai_prices
    except ImportError:
        return None
    counted = {"input_tokens": usage.input, "output_tokens": usage.output, "cache_read_tokens": usage.cached,
               "cache_write_tokens": usage.cache_write}  # fmt: skip
    where = {"provider_id": provider} if provider else {}
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(**{key: value for key, value in counted.items() if value}), model_ref=name, **where
        )
    except (LookupError, ValueError):
        return None
    return float(found.total_price)


def _edition() -> str:
    import genai_prices

    return f"genai-prices {genai_prices.__version__}, an estimate"


def _said(response: Response) -> float | None:
    """Dollars that the provider itself names (OpenRouter does)."""
    usage = response.raw.get("usage") if isinstance(response.raw, Mapping) else None
    found = usage.get("cost") if isinstance(usage, Mapping) else None
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) and found >= 0 else None


def _own_table() -> dict[str, Price]:
    path = os.environ.get("PALMETTE_PRICES", "")
    return _read(path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0) if path else {}


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> dict[str, Price]:
    """`{"openai:gpt-5": {"input": 1.25, "output": 10, "source": "…"}}`.

    Raises:
        UsageError: for a file that is not that, with the place in it.
    """
    where = f"PALMETTE_PRICES: {path!r}"
    try:
        rows = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{where} cannot be read: {error}") from error
    if not isinstance(rows, dict):
        raise UsageError(f"{where} must be an object of models and their prices")
    made = {}
    names = [field.name for field in fields(Price)]
    for model, row in rows.items():
        if not isinstance(row, dict) or not {"input", "output"} <= row.keys():
            raise UsageError(f"{where}: {model!r} needs input and output, dollars for a million tokens, not {row!r}")
        unknown = next((key for key in row if key not in names), None)
        if unknown is not None:
            raise UsageError(
                f"{where}: {model!r} has {unknown!r}.{near_miss(unknown, names)} Known: {', '.join(names)}"
            )
        made[model] = _checked(Price(**{"source": f"your table {Path(path).name}", **row}), f"{where}: {model!r}")
    return made


def _checked(found: Price, where: str) -> Price:
    wrong: Any = next((v for v in (found.input, found.output, found.cached, found.cache_write)
                       if v is not None and (isinstance(v, bool) or not isinstance(v, (int, float)) or not v >= 0)),
                      None)  # fmt: skip
    if wrong is not None:
        raise UsageError(f"{where} has the price {wrong!r}; a price is a number of dollars")
    return found
