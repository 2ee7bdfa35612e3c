"""A model folder's `tokenizer.json` as a `Tokenizer`: exact bytes for every token, and text that stays text.

User text never becomes a special token: what looks like one in a prompt is encoded as ordinary characters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from palmette.core.errors import ConfigMismatch, CorruptCheckpoint, ModelNotFound

__all__ = ["FileTokenizer", "eos_tokens"]


class FileTokenizer:
    """The tokenizer of a model folder.

    `token_bytes` is exact for byte-level BPE (GPT-2's byte alphabet) and for SentencePiece-like vocabularies (▁ for a
    space, <0x0A> for a byte), so that joined bytes are the text.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelNotFound(f"{folder} has no tokenizer.json; convert its tokenizer with transformers first")
        try:
            self._rust = RustTokenizer.from_file(str(path))
            raw = json.loads(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise CorruptCheckpoint(f"{path} is no tokenizer: {error}") from error
        self._rust.encode_special_tokens = True
        self._rust.no_truncation()
        self._rust.no_padding()
        self.size = self._rust.get_vocab_size(with_added_tokens=True)
        added = raw.get("added_tokens") or []
        self.special = frozenset(int(t["id"]) for t in added if t.get("special"))
        self._added = {int(t["id"]): str(t["content"]) for t in added}
        self._byte_level = _mentions(raw.get("decoder"), "ByteLevel") or _mentions(raw.get("pre_tokenizer"), "ByteLevel")

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the beginning-of-sequence token where the tokenizer adds one."""
        return list(self._rust.encode(text).ids)

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of text that follows other text: nothing is added."""
        return list(self._rust.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        return b"".join(self.token_bytes(i) for i in ids).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of a token; empty for a special token and for an id without a token."""
        table = self._table
        return table[token] if 0 <= token < len(table) else b""

    def token_name(self, token: int) -> str:
        """The token as a person reads it; special tokens by their names."""
        if token in self._added:
            return self._added[token]
        return self.token_bytes(token).decode("utf-8", errors="backslashreplace")

    @cached_property
    def _table(self) -> list[bytes]:
        return [self._bytes_of(token) for token in range(self.size)]

    def _bytes_of(self, token: int) -> bytes:
        if token in self.special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        piece = self._rust.id_to_token(token)
        if piece is None:
            return b""
        if self._byte_level:
            return b"".join(_BYTE_OF[c] if c in _BYTE_OF else c.encode() for c in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            try:
                return bytes([int(piece[3:5], 16)])
            except ValueError:
                pass
        return piece.replace("▁", " ").encode()


def eos_tokens(folder: Path, config: dict[str, Any], vocabulary: int) -> frozenset[int]:
    """End-of-sequence ids from generation_config.json, else config.json; each may hold one id, a list or nothing."""
    path = folder / "generation_config.json"
    generation: dict[str, Any] = {}
    if path.is_file():
        try:
            generation = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CorruptCheckpoint(f"{path} is not JSON: {error}") from error
    found = generation.get("eos_token_id", config.get("eos_token_id"))
    ids = [] if found is None else [found] if isinstance(found, int) else list(found)
    wrong = [i for i in ids if not isinstance(i, int) or not 0 <= i < vocabulary]
    if wrong:
        raise ConfigMismatch(f"{folder}: eos_token_id {wrong[0]!r} is outside the vocabulary of {vocabulary} tokens")
    return frozenset(ids)


def _byte_alphabet() -> dict[str, bytes]:
    """GPT-2's printable stand-ins for the 256 bytes (Radford et al. 2019): character -> byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(b): bytes([b]) for b in plain}
    others = [b for b in range(256) if b not in plain]
    return table | {chr(256 + i): bytes([b]) for i, b in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _mentions(part: Any, kind: str) -> bool:
    """True if a (possibly nested) component of tokenizer.json is of this type."""
    if isinstance(part, dict):
        return part.get("type") == kind or any(_mentions(value, kind) for value in part.values())
    if isinstance(part, list):
        return any(_mentions(value, kind) for value in part)
    return False


