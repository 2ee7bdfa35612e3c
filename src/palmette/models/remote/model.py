"""A model behind an API: a wire, a provider's row and the client put together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from palmette.core.errors import BadAnswer, UnknownModel, Unsupported
from palmette.core.events import Event, unfold
from palmette.core.message import Message, Request, Response, Text, Usage
from palmette.core.model import Answer, Capabilities, Embeddings, Model, asked, completed
from palmette.core.waiting import Way
from palmette.models.remote.client import Client, Limits, client_of
from palmette.models.remote.form import Form, form_of
from palmette.models.remote.providers import PROVIDERS, Provider, based
from palmette.models.remote.wires import WIRES, Wire
from palmette.models.remote.wires.counting import COUNTS
from palmette.models.remote.wires.embeddings import EMBEDDINGS, Texts
from palmette.models.remote.wires.reading import merged

__all__ = ["RemoteModel", "connect"]

BATCH = 500_000  # characters of the texts of one request
TRIES = 3  # answers that are looked at until one has the form that was asked for
_FEATURES = {"tools": "tools", "output": "structured output"}  # an answer without them is another answer


@dataclass(frozen=True)
class RemoteModel(Model):
    """A model of a provider. Made by `connect`.

    Args:
        options: fields of every request that does not say them itself.
        system: what a conversation begins with that has no system message.
    """

    id: str
    provider: Provider
    client: Client
    name: str
    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wire(self) -> Wire:
        """How its API is spoken."""
        return WIRES[self.provider.wire]

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""
        return self.provider.capabilities

    def collect(self, prompt: Any, **options: Any) -> Answer:
        """A streamed answer, put together."""
        from palmette.core.events import fold

        question = asked(prompt, **options)
        return question.answer(fold(self.events(question.request)))

    def __call__(self, prompt: Any, **options: Any) -> Answer:
        """Ask, and wait for the whole answer; see Model."""
        return super().__call__(prompt, **self._typed(options))  # type: ignore[no-any-return]

    async def acall(self, prompt: Any, **options: Any) -> Answer:
        """Ask in an event loop."""
        return await super().acall(prompt, **self._typed(options))

    def _typed(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options with the type that this model was told its answers have."""
        own = {"output": self.options["output"]} if "output" in self.options else {}
        return {**own, **options}

    def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model; the generator that answers is passed on as it is, since each one between costs every event."""
        request, notes = self._complete(request)
        many = request.n or 1
        if many > 1 and not self.capabilities.n:
            return self._several(replace(request, n=None), many, way, notes)
        return self._answered(request, way, whole, notes)

    def _answered(self, request: Request, way: Way, whole: bool, notes: Sequence[str] = ()) -> AsyncGenerator[Event]:
        if not whole and self._unstreamed(request):
            said = f"{self.provider.name} does not stream this; the answer came at once"
            return self._unfolded(request, way, [*notes, said])
        if request.output is not None:
            return self._formed(request, way, whole, notes)
        if whole:
            return self._at_once(request, way, notes)
        return self._streamed(request, {}, way, notes)

    async def vectorise(self, texts: Sequence[str], way: Way) -> Embeddings:
        """See Model; many texts are sent in as many requests as the API needs."""
        codec = EMBEDDINGS.get(self.provider.kin or self.provider.wire)
        if codec is None:
            raise Unsupported(f"{self.id}: {self.provider.name} has no embeddings; openai, gemini, cohere, ollama have")
        made, used, name = [], Usage(), ""
        for batch in _batches(texts, codec.most(self.name)):
            asked = Texts(self.name, batch, packed=self.provider.packs, extra=self.options.get("extra") or {})
            body, _ = await self.client.post(codec.path(asked), codec.encode(asked), way, self.wire)
            found = codec.decode(body)
            if len(found.vectors) != len(batch):
                raise BadAnswer(f"{self.id}: {len(batch)} texts were sent, {len(found.vectors)} vectors came")
            made.append(found.vectors)
            used, name = _sum(used, found.usage), found.model or name
        if len({vectors.shape[1] for vectors in made}) > 1:
            raise BadAnswer(f"{self.id}: vectors of several widths came")
        vectors = np.concatenate(made) if made else np.empty((0, 0), np.float32)  # (texts, width)
        return Embeddings(vectors, used if used != Usage() else None, name)

    async def measure(self, request: Request, way: Way) -> int:
        """See Model."""
        wire, own = self.provider.kin or self.provider.wire, self.provider.counts
        text_alone = wire == "openai-completions"
        codec = COUNTS.get(wire) or COUNTS.get(f"{own}-completions" if text_alone else own)
        if codec is None:
            return await super().measure(request, way)
        request, _ = self._complete(request)
        body, _ = await self.client.post(codec.path(request), codec.encode(request), way, self.wire)
        return codec.decode(body)

    async def _at_once(self, request: Request, way: Way, notes: Sequence[str]) -> AsyncGenerator[Event]:
        """The whole answer as one event."""
        yield Event(whole=await self._whole(request, {}, way, notes))

    async def _unfolded(self, request: Request, way: Way, notes: Sequence[str]) -> AsyncGenerator[Event]:
        """The whole answer in steps."""
        yield Event(notes=tuple(notes))
        async for event in self._answered(request, way, True):
            for one in unfold(event.whole) if event.whole is not None else (event,):
                yield one

    async def _formed(self, request: Request, way: Way, whole: bool, notes: Sequence[str]) -> AsyncGenerator[Event]:
        """An answer of the form that was asked for."""
        assert request.output is not None
        if notes:
            yield Event(notes=tuple(notes))
        form = form_of(self.provider.schemas or self.wire.schemas, request.output, self.id)
        asked_for = [Message.of("system", form.question)] if form.question else []
        bare = replace(request, output=None, messages=(*asked_for, *request.messages))
        if whole or form.rewrites or request.n:
            for event in unfold(await self._fitting(bare, form, way)):
                yield event
        else:
            async with aclosing(self._checked(bare, form, way)) as events:
                async for event in events:
                    yield event

    async def _whole(self, request: Request, more: Mapping[str, Any], way: Way, before: Sequence[str] = ()) -> Response:
        body, notes = self._body(request, more, False)
        said, headers = await self.client.post(self.wire.path(request, False), body, way, self.wire)
        response = self.wire.decode(said)
        notes += self._withheld(request, bool(response.logprobs), 1 + len(response.alternatives))
        return replace(response, notes=(*before, *response.notes, *notes), headers=headers, raw=said)

    async def _streamed(
        self, request: Request, more: Mapping[str, Any], way: Way, before: Sequence[str] = ()
    ) -> AsyncGenerator[Event]:
        body, notes = self._body(request, more, True)
        notes = [*before, *notes]
        read, ended, scored, answers = self.wire.reader(), False, False, 1
        stream = self.client.stream(self.wire.path(request, True), body, way, self.wire)
        try:
            async for name, row, headers in stream:
                if headers is not None and (headers or notes):
                    yield Event(headers=headers, notes=tuple(notes))
                for event in read(name, row):
                    ended = ended or event.finish is not None
                    scored = scored or bool(event.logprobs)
                    answers = max(answers, event.index + 1)
                    yield event
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        if not ended:
            raise BadAnswer(f"{self.id}: the answer was cut off; the connection ended before it did")
        withheld = self._withheld(request, scored, answers)
        if withheld:
            yield Event(notes=tuple(withheld))

    def _withheld(self, request: Request, scored: bool, answers: int) -> list[str]:
        """What was asked for and did not come: some servers take every field and read a few."""
        made = []
        if request.top_logprobs is not None and not scored:
            made.append(f"top_logprobs: {self.provider.name} was asked for them and gave none")
        if answers < (request.n or 1):
            made.append(f"n: {self.provider.name} was asked for {request.n} answers and gave {answers}")
        return made

    async def _fitting(self, request: Request, form: Form, way: Way) -> Response:
        """An answer of the form, asked for again with what was wrong with the last one."""
        used, turns = Usage(), request.messages
        for attempt in range(1, TRIES + 1):
            response = await self._whole(replace(request, messages=turns), form.body, way)
            used = _sum(used, response.usage)
            fitting, complaint = form.fit(response)
            if fitting is not None:
                notes = [f"asked {attempt} times until the answer had its form"] if attempt > 1 else []
                others = tuple(fit for fit, _ in map(form.fit, fitting.alternatives) if fit is not None)
                if len(others) < len(fitting.alternatives):
                    notes.append(
                        f"{len(fitting.alternatives) - len(others)} further answers had not the form; left out"
                    )
                return replace(fitting, usage=used, notes=(*fitting.notes, *notes), alternatives=others)
            turns = (*turns, response.message, Message.of("user", f"{complaint}. Answer again, with the correction."))
        raise form.failure(self.id, TRIES, response.text, complaint)

    async def _checked(self, request: Request, form: Form, way: Way) -> AsyncGenerator[Event]:
        """A stream that is checked when it ends; what was streamed cannot be taken back, so it is an error then."""
        text, called = "", False
        async for event in self._streamed(request, form.body, way):
            text += event.text
            called = called or event.call is not None
            yield event
        if not called:
            fitting, complaint = form.fit(Response((Text(text),)))
            if fitting is None:
                raise form.failure(self.id, 1, text, complaint)

    async def _several(self, request: Request, many: int, way: Way, notes: Sequence[str]) -> AsyncIterator[Event]:
        """Answers one after another, from an API that gives one at a time."""
        made = []
        for i in range(many):
            seed = None if request.seed is None else request.seed + i
            one = [event async for event in self._answered(replace(request, seed=seed), way, True)]
            made.append(one)
        from palmette.core.events import fold

        first, *others = [fold(one) for one in made]
        used = Usage()
        for response in (first, *others):
            used = _sum(used, response.usage)
        said = f"n: {self.provider.name} gives one answer at a time; it was asked {many} times"
        for event in unfold(replace(first, alternatives=tuple(others), usage=used, notes=(*first.notes, *notes, said))):
            yield event

    def _unstreamed(self, request: Request) -> bool:
        """Whether its API answers such a request only at once."""
        asked = {name for names in self.provider.whole for name in names if getattr(request, name) not in (None, ())}
        return bool(request.prompt_logprobs) or any(names <= asked for names in self.provider.whole)

    def _complete(self, request: Request) -> tuple[Request, list[str]]:
        """The request with this model's defaults, without the settings that its API has no words for; and notes."""
        request = completed(request, self.options, self.system)
        if not request.model:
            request = replace(request, model=self.name)
        if request.prompt_logprobs:
            self.capabilities.need("prompt_logprobs", self.id, "Together's models and vLLM's servers have them")
        notes, empty = [], Request(())
        for name in sorted(self.wire.lacks | self.provider.lacks):
            if getattr(request, name) in (None, (), {}) or name == "n":
                continue
            if name in _FEATURES:
                raise Unsupported(f"{self.id} takes no {_FEATURES[name]}")
            notes.append(f"{name}: {self.provider.name} has none; it was left out")
            request = replace(request, **{name: getattr(empty, name)})
        most = self.capabilities.top_logprobs
        if request.top_logprobs and most is not None and request.top_logprobs > most:
            notes.append(f"top_logprobs: {self.provider.name} gives at most {most}")
            request = replace(request, top_logprobs=most)
        return request, notes

    def _body(self, request: Request, more: Mapping[str, Any], stream: bool) -> tuple[dict[str, Any], list[str]]:
        body, notes = self.wire.encode(request, stream)
        return self.provider.spelling(merged(body, more)), notes


