"""Ollama's own API: lines of JSON instead of server-sent events, settings under `options`, and a context to ask for."""

from palmette.models.remote.wires.ollama.generate import OllamaGenerate
from palmette.models.remote.wires.ollama.wire import Ollama

__all__ = ["Ollama", "OllamaGenerate"]
