"""A Gradio Space, or any Gradio app, as a model: its endpoint is found by name and its fields are filled by theirs.

Gradio's HTTP API (guides, "Querying Gradio Apps with Curl"): GET /config and PREFIX/info describe the app, a POST to
PREFIX/call/NAME gives an event id, and a GET of PREFIX/call/NAME/ID streams what the function yields, whole each time.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from palmette.core.errors import BadAnswer, ProviderFailed, UnknownModel, UnknownName, Unsupported
from palmette.core.events import Event
from palmette.core.message import Audio, Document, Image, Media, Request, text_of
from palmette.core.model import Capabilities, Model, asked, completed
from palmette.core.waiting import Way
from palmette.models.remote.client import Client, Limits, Secret, Upload, client_of

__all__ = ["SpaceModel", "space"]

_USUAL = ("chat", "respond", "generate", "predict", "infer", "run", "inference")  # endpoints, the likeliest first
_MESSAGE = ("message", "prompt", "text", "input", "query", "question", "inputs", "user_input", "input_text", "msg")
_NAMES = {  # fields of a Request -> what Spaces call them
    "max_tokens": ("max_tokens", "max_new_tokens", "max_length", "num_tokens"),
    "temperature": ("temperature", "temp"),
    "top_p": ("top_p", "topp", "nucleus"),
    "top_k": ("top_k", "topk"),
    "seed": ("seed",),
    "system": ("system_message", "system_prompt", "system", "sys_prompt", "instructions"),
}
_FILES: dict[str, type[Media]] = {"Image": Image, "Audio": Audio, "File": Document, "Video": Document}


class _Gradio:
    framing: ClassVar[Literal["sse", "lines"]] = "sse"

    def complaint(self, body: Any) -> str:
        said = body.get("error") or body.get("detail") if isinstance(body, dict) else None
        return said if isinstance(said, str) else json.dumps(said) if said else ""


_WIRE = _Gradio()


@dataclass(frozen=True)
class _Endpoint:
    """A function of an app: its name and its parameters as `info` tells them."""

    prefix: str
    name: str
    parameters: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class SpaceModel(Model):
    """A Gradio app as a model. Made by `space`.

    Args:
        endpoint: which of its functions to call; the likeliest by name if there are several.
        fields: values for parameters that a request has no words for, by their names.
        options: fields of every request that does not say them itself.
    """

    id: str
    client: Client
    endpoint: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    _found: dict[str, _Endpoint] = field(default_factory=dict, repr=False, compare=False)

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it; whether it takes pictures is known when it is asked."""
        return Capabilities(images=True, audio=True, documents=True)

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        request = completed(request, self.options)
        for name in ("output", "tools"):
            if getattr(request, name):
                raise Unsupported(f"{self.id}: a Space takes no {name}; it answers in its own way")
        if (request.n or 1) > 1:
            raise Unsupported(f"{self.id}: a Space gives one answer; ask it {request.n} times")
        found = await self._endpoint(way)
        data, notes = await self._filled(found, request, way)
        path = f"{found.prefix}/call/{quote(found.name)}"
        said, _ = await self.client.post(path, {"data": data}, way, _WIRE)
        mark = said.get("event_id") if isinstance(said, dict) else None
        if not isinstance(mark, str) or not re.fullmatch(r"[\w-]{1,100}", mark):
            raise BadAnswer(f"{self.id}: the call has no event id: {str(said)[:80]!r}")
        yield Event(id=mark, model=self.id, notes=tuple(notes))
        async for event in self._streamed(f"{path}/{mark}", way):
            yield event

    async def _streamed(self, path: str, way: Way) -> AsyncIterator[Event]:
        """What the function yields; each time the whole answer so far, of which the new end is told."""
        text = ""
        stream = self.client.stream(path, None, way, _WIRE)
        try:
            async for kind, row, _ in stream:
                if kind == "error":
                    raise ProviderFailed(
                        f"{self.id}: {_WIRE.complaint(row) or 'the Space failed and does not say why'}"
                    )
                if kind not in ("generating", "complete"):
                    continue
                now = _text_in(row, self.id)
                if not now.startswith(text):
                    if kind == "generating":
                        continue  # what it takes back is told when it is certain
                    raise BadAnswer(
                        f"{self.id}: the Space took back what it had said: {text[:60]!r} became {now[:60]!r}"
                    )
                if now != text:
                    yield Event(now[len(text) :])
                    text = now
                if kind == "complete":
                    yield Event(finish="stop")
                    return
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        raise BadAnswer(f"{self.id}: the answer was cut off; the connection ended before it did")

    # -- the app -------------------------------------------------------------------------------------------------------

    async def _endpoint(self, way: Way) -> _Endpoint:
        """The function to call, asked for once."""
        if "it" not in self._found:
            config = await self.client.get("/config", way, _WIRE)
            prefix = config.get("api_prefix", "") if isinstance(config, dict) else ""
            if not isinstance(prefix, str) or not re.fullmatch(r"(/[\w-]+)*", prefix):
                raise BadAnswer(f"{self.id}: no Gradio app: its api_prefix is {str(prefix)[:60]!r}")
            info = await self.client.get(f"{prefix}/info", way, _WIRE)
            named = info.get("named_endpoints") if isinstance(info, dict) else None
            if not isinstance(named, dict) or not named:
                raise Unsupported(f"{self.id}: this app has no endpoint with a name")
            name = self._chosen(named)
            rows = named[name].get("parameters") if isinstance(named[name], dict) else None
            rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            self._found["it"] = _Endpoint(prefix, name.removeprefix("/"), tuple(rows))
        return self._found["it"]

    def _chosen(self, named: Mapping[str, Any]) -> str:
        if self.endpoint:
            wanted = f"/{self.endpoint.removeprefix('/')}"
            if wanted not in named:
                raise UnknownName(f"endpoint of {self.id}", wanted, named)
            return wanted
        usual = [f"/{name}" for name in _USUAL if f"/{name}" in named]
        if usual or len(named) == 1:
            return (usual or list(named))[0]
        raise UnknownName(f"endpoint of {self.id} to choose", "", named, f" Say endpoint=: {', '.join(named)}.")

    async def _filled(self, found: _Endpoint, request: Request, way: Way) -> tuple[list[Any], list[str]]:
        """The parameters' values in order; and what could not be told."""
        given, notes = _words(request)
        files = [p for m in request.messages for p in m.parts if isinstance(p, Media)]
        data: list[Any] = []
        for row in found.parameters:
            name, component = str(row.get("parameter_name")), str(row.get("component"))
            if name in self.fields:
                data.append(self.fields[name])
                continue
            key = next((k for k, names in _NAMES.items() if name.lower() in names), None)
            if key is not None and key in given:
                data.append(given.pop(key))
            elif component == "MultimodalTextbox" and "message" in given:
                data.append({"text": given.pop("message"), "files": [await self._sent(f, found, way) for f in files]})
                files = []
            elif component in _FILES and (fit := next((f for f in files if isinstance(f, _FILES[component])), None)):
                files.remove(fit)
                data.append(await self._sent(fit, found, way))
            elif _is_message(row, found) and "message" in given:
                data.append(given.pop("message"))
            elif row.get("parameter_has_default"):
                data.append(row.get("parameter_default"))
            else:
                raise Unsupported(
                    f"{self.id}: /{found.name} needs {name!r} ({component}); say it: fields={{{name!r}: …}}"
                )
        if files:
            raise Unsupported(f"{self.id}: /{found.name} takes no {type(files[0]).__name__.lower()}")
        if given.pop("message", ""):
            raise Unsupported(f"{self.id}: /{found.name} takes no text")
        return data, [*notes, *(f"{name}: this Space has no field for it; it was left out" for name in given)]

    async def _sent(self, media: Media, found: _Endpoint, way: Way) -> dict[str, Any]:
        """A file as the app takes it: uploaded, or the URL that it fetches."""
        kind = {"_type": "gradio.FileData"}
        if media.url:
            return {"path": media.url, "url": media.url, "meta": kind}
        mark = secrets.token_hex(16)
        name = re.sub(r"[^\w.-]", "_", media.name) or f"file.{media.mime.rpartition('/')[2]}"
        head = f'--{mark}\r\ncontent-disposition: form-data; name="files"; filename="{name}"\r\n'
        body = f"{head}content-type: {media.mime}\r\n\r\n".encode() + media.data + f"\r\n--{mark}--\r\n".encode()
        upload = Upload(f"multipart/form-data; boundary={mark}", body)
        paths, _ = await self.client.post(f"{found.prefix}/upload", upload, way, _WIRE)
        if not isinstance(paths, list) or len(paths) != 1 or not isinstance(paths[0], str):
            raise BadAnswer(f"{self.id}: the upload was answered with {str(paths)[:80]!r}")
        return {"path": paths[0], "orig_name": name, "mime_type": media.mime, "meta": kind}


