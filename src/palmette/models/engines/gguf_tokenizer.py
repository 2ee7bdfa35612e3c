"""The tokenizer of a GGUF file, which is llama.cpp's own: its vocabulary, its exact bytes, and text that stays text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from palmette.core.errors import BadParameter, UnsupportedArchitecture
from palmette.models.engines.gguf_library import ATTRIBUTES, Model
from palmette.models.engines.tokenizer import unicode_text
from palmette.models.template import LONGEST, ChatTemplate

__all__ = ["GgufTokenizer"]

WORDPIECE = 3  # llama.cpp's number of that kind of vocabulary
NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
WITH_PREFIX = (1, 4)  # SentencePiece and unigram vocabularies: a space before every text unless the file says no


class GgufTokenizer:
    """llama.cpp's tokenizer.

    User text never becomes a special token: where a vocabulary spells one, the spelling is cut in two. `encode` puts
    the beginning-of-sequence token and the space before a text where the file asks for them.
    """

    def __init__(self, model: Model, metadata: Mapping[str, Any]) -> None:
        self._model = model
        if model.token("type") == WORDPIECE:
            raise UnsupportedArchitecture("WordPiece tokens lose the spaces of a text; they cannot continue it")
        self.size = int(model.token("n_tokens"))
        self._attributes = [int(model.token("get_attr", i)) for i in range(self.size)]
        self._unknown = frozenset(i for i, a in enumerate(self._attributes) if a & ATTRIBUTES["unknown"])
        hidden = ATTRIBUTES["control"] | ATTRIBUTES["unknown"]
        self.special = frozenset(i for i, a in enumerate(self._attributes) if a & hidden)
        given = metadata.get("tokenizer.ggml.add_space_prefix")
        self._prefix = " " if (model.token("type") in WITH_PREFIX if given is None else given) else ""
        self._opening = [int(model.token("bos"))] if model.token("get_add_bos") else []
        ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in NAMED.items()}
        self._named = {name: i for name, i in ids.items() if isinstance(i, int) and 0 <= i < self.size}
        template = metadata.get("tokenizer.chat_template")
        self._template = template if isinstance(template, str) else None

    @property
    def special_names(self) -> dict[int, str]:
        """The special tokens, as templates write them."""
        return {token: self._spelled(token) for token in sorted(self.special)}

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The file's own chat template with the tokens that it speaks of, or None."""
        if self._template is None or len(self._template) > LONGEST:
            return None
        return ChatTemplate(self._template, {name: self._spelled(token) for name, token in self._named.items()})

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the beginning-of-sequence token where the file asks for one."""
        text = unicode_text(text)
        return [*self._opening, *self._plain(self._prefix + text if text else "")]

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of text that follows other text: nothing is added, no space before it either."""
        return self._plain(unicode_text(text))

    def _plain(self, text: str) -> list[int]:
        raw = text.encode()
        ids = self._model.tokenize(raw)
        at = 0
        for token in ids:
            piece = self._table[token]
            if piece and raw.startswith(piece, at):
                at += len(piece)
                continue
            name = self._spelled(token).replace("▁", " ").encode()
            if name and raw.startswith(name, at):  # the name of a special token, or of a byte, as ordinary text
                if len(name) < 2:
                    raise BadParameter(f"{name.decode()!r} can only be read as special token {self._spelled(token)!r}")
                cut = len(raw[: at + 1].decode(errors="ignore")) or 1
                return [*self._plain(text[:cut]), *self._plain(text[cut:])]
            if token not in self._unknown:
                return ids  # a vocabulary that writes texts otherwise
            at += max(1, len(raw[at : at + 4].decode(errors="ignore")[:1].encode()))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        return b"".join(self.token_bytes(i) for i in ids).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of a token; empty for a special token and for an id without a token."""
        return self._table[token] if 0 <= token < self.size else b""

    def token_name(self, token: int) -> str:
        """The token as a person reads it; special tokens by their names."""
        if token in self.special:
            return self._spelled(token)
        return self.token_bytes(token).decode("utf-8", errors="backslashreplace")

    def _spelled(self, token: int) -> str:
        return bytes(self._model.token("get_text", token) or b"").decode("utf-8", errors="replace")

    @cached_property
    def _table(self) -> list[bytes]:
        return [self._model.piece(token) for token in range(self.size)]
