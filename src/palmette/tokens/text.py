"""Tokens to text as they arrive: incomplete characters and half-seen stop strings are held back."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from palmette.core.engine import Tokenizer

__all__ = ["TextStream", "text_of"]


class TextStream:
    """Feed tokens, get text that will not change any more. A stop string and what follows it are left out.

    Args:
        stop: stop strings in UTF-8.
        skip: bytes at the beginning that belong to the prompt (token healing).
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[bytes] = (), skip: int = 0) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._skip = skip
        self._held = b""
        self._stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, tokens: Iterable[int]) -> str:
        """The text that these tokens complete."""
        for token in tokens:
            piece = self._tokenizer.token_bytes(token)
            cut = min(self._skip, len(piece))
            self._skip -= cut
            self._held += piece[cut:]
        return self._release(final=False)

    def close(self) -> str:
        """What was held back: there is no more to come."""
        return self._release(final=True)

    def _release(self, final: bool) -> str:
        if self._stopped:
            return ""
        places = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if places:  # the stop string that was complete first, whichever way the text was cut into tokens
            self._stopped, ready = True, self._held[: min(places)[1]]
        else:
            keep = 0 if final else max((_overlap(self._held, s) for s in self._stop), default=0)
            ready = self._held[: len(self._held) - keep]
        self._held = self._held[len(ready) :]
        return self._decoder.decode(ready, final=final or self._stopped)


def _overlap(text: bytes, stop: bytes) -> int:
    """The length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def text_of(tokenizer: Tokenizer, tokens: Iterable[int], stop: Sequence[bytes] = (), skip: int = 0) -> str:
    """The whole text at once; equal to what a stream of the same tokens gives."""
    stream = TextStream(tokenizer, stop, skip)
    return stream.push(tokens) + stream.close()
