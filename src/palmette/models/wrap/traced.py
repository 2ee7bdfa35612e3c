"""OpenTelemetry spans of calls, with the attributes of its conventions for generative AI. The extra `otel`.

A span is open for as long as its answer comes, and is current while the model within works, so that spans of its HTTP
requests hang below it. What was said is not in it unless asked for.
"""

from __future__ import annotations

import json
import os
from asyncio import CancelledError
from collections.abc import AsyncIterator
from typing import Any

from palmette.core.errors import MissingExtra
from palmette.core.events import Collector, Event
from palmette.core.message import Request, Response
from palmette.core.model import Model
from palmette.core.values import to_json
from palmette.core.waiting import Way
from palmette.models.wrap.base import Wrapper, asking

__all__ = ["traced"]

_PROVIDERS = {"gemini": "gcp.gemini", "vertex": "gcp.vertex_ai", "mistral": "mistral_ai", "xai": "x_ai"}
_REQUEST = {
    "max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "seed": "seed",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty", "n": "choice.count",
}  # fmt: skip


class Traced(Wrapper):
    """See `traced`."""

    def __init__(self, model: Model, content: bool, tracer: Any, trace: Any) -> None:
        super().__init__(model)
        self._content = content
        self._tracer = tracer
        self._trace = trace

    async def produce(self, request: Request, way: Way, *, whole: bool = False) -> AsyncIterator[Event]:
        """See Model."""
        name = self.id.rpartition(":")[2]
        span = self._tracer.start_span(
            f"chat {request.model or name}", kind=self._trace.SpanKind.CLIENT, attributes=self._asked(request, whole)
        )
        collector = Collector()
        try:
            async with asking(self.model, request, way, whole) as events:
                while True:
                    with self._trace.use_span(span, False, False, False):  # current while the model works, not we
                        event = await anext(events, None)
                    if event is None:
                        break
                    collector.add(event)
                    yield event
        except (GeneratorExit, CancelledError):
            span.set_attribute("palmette.left", True)
            raise
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, str(error)))
            raise
        finally:
            span.set_attributes(self._answered(collector.response))
            span.end()

    def _asked(self, request: Request, whole: bool) -> dict[str, Any]:
        provider, _, name = self.id.rpartition(":")
        made: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider or "palmette"),
            "gen_ai.request.model": request.model or name,
            "gen_ai.request.stream": not whole,
        }
        for field, said in _REQUEST.items():
            value = getattr(request, field)
            if value is not None and (field != "n" or value != 1):
                made[f"gen_ai.request.{said}"] = value
        if request.stop:
            made["gen_ai.request.stop_sequences"] = list(request.stop)
        made["gen_ai.output.type"] = "json" if request.output is not None else "text"
        if self._content:
            made["gen_ai.input.messages"] = json.dumps([_message(m.role, m.parts) for m in request.messages])
        return made

    def _answered(self, response: Response) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if response.id:
            made["gen_ai.response.id"] = response.id
        if response.model:
            made["gen_ai.response.model"] = response.model
        if response.parts:
            finishes = [one.finish for one in (response, *response.alternatives)]
            made["gen_ai.response.finish_reasons"] = finishes
        if response.usage is not None:
            made["gen_ai.usage.input_tokens"] = response.usage.input
            made["gen_ai.usage.output_tokens"] = response.usage.output
            for name, value in (
                ("cache_read.input_tokens", response.usage.cached),
                ("cache_creation.input_tokens", response.usage.cache_write),
                ("reasoning.output_tokens", response.usage.reasoning),
            ):
                if value:
                    made[f"gen_ai.usage.{name}"] = value
        if self._content and response.parts:
            said = [
                {**_message("assistant", one.parts), "finish_reason": one.finish}
                for one in (response, *response.alternatives)
            ]
            made["gen_ai.output.messages"] = json.dumps(said)
        return made


def traced(model: Model, *, content: bool | None = None, provider: Any = None) -> Model:
    """The model, each of whose calls is an OpenTelemetry span of kind client, named `chat MODEL`.

    Args:
        model: what to ask.
        content: whether the span holds what was said; the variable OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
            says so unless given.
        provider: of tracers; OpenTelemetry's global one unless given.

    Raises:
        MissingExtra: without opentelemetry-api.

    >>> import palmette
    >>> palmette.traced(palmette.scripted("Hello"))("Hi").text
    'Hello'
    """
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise MissingExtra("traces", "otel") from error
    if content is None:
        said = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")
        content = said.lower() not in ("", "0", "false", "no_content")
    tracer = trace.get_tracer("palmette", tracer_provider=provider)
    return Traced(model, content, tracer, trace)


def _message(role: str, parts: Any) -> dict[str, Any]:
    """A turn in the conventions' form: parts of type text, reasoning, tool_call and tool_call_response."""
    made = []
    for part in parts:
        row = to_json(part)
        match row["is"]:
            case "Text":
                made.append({"type": "text", "content": part.text})
            case "Reasoning":
                made.append({"type": "reasoning", "content": part.text})
            case "ToolCall":
                made.append({"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments})
            case "ToolResult":
                made.append({"type": "tool_call_response", "id": part.id, "response": part.text})
            case kind:
                made.append({"type": kind.lower(), "mime_type": part.mime})
    return {"role": role, "parts": made}
