"""The token tree: a `Node` is one prefix, an `Engine` grows nodes, a `View` is an engine in and an engine out.

Nodes are immutable, so a fork costs nothing and no strategy can corrupt another's state. An engine knows token ids and
scores; it knows nothing of text, chat or sampling. Whatever a view must remember hangs on its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import BadParameter, Unsupported
from palmette.core.rng import Rng, mix
from palmette.core.scores import Scores

__all__ = [
    "BitMask",
    "Budget",
    "Constraint",
    "Edge",
    "Engine",
    "Finish",
    "Hypothesis",
    "Node",
    "Step",
    "Strategy",
    "Tokenizer",
    "View",
    "generated",
    "prompt_key",
    "root_of",
]

BitMask = NDArray[np.uint32]  # one bit per token, 32 tokens a word, lowest bit first
Finish = Literal["eos", "stop", "length"]
S = TypeVar("S")


class Node(Protocol):
    """One prefix: immutable.

    `prompt` is the whole prompt on a root and empty elsewhere; `depth` counts all tokens of the prefix, the prompt
    included; `key` is a 64-bit hash of the prefix, the place at which randomness is drawn.
    `inner` is the node of the engine below (None at the bottom), and `label` names the view that made the node.
    """

    @property
    def parent(self) -> Node | None: ...
    @property
    def token(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def prompt(self) -> tuple[int, ...]: ...
    @property
    def key(self) -> int: ...
    @property
    def scores(self) -> Scores: ...
    @property
    def logits(self) -> NDArray[np.float32]: ...  # (vocabulary,)
    @property
    def inner(self) -> Node | None: ...
    @property
    def label(self) -> str: ...
    @property
    def hidden(self) -> NDArray[np.float32]:
        """Last-layer states of the positions this node added, float32[positions, width]; only where asked for."""
        ...

    @property
    def layers(self) -> NDArray[np.float32]:
        """States of every layer at the last position, float32[layers + 1, width]; only where asked for."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back. `token_bytes` gives a token's exact bytes; a special token has none."""

    @property
    def size(self) -> int: ...
    @property
    def special(self) -> frozenset[int]: ...
    def encode(self, text: str) -> list[int]: ...
    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of text that continues other text: no beginning-of-sequence token."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...
    def token_bytes(self, token: int) -> bytes: ...
    def token_name(self, token: int) -> str:
        """How the token is shown to a person, special tokens by their names."""
        ...


