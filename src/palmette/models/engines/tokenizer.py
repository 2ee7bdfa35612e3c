"""A model folder's `tokenizer.json` as a `Tokenizer`: exact bytes for every token, and text that stays text.

User text never becomes a special token: what looks like one in a prompt is encoded as ordinary characters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from palmette.core.checkpoint import read_json
from palmette.core.errors import BadParameter, ConfigMismatch, CorruptCheckpoint, ModelNotFound, UnsupportedArchitecture
from palmette.models.template import ChatTemplate

__all__ = ["FileTokenizer", "eos_tokens", "unicode_text"]


class FileTokenizer:
    """The tokenizer of a model folder.

    `token_bytes` is exact for byte-level BPE (GPT-2's byte alphabet) and for SentencePiece-like vocabularies (▁ for a
    space, <0x0A> for a byte). The bytes of `encode_continuation(text)` joined are the text's UTF-8, unless the
    tokenizer's own normalizer changes the text (Unicode forms, upper case). `encode` follows the tokenizer in all, so
    it may put a space before the text, as SentencePiece does.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chat_template = ChatTemplate.found(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelNotFound(f"{folder} has no tokenizer.json; convert its tokenizer with transformers first")
        raw = read_json(path)
        self._rust = _built(raw, path)
        continuing = _without_prefix(raw)
        self._continuing = self._rust if continuing == raw else _built(continuing, path)
        model = raw.get("model") or {}
        if model.get("type") == "WordPiece":
            raise UnsupportedArchitecture(
                f"{path}: WordPiece tokens lose the spaces of a text; they cannot continue it"
            )
        self.size = self._rust.get_vocab_size(with_added_tokens=True)
        added = raw.get("added_tokens") or []
        self.special = frozenset(int(t["id"]) for t in added if t.get("special"))
        self._added = {int(t["id"]): str(t["content"]) for t in added}
        self._unknown = {self._rust.token_to_id(str(model.get("unk_token"))), model.get("unk_id")}
        self._byte_level = any(_mentions(raw.get(part), "ByteLevel") for part in ("decoder", "pre_tokenizer"))

    @property
    def special_names(self) -> dict[int, str]:
        """The special tokens, as templates write them."""
        return {token: self._added[token] for token in self.special}

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the beginning-of-sequence token where the tokenizer adds one."""
        whole = self._rust.encode(unicode_text(text))
        added = whole.special_tokens_mask
        start = added.index(0) if 0 in added else len(added)
        opening = whole.ids[:start] if 0 in added else [i for i in whole.ids if i not in self._closing]
        return [*opening, *self._plain(self._rust, text)]

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of text that follows other text: nothing is added, no space before it either."""
        return self._plain(self._continuing, unicode_text(text))

    def _plain(self, rust: RustTokenizer, text: str) -> list[int]:
        """The ids of text that stays text: where a vocabulary spells a special token, the spelling is cut in two."""
        encoding = rust.encode(text, add_special_tokens=False)
        if self._doubtful.isdisjoint(encoding.ids):  # nearly always, and far cheaper than looking at each span
            return list(encoding.ids)
        cuts = []
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if self._misread(token, text[start:end]):
                if end - start < 2:
                    raise BadParameter(f"{text[start:end]!r} can only be read as special token {self._added[token]!r}")
                cuts.append(start + 1)
        if not cuts:
            return list(encoding.ids)
        ids = self._plain(rust, text[: cuts[0]])
        for start, end in pairwise([*cuts, len(text)]):
            ids += self._plain(self._continuing, text[start:end])
        return ids

    def _misread(self, token: int, span: str) -> bool:
        """True if `token` means something else than the text that it was read from."""
        if token in self._unknown:
            return span == self._added.get(token)
        return token in self.special or (token in self._fallback and len(span) > 1)

    @cached_property
    def _doubtful(self) -> frozenset[int | None]:
        """The tokens that `_misread` may say no to."""
        return frozenset(self._unknown | self.special | self._fallback)

    @cached_property
    def _fallback(self) -> frozenset[int]:
        """The tokens that stand for single bytes, <0x00> to <0xFF>."""
        found = [] if self._byte_level else [self._rust.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        return frozenset(token for token in found if token is not None)

    @cached_property
    def _closing(self) -> frozenset[int]:
        """Special tokens that the tokenizer puts behind a text: they would end a prompt, so they are left out."""
        mask = (some := self._rust.encode("a")).special_tokens_mask
        last = len(mask) - mask[::-1].index(0) if 0 in mask else 0
        return frozenset(some.ids[last:])

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
        if token in self._fallback:
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode()


def unicode_text(text: str) -> str:
    """The text, if it is Unicode text: what cannot be UTF-8 has no tokens."""
    if not isinstance(text, str):
        raise BadParameter(f"a prompt is text, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadParameter(f"the text holds {text[error.start]!r} at {error.start}, which is not a character") from None
    return text


def eos_tokens(folder: Path, config: dict[str, Any], vocabulary: int) -> frozenset[int]:
    """End-of-sequence ids from generation_config.json, else config.json; each may hold one id, a list or nothing."""
    path = folder / "generation_config.json"
    found = read_json(path).get("eos_token_id") if path.is_file() else None
    found = config.get("eos_token_id") if found is None else found
    ids = [] if found is None else found if isinstance(found, list) else [found]
    wrong = [i for i in ids if not isinstance(i, int) or not 0 <= i < vocabulary]
    if wrong:
        raise ConfigMismatch(f"{folder}: eos_token_id {wrong[0]!r} is outside the vocabulary of {vocabulary} tokens")
    return frozenset(ids)


def _built(raw: dict[str, Any], path: Path) -> RustTokenizer:
    try:
        rust = RustTokenizer.from_str(json.dumps(raw))
    except Exception as error:  # the library raises bare Exception
        raise CorruptCheckpoint(f"{path} is no tokenizer: {error}") from error
    rust.encode_special_tokens = True
    rust.no_truncation()
    rust.no_padding()
    return rust


def _without_prefix(part: Any) -> Any:
    """A component of tokenizer.json (or all of it) that puts no space before a text."""
    if isinstance(part, list):
        return [_without_prefix(p) for p in part if not (isinstance(p, dict) and p.get("type") == "Prepend")]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend":
        return None
    parts = {k: v if k in ("model", "added_tokens", "decoder") else _without_prefix(v) for k, v in part.items()}
    if part.get("type") == "Metaspace":
        parts["prepend_scheme"] = "never"
    if part.get("add_prefix_space"):
        parts["add_prefix_space"] = False
    return parts


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
