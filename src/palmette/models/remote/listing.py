"""Which models a provider offers, asked of the provider itself."""

from __future__ import annotations

from palmette.core.errors import BadAnswer
from palmette.core.waiting import BLOCKING, LOOP, Way, finished
from palmette.models.remote.client import Limits
from palmette.models.remote.model import RemoteModel, connect
from palmette.models.remote.wires.listing import LISTS, Listed

__all__ = ["Listed", "amodels_of", "models_of"]

PAGES = 100  # no list is longer; a host that says so has lost count


def models_of(
    provider: str, *, key: str | None = None, base_url: str | None = None, limits: Limits | None = None
) -> list[Listed]:
    """The models that a provider offers to this key, in its own order.

    Args:
        provider: before the colon of a reference: "openai", "ollama" …
        key: the key, if the environment does not hold it.
        base_url: another address of the same API.
        limits: timeouts and retries.

    Raises:
        UnknownModel: for a provider that is not known.
        ProviderError: of the type that says what happened.
    """
    return finished(_listed(connect(f"{provider}:*", key=key, base_url=base_url, limits=limits), BLOCKING))


async def amodels_of(
    provider: str, *, key: str | None = None, base_url: str | None = None, limits: Limits | None = None
) -> list[Listed]:
    """`models_of` in an event loop."""
    return await _listed(connect(f"{provider}:*", key=key, base_url=base_url, limits=limits), LOOP)


async def _listed(model: RemoteModel, way: Way) -> list[Listed]:
    codec = LISTS[model.provider.wire]
    made: list[Listed] = []
    page, seen = "", {""}
    for _ in range(PAGES):
        rows, page = codec.decode(await model.client.get(codec.path(page), way, model.wire))
        made += rows
        if not page:
            return made
        if page in seen:
            break
        seen.add(page)
    raise BadAnswer(f"{model.provider.name}: the list of its models does not end; page {page!r} came again")