def space(
    reference: str,
    *,
    endpoint: str = "",
    key: str | None = None,
    limits: Limits | None = None,
    fields: Mapping[str, Any] | None = None,
    **options: Any,
) -> SpaceModel:
    """A Space of the Hugging Face Hub, or a Gradio app at a URL, as a model; nothing is sent yet.

    Args:
        reference: `space:OWNER/NAME`, or `space:URL`.
        endpoint: which of its functions to call, such as "chat".
        key: a token; HF_TOKEN for a Space of the Hub unless given, none for a URL.
        limits: timeouts and retries.
        fields: values for parameters that a request has no words for, by their names.
        options: defaults of every call: max_tokens, temperature, top_p, top_k, seed.

    Raises:
        UnknownModel: for a reference of another form.

    >>> space("space:owner/My.Space").client
    Client('https://owner-my-space.hf.space')
    """
    name = reference.removeprefix("space:")
    if re.fullmatch(r"https?://[^\s?#]+", name) and urlsplit(name).hostname:
        base, token = name, key
    elif re.fullmatch(r"[\w-]+/[\w.-]+", name) and ".." not in name:
        base = f"https://{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.hf.space"
        token = key or os.environ.get("HF_TOKEN")
    else:
        raise UnknownModel("Space", name, [], " Write space:OWNER/NAME or space:URL.")
    asked("", **options)
    header = None if token is None else ("authorization", Secret(f"Bearer {token}"))
    client = client_of(base, {"user-agent": "palmette"}, header, limits)
    return SpaceModel(reference, client, endpoint, dict(fields or {}), options)


