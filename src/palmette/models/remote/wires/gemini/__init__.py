"""Gemini generateContent, also on Vertex: contents of parts, any of which may carry a mark that must go back."""

from palmette.models.remote.wires.gemini.wire import Gemini

__all__ = ["Gemini"]
