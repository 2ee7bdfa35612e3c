"""Servers on this machine that answer on their usual ports, and providers whose keys are set."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2

from palmette.core.errors import PalmetteError
from palmette.models.remote.client import Limits
from palmette.models.remote.listing import models_of
from palmette.models.remote.providers import PROVIDERS, Provider

__all__ = ["Reachable", "keys_set", "servers"]

QUICK = Limits(connect=0.2, read=0.5, total=0.7, retries=0)


@dataclass(frozen=True)
class Reachable:
    """A server that answers, with the references of its models, or what it said instead."""

    provider: str
    url: str
    models: tuple[str, ...] = ()
    trouble: str = ""


def servers() -> list[Reachable]:
    """The local servers that answer now; all are asked at once, none for longer than a second."""
    local = [provider for provider in PROVIDERS.values() if _is_here(provider)]
    with ThreadPoolExecutor(len(local)) as pool:
        return [found for found in pool.map(_asked, local) if found is not None]


def keys_set() -> list[tuple[str, str]]:
    """(provider, name of the variable that holds its key), never the key."""
    found = []
    for provider in PROVIDERS.values():
        name = provider.key_name()
        if name is not None:
            found.append((provider.name, name))
    return found


def _is_here(provider: Provider) -> bool:
    return provider.optional and httpx2.URL(provider.where()).host in ("127.0.0.1", "localhost", "::1")


def _asked(provider: Provider) -> Reachable | None:
    url = httpx2.URL(provider.where())
    try:
        socket.create_connection((url.host, url.port or 80), 0.2).close()
    except OSError:
        return None
    try:
        names = models_of(provider.name, limits=QUICK)
    except PalmetteError as error:
        return Reachable(provider.name, provider.where(), (), str(error))
    return Reachable(provider.name, provider.where(), tuple(f"{provider.name}:{name}" for name in names))