def _words(request: Request) -> tuple[dict[str, Any], list[str]]:
    """What a request says, by the keys of _NAMES and "message"; a Space takes one message, not a conversation."""
    system = "\n\n".join(m.text for m in request.messages if m.role == "system")
    turns = [m for m in request.messages if m.role != "system"]
    said = text_of(turns[-1].parts) if turns else ""
    notes = []
    if len(turns) > 1:
        said = "\n\n".join(f"{m.role.capitalize()}: {m.text}" for m in turns)
        notes.append("a Space takes one message: the conversation was written into it")
    given: dict[str, Any] = {"message": said}
    for name in ("max_tokens", "temperature", "top_p", "top_k", "seed"):
        if getattr(request, name) is not None:
            given[name] = getattr(request, name)
    if system:
        given["system"] = system
    empty = replace(Request(request.messages), model=request.model)
    told = {"messages", "model", "max_tokens", "temperature", "top_p", "top_k", "seed", "n"}
    rest = [k for k in Request.__dataclass_fields__ if k not in told and getattr(request, k) != getattr(empty, k)]
    return given, [*notes, *(f"{name}: a Space has none; it was left out" for name in rest)]


def _is_message(row: Mapping[str, Any], found: _Endpoint) -> bool:
    """Whether a parameter is the one for the text: by its name, or as the first that takes text and has no default."""
    if str(row.get("parameter_name")).lower() in _MESSAGE:
        return True
    names = [str(other.get("parameter_name")).lower() for other in found.parameters]
    return not set(names) & set(_MESSAGE) and row.get("component") == "Textbox" and not row.get("parameter_has_default")


def _text_in(data: Any, who: str) -> str:
    """The text of a function's outputs: the first, or the last turn of a conversation."""
    first: Any = next((one for one in data if one is not None), "") if isinstance(data, Sequence) else data
    if isinstance(first, list) and first:
        last = first[-1]
        first = last.get("content") if isinstance(last, dict) else last[-1] if isinstance(last, list) and last else last
    if isinstance(first, dict):
        first = first.get("text", first.get("content", json.dumps(first)))
    if isinstance(first, (int, float)):
        first = json.dumps(first)
    if first is None:
        return ""
    if not isinstance(first, str):
        raise BadAnswer(f"{who}: the answer is no text but {str(first)[:80]!r}")
    return first
