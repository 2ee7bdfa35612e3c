"""Anthropic Messages: turns are lists of typed blocks, and a stream opens, fills and closes one after another."""

from palmette.models.remote.wires.anthropic.wire import Anthropic

__all__ = ["Anthropic"]
