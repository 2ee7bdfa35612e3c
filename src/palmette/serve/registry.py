"""The models of a server: loaded when they are first asked for, unloaded when they are idle or others need the room."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from palmette.core.errors import UnknownModel, UsageError
from palmette.core.events import Event
from palmette.core.message import Request
from palmette.core.model import Capabilities, Embeddings, Model, asked, completed
from palmette.core.waiting import Way
from palmette.models.batched import Batched, Load
from palmette.models.discover.found import folder_found
from palmette.models.local import LocalModel, local_model, strategy_of, view_of
from palmette.models.opening import model as opened
from palmette.models.remote.providers import is_remote
from palmette.models.resolve import Dtype, EngineName, folder_of, parse_reference
from palmette.serve.settings import ModelSettings, Settings

__all__ = ["Entry", "Registry"]

SWEEP = 1.0  # seconds between looks at what is idle


@dataclass
class Entry:
    """A model that is served: what it was told to be, and what it is now."""

    settings: ModelSettings
    model: Model | None = None
    users: int = 0
    used: float = field(default_factory=time.monotonic)
    size: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def batched(self) -> Batched | None:
        """The shared model below, if it is on this machine and loaded."""
        found: Any = self.model
        while found is not None and not isinstance(found, Batched):
            found = getattr(found, "model", None)
        return found

    @property
    def load(self) -> Load:
        """How busy it is."""
        shared = self.batched
        return Load(0, 0, 0, 0) if shared is None else shared.load


class Registry:
    """What a server serves, by name.

    Args:
        settings: the server's.
        dressed: what is put around every model, such as the run store.
    """

    def __init__(self, settings: Settings, dressed: Callable[[Model], Model] = lambda model: model) -> None:
        self.entries = {model.name: Entry(model) for model in settings.models}
        self._budget = settings.budget
        self._dressed = dressed

    def find(self, name: str) -> Entry:
        """The entry of a name; Ollama's `:latest` and Gemini's `models/` may stand around it.

        Raises:
            UnknownModel: for a name that is not served.
        """
        for spelled in (name, name.removesuffix(":latest"), name.removeprefix("models/")):
            if spelled in self.entries:
                return self.entries[spelled]
        raise UnknownModel("model", name, self.entries)

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Model]:
        """A model while it is needed: loaded if it is not, and not unloaded meanwhile."""
        entry = self.find(name)
        entry.users += 1
        try:
            async with entry.lock:
                if entry.model is None:
                    entry.model = await asyncio.to_thread(self._open, entry)
                    self._make_room(entry)
            yield entry.model
        finally:
            entry.users -= 1
            entry.used = time.monotonic()

    async def sweep(self) -> None:
        """Unload what has been idle for longer than it may; runs until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            now = time.monotonic()
            for entry in self.entries.values():
                if entry.settings.keep and not entry.users and now - entry.used > entry.settings.keep:
                    self._unload(entry)

    def close(self) -> None:
        """Unload all."""
        for entry in self.entries.values():
            self._unload(entry)

    def _open(self, entry: Entry) -> Model:
        model, entry.size = made(entry.settings)
        return self._dressed(model)

    def _make_room(self, newest: Entry) -> None:
        """Unload the least lately used that nobody uses, until the weights fit."""
        loaded = sorted((e for e in self.entries.values() if e.model is not None), key=lambda e: e.used)
        for entry in loaded:
            if not self._budget or sum(e.size for e in loaded if e.model is not None) <= self._budget:
                return
            if entry is not newest and not entry.users:
                self._unload(entry)

    def _unload(self, entry: Entry) -> None:
        shared, entry.model = entry.batched, None
        if shared is not None:
            shared.close()


class Prepared(Model):
    """A model with defaults for what requests do not say."""

    def __init__(self, model: Model, options: Mapping[str, Any], system: str) -> None:
        asked("", **options)
        self.model, self.id = model, model.id
        self._options, self._system = options, system

    @property
    def capabilities(self) -> Capabilities:
        """Those of the model."""
        return self.model.capabilities

    def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        return self.model.produce(completed(request, self._options, self._system), way, whole=whole)

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """See Model."""
        return await self.model.vectorise(texts, way)

    async def measure(self, request: Request, way: Way) -> int:
        """See Model."""
        return await self.model.measure(completed(request, self._options, self._system), way)


def made(settings: ModelSettings) -> tuple[Model, int]:
    """The model that settings speak of, and the bytes of its weights.

    Raises:
        UsageError: for settings that this kind of model does not have.
    """
    output = {} if not settings.schema else {"output": _schema(settings.schema)}
    if is_remote(settings.model):
        given = {"strategy": settings.strategy, "views": settings.views}
        wrong = next((name for name, value in given.items() if value), None)
        if wrong is not None:
            raise UsageError(
                f"[models.{settings.name}] {wrong}: {settings.model} does not give the scores of every token"
            )
        more = {
            k: v for k, v in (("base_url", settings.base_url), ("api", settings.api), ("system", settings.system)) if v
        }
        model: Model = opened(settings.model, **more, **output, **settings.options)
        return model, 0
    for name in ("base_url", "api"):
        if getattr(settings, name):
            raise UsageError(f"[models.{settings.name}] {name}: {settings.model} is on this machine")
    strategy, own = strategy_of(settings.strategy) if settings.strategy else (None, [])
    views = [*(view_of(view) for view in settings.views), *own]
    local: LocalModel = local_model(
        settings.model, strategy=strategy, views=views, engine=cast(EngineName, settings.engine),
        dtype=cast(Dtype, settings.dtype), device=settings.device, **output,
    )  # fmt: skip
    shared = Batched(local, most=settings.running, waiting=settings.waiting, memory=settings.memory)
    return Prepared(shared, settings.options, settings.system), _weight(settings.model)


def prove(settings: ModelSettings) -> None:
    """Refuse before anything is served what could never be opened; nothing is loaded and nobody is asked.

    Raises:
        PalmetteError: for a model that there is not, a missing key, a strategy, view or schema that is none.
    """
    if is_remote(settings.model):
        made(settings)
        return
    parse_reference(settings.model)
    if settings.strategy:
        strategy_of(settings.strategy)
    for view in settings.views:
        view_of(view)
    if settings.schema:
        _schema(settings.schema)


def _schema(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the schema {path!r}: {error}") from None


def _weight(reference: str) -> int:
    """Bytes of a model's weights on this disk; 0 where that cannot be told."""
    path = Path(reference.removeprefix("gguf:"))
    if path.is_file():
        return path.stat().st_size
    try:
        found = folder_found(reference, "", folder_of(parse_reference(reference)))
    except Exception:  # a merge, or a name that only the engine resolves
        return 0
    return 0 if found is None else found.size
