"""A schema in the words of each provider's structured mode; what the words lack is left to the validator."""

from palmette.tokens.structure.remote.mapping import Remote, answered, remote

__all__ = ["Remote", "answered", "remote"]