class Engine(Protocol):
    """Token ids in, scores out.

    `prefill` starts a tree at each prompt. With `hidden=True` the nodes and all their descendants also carry hidden
    states (contrastive search and DoLa need them); an engine that has none raises `Unsupported`.
    `extend` appends one or more tokens to each node, all in ONE forward pass, and returns the last new node of each;
    the nodes in between are its parents.
    """

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def eos(self) -> frozenset[int]: ...
    @property
    def context_length(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]: ...
    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]: ...
    def project(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hidden states through the output head: float32[n, width] -> float32[n, vocabulary]."""
        ...


View = Callable[[Engine], Engine]


class Constraint(Protocol[S]):
    """Which tokens may follow. `S` is a small immutable state that lives on the node."""

    def start(self) -> S: ...
    def mask(self, s: S) -> BitMask: ...
    def step(self, s: S, token: int) -> S: ...
    def forced(self, s: S) -> Sequence[int]: ...
    def accepts(self, s: S) -> bool: ...


# -- what strategies say ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """One choice: `token` after the prefix `parent`. `kept` is False for a candidate that was weighed and dropped."""

    parent: Node
    token: int
    score: float
    kept: bool = True


@dataclass(frozen=True)
class Hypothesis:
    """A finished continuation: `token` after the prefix `parent`.

    `score` is what its strategy ranks by (higher is better), `logprob` the sum of log p after the views, `finish` why
    it ended.
    """

    parent: Node
    token: int
    score: float
    logprob: float
    finish: Finish

    @property
    def tokens(self) -> tuple[int, ...]:
        """The generated tokens, an end-of-sequence token included."""
        return (*generated(self.parent), self.token)


@dataclass(frozen=True)
class Step:
    """What one round of a strategy did.

    `committed` are tokens that are now certain to open the best answer: joined over all steps they are exactly
    `answers[0].tokens`, and the last step alone carries `answers`, best first. `text` is the same as text (stop strings
    cut, incomplete characters held back), filled in by `decode`; `run` numbers the strategy when several grow together.
    """

    edges: tuple[Edge, ...] = ()
    committed: tuple[int, ...] = ()
    answers: tuple[Hypothesis, ...] = ()
    text: str = ""
    run: int = 0


@dataclass(frozen=True)
class Budget:
    """When a continuation ends: at `max_tokens` tokens, after a stop string, or at an end-of-sequence token."""

    max_tokens: int = 128
    stop: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise BadParameter(f"max_tokens must be at least 1, not {self.max_tokens!r}")
        if not all(self.stop):
            raise BadParameter("a stop string must not be empty")

    def finish(self, engine: Engine, parent: Node, token: int) -> Finish | None:
        """Why a continuation ends with `token` after the prefix `parent`, or None if it may grow."""
        if token in engine.eos:
            return "eos"
        if self.stop and self._stops(engine.tokenizer, parent, token):
            return "stop"
        start = len(root_of(parent).prompt)
        if parent.depth + 1 - start >= self.max_tokens or parent.depth + 1 >= engine.context_length:
            return "length"
        return None

    def _stops(self, tokenizer: Tokenizer, parent: Node, token: int) -> bool:
        """True if a stop string ends inside `token` (it may have begun in earlier tokens)."""
        last = tail = tokenizer.token_bytes(token)
        wanted = max(map(len, self.stop)) - 1 + len(last)
        above: Node | None = parent
        while above is not None and above.parent is not None and len(tail) < wanted:
            tail = tokenizer.token_bytes(above.token) + tail
            above = above.parent
        return any(tail.rfind(s) + len(s) > len(tail) - len(last) for s in self.stop if s in tail)


Strategy = Callable[[Engine, Sequence[int], Budget, Rng], Iterator[Step]]


# -- walking -----------------------------------------------------------------------------------------------------------


def root_of(node: Node) -> Node:
    """The root of the tree that `node` belongs to."""
    known = getattr(node, "root", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    while node.parent is not None:
        node = node.parent
    return node


def generated(node: Node) -> list[int]:
    """The tokens of the prefix after the prompt, in order."""
    tokens: list[int] = []
    above: Node | None = node
    while above is not None and above.parent is not None:
        tokens.append(above.token)
        above = above.parent
    return tokens[::-1]


def prompt_key(prompt: Sequence[int]) -> int:
    """The key of a root; a child's key is `mix(parent.key, token)`, so equal prefixes of one tree share a place."""
    key = 0x70616C6D65747465  # "palmette"
    for token in prompt:
        key = mix(key, token)
    return key


class Trunk:
    """The common part of an engine's own nodes: position in the tree and identity. Subclasses give `scores`."""

    def __init__(self, parent: Node | None, token: int, prompt: tuple[int, ...] = ()) -> None:
        self.parent = parent
        self.token = token
        self.prompt = prompt
        self.depth = len(prompt) if parent is None else parent.depth + 1
        self.key = prompt_key(prompt) if parent is None else mix(parent.key, token)
        self.root: Node | None = None if parent is None else root_of(parent)  # a root must not hold itself alive

    @property
    def inner(self) -> Node | None:
        """No engine below."""
        return None

    @property
    def label(self) -> str:
        """What the trace calls the first stage."""
        return "model"

    @property
    def logits(self) -> NDArray[np.float32]:
        """The next token's scores, float32[vocabulary]."""
        return self.scores.dense()

    @property
    def scores(self) -> Scores:
        """The next token's scores."""
        raise NotImplementedError

    @property
    def hidden(self) -> NDArray[np.float32]:
        """Hidden states of the new positions."""
        raise Unsupported("this engine keeps no hidden states; contrastive search and DoLa need an engine that does")

    @property
    def layers(self) -> NDArray[np.float32]:
        """Hidden states of every layer at the last position."""
        raise Unsupported("this engine keeps no hidden states of its layers; DoLa needs an engine that does")
