"""Wires: how each kind of API writes a request and an answer. Pure functions; nothing here opens a connection."""

from __future__ import annotations

from palmette.models.remote.wires.anthropic import Anthropic
from palmette.models.remote.wires.base import Wire
from palmette.models.remote.wires.cohere import Cohere
from palmette.models.remote.wires.completions import Completions
from palmette.models.remote.wires.gemini import Gemini
from palmette.models.remote.wires.ollama import Ollama, OllamaGenerate
from palmette.models.remote.wires.openai import OpenAI
from palmette.models.remote.wires.responses import Responses

__all__ = ["WIRES", "Wire"]

WIRES: dict[str, Wire] = {
    "openai": OpenAI(),
    "openai-responses": Responses(),
    "openai-completions": Completions(),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "cohere": Cohere(),
    "ollama": Ollama(),
    "ollama-generate": OllamaGenerate(),
}