def connect(
    reference: str,
    *,
    key: str | None = None,
    base_url: str | None = None,
    api: str = "",
    system: str = "",
    limits: Limits | None = None,
    proxy: str | None = None,
    verify: bool | str = True,
    **options: Any,
) -> RemoteModel:
    """A model of a provider, `openai:gpt-5`, `anthropic:…`, `gemini:…`, `ollama:qwen3`; nothing is sent yet.

    Args:
        reference: provider and model.
        key: the key, if the environment does not hold it (each provider's own variable).
        base_url: another address of the same API.
        api: which of the provider's APIs: "chat", "responses", "completions", "messages", "native"; its usual one
            unless given.
        system: what every conversation begins with.
        limits: timeouts and retries.
        proxy: URL of a proxy; the environment's (HTTPS_PROXY …) unless given.
        verify: False, or the path of a file of certificates to trust instead of the system's.
        options: defaults of every call: fields of a Request such as max_tokens, temperature, seed, stop, tools, extra.
            `output` may be a type or JSON schema: answers are asked for in the provider's structured mode, checked, and
            asked for again with what was wrong with them, up to three times; `value` is of the type.

    Raises:
        UnknownModel: for a provider that is not known.
        MissingKey: if there is no key.

    >>> connect("ollama:qwen3", temperature=0).id
    'ollama:qwen3'
    """
    name, colon, model = reference.partition(":")
    if name not in PROVIDERS or not colon:
        raise UnknownModel("provider", name, PROVIDERS)
    if not model or any(ord(c) < 33 or ord(c) == 127 for c in model) or ".." in model.split("/"):
        raise UnknownModel("model", model, [], f" Write {name}:MODEL.")
    provider = PROVIDERS[name].speaking(api) if api else PROVIDERS[name]
    header = provider.credential(key)
    asked("", **options)
    headers = {"user-agent": "palmette", **provider.headers}
    client = client_of(_at(base_url, api, provider), headers, header, limits, proxy=proxy, verify=verify)
    return RemoteModel(reference, provider, client, model, system, options)


def _at(base_url: str | None, api: str, provider: Provider) -> str:
    """The address: the one that is given, as the API that was chosen wants it, or the provider's."""
    if base_url is None:
        return provider.where()
    return based(base_url, provider.wire) if api else base_url.rstrip("/")


def _batches(texts: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    """Texts in order, so many at a time, and not too much text."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == most or size + len(text) > BATCH):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield tuple(batch)


def _sum(one: Usage, other: Usage | None) -> Usage:
    if other is None:
        return one
    return Usage(
        one.input + other.input, one.output + other.output, one.cached + other.cached,
        one.cache_write + other.cache_write, one.reasoning + other.reasoning,
    )  # fmt: skip
