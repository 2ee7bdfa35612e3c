"""A model behind an API, used like one on this machine: called, streamed, asked for values of a type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from palmette.core.errors import BadAnswer, MissingKey, UnknownModel, UsageError, near_miss
from palmette.models.remote.client import Client, Limits, Secret
from palmette.models.remote.messages import Event, Message, Request, Response
from palmette.models.remote.providers import PROVIDERS, Provider
from palmette.models.remote.stream import Collector
from palmette.models.remote.wires import WIRES
from palmette.tokens.structure.remote import answered, remote

__all__ = ["Answer", "RemoteModel", "connect"]

OPTIONS = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "top_logprobs", "tools", "extra")
_clients: dict[tuple[Any, ...], Client] = {}


@dataclass(frozen=True)
class Answer:
    """What a model answered; `value` is of the type that was asked for, if one was."""

    response: Response
    value: Any = None

    def __str__(self) -> str:
        return self.response.text

    @property
    def text(self) -> str:
        """The text."""
        return self.response.text


@dataclass(frozen=True)
class RemoteModel:
    """A model of a provider. Made by `connect`."""

    id: str
    provider: Provider
    client: Client
    name: str
    system: str = ""
    options: Mapping[str, Any] | None = None
    output: Any = None

    def __call__(self, prompt: str | Sequence[Message], **options: Any) -> Answer:
        """Ask, and wait for the whole answer.

        Args:
            prompt: text, or a conversation.
            options: max_tokens, temperature, top_p, top_k, seed, stop, top_logprobs, tools, extra.

        Raises:
            ProviderError: of the type that says what happened.
            ConstraintError: if three answers were not of the type that was asked for.
        """
        if self.output is None:
            return Answer(self._ask(self._request(prompt, options)))
        asked = remote(self.provider.schemas or WIRES[self.provider.wire].schemas, self.output)
        request = replace(self._request(prompt, options), structured=asked.body)
        last: list[Response] = []

        def ask(complaint: str | None) -> str:
            turns = request.messages
            if complaint is not None:
                turns = (*turns, Message("assistant", last[-1].parts), Message.of("user", complaint))
            last.append(self._ask(replace(request, messages=turns)))
            return last[-1].text

        value = answered(asked, ask)
        return Answer(last[-1], value)

    def stream(self, prompt: str | Sequence[Message], **options: Any) -> Iterator[str]:
        """Pieces of the answer's text as they come."""
        for event in self.events(prompt, **options):
            if event.text:
                yield event.text

    def events(self, prompt: str | Sequence[Message], **options: Any) -> Iterator[Event]:
        """Everything a streamed answer tells; see Collector for the whole.

        Raises:
            BadAnswer: if the stream ends before the answer does.
        """
        request = self._request(prompt, options)
        wire = WIRES[self.provider.wire]
        body, _ = self._body(request, True)
        ended = False
        for name, row in self.client.stream(wire.path(request, True), body, wire):
            event = wire.event(name, row)
            ended = ended or event.finish is not None
            yield event
        if not ended:
            raise BadAnswer(f"{self.id}: the answer was cut off; the connection ended before it did")

    def collect(self, prompt: str | Sequence[Message], **options: Any) -> Answer:
        """A streamed answer, put together."""
        _, notes = self._body(self._request(prompt, options), True)
        collector = Collector(notes)
        for event in self.events(prompt, **options):
            collector.add(event)
        return Answer(collector.response)

    def _request(self, prompt: str | Sequence[Message], options: Mapping[str, Any]) -> Request:
        said = {**(self.options or {}), **options}
        unknown = next((key for key in said if key not in OPTIONS), None)
        if unknown is not None:
            raise UsageError(
                f"no option {unknown!r} of a remote model.{near_miss(unknown, OPTIONS)} Known: {', '.join(OPTIONS)}"
            )
        turns = (Message.of("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        if self.system:
            turns = (Message.of("system", self.system), *turns)
        stop = said.pop("stop", ())
        said["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        said["tools"] = tuple(said.get("tools", ()))
        return Request(self.name, turns, **said)

    def _body(self, request: Request, stream: bool) -> tuple[dict[str, Any], list[str]]:
        body, notes = WIRES[self.provider.wire].encode(request, stream)
        return self.provider.spelling(body), notes

    def _ask(self, request: Request) -> Response:
        wire = WIRES[self.provider.wire]
        body, notes = self._body(request, False)
        response = wire.decode(self.client.post(wire.path(request, False), body, wire))
        return replace(response, notes=(*response.notes, *notes))


def connect(
    reference: str,
    *,
    key: str | None = None,
    base_url: str | None = None,
    system: str = "",
    output: Any = None,
    limits: Limits | None = None,
    **options: Any,
) -> RemoteModel:
    """A model of a provider, `openai:gpt-5`, `anthropic:…`, `gemini:…`, `ollama:qwen3`; nothing is sent yet.

    Args:
        reference: provider and model.
        key: the key, if the environment does not hold it (each provider's own variable).
        base_url: another address of the same API.
        system: what every conversation begins with.
        output: a type or JSON schema: answers are asked for in the provider's structured mode, checked, and asked for
            again with what was wrong with them, up to three times; `value` is of the type.
        limits: timeouts and retries.
        options: defaults of every call: max_tokens, temperature, top_p, top_k, seed, stop, top_logprobs, tools, extra.

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
    provider = PROVIDERS[name]
    secret = key or provider.key()
    if secret is None and not provider.optional:
        raise MissingKey(f"{name} needs a key: set {' or '.join(provider.keys)}, or pass key=")
    client = _client(provider, (base_url or provider.where()).rstrip("/"), secret, limits or Limits())
    made = RemoteModel(reference, provider, client, model, system, options, output)
    made._request("", {})
    return made


def _client(provider: Provider, base: str, secret: str | None, limits: Limits) -> Client:
    """One client for each address and key: making one takes far longer than a call."""
    mark = (provider.name, base, secret, limits)
    if mark not in _clients:
        header = None
        if secret is not None:
            bearer = provider.auth == "bearer"
            header = ("authorization" if bearer else provider.auth, Secret(f"Bearer {secret}" if bearer else secret))
        _clients[mark] = Client(base, {"user-agent": "palmette", **provider.headers}, header, limits)
    return _clients[mark]
