"""Cohere v2 chat: OpenAI's turns with its own settings, a plan before tools, typed events."""

from palmette.models.remote.wires.cohere.wire import Cohere

__all__ = ["Cohere"]
