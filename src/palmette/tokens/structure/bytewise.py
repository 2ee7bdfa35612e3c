"""A vocabulary of single bytes: grammars and schemas that judge texts need no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from palmette.core.engine import Engine

__all__ = ["BYTES"]

_END = 256


class _Bytes:
    """Token b stands for byte b; token 256 ends the text."""

    size = _END + 1
    special = frozenset({_END})

    def encode(self, text: str) -> list[int]:
        """The bytes of the text in UTF-8."""
        return list(text.encode())

    encode_continuation = encode

    def decode(self, ids: Sequence[int]) -> str:
        """The text; bytes that are not UTF-8 are replaced."""
        return bytes(i for i in ids if i < _END).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """One byte, none for the end."""
        return bytes([token]) if token < _END else b""

    def token_name(self, token: int) -> str:
        """How the token is shown."""
        return f"<0x{token:02X}>" if token < _END else "</s>"


class _Vocabulary:
    """What constraints read of an engine."""

    tokenizer = _Bytes()
    eos = frozenset({_END})
    vocabulary = _END + 1


BYTES = cast(Engine, cast(Any, _Vocabulary()))
