"""OpenAI Responses: a conversation is a list of items, a stream is a list of typed events."""

from __future__ import annotations

from palmette.models.remote.wires.responses.wire import Responses

__all__ = ["Responses"]
