"""The machinery of views: `PointView` turns one pure function of scores into an engine wrapper.

A view never samples. What it must remember (counts, a threshold, a grammar state) is an immutable value on the node, so
it works under beams, forks, drafts and batches alike. The list order of views is their meaning: the first one stands
nearest to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Engine, Node, Tokenizer, View, root_of
from palmette.core.errors import EmptySupport, UsageError
from palmette.core.scores import Scores

__all__ = ["Budgeted", "EngineView", "PointView", "ViewEngine", "compose", "pointwise", "show"]

_UNREAD = object()
Apply = Callable[[Scores, Any, Node], Scores]


@dataclass(frozen=True)
class PointView:
    """One stage between the model and the choice.

    `apply(scores, state, node)` gives the new scores; `start(prompt, engine)` the state of a root;
    `advance(state, token, parent)` the state after `token`, where `parent` is the view's own node before it.
    `certain(state)` may name the one token that can follow whatever the model says. Nearest to the model such a view
    then does not ask for its scores: a chain of certain tokens costs one forward pass together with the next choice.
    """

    name: str
    settings: Mapping[str, object]
    apply: Apply = field(repr=False, compare=False)
    start: Callable[[tuple[int, ...], Engine], Any] = field(
        repr=False, compare=False, default=lambda prompt, engine: None
    )
    advance: Callable[[Any, int, Node], Any] = field(
        repr=False, compare=False, default=lambda state, token, parent: state
    )
    certain: Callable[[Any], int | None] = field(repr=False, compare=False, default=lambda state: None)

    def __call__(self, engine: Engine) -> Engine:
        """Wrap an engine."""
        return ViewEngine(engine, self)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


@dataclass(frozen=True)
class EngineView:
    """A view that needs more than one step's scores: `wrap` builds the engine."""

    name: str
    settings: Mapping[str, object]
    wrap: Callable[[Engine], Engine] = field(repr=False, compare=False)

    def __call__(self, engine: Engine) -> Engine:
        """Wrap an engine."""
        return self.wrap(engine)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


@runtime_checkable
class Budgeted(Protocol):
    """A view that wants to know how many tokens a text may have: decoding tells it before it meets the engine."""

    def within(self, max_tokens: int) -> View:
        """The same for texts of at most so many tokens."""
        ...


def pointwise(name: str, apply: Callable[[Scores], Scores], **settings: object) -> PointView:
    """A view without memory: a pure function of one step's scores."""
    return PointView(name, settings, lambda scores, state, node: apply(scores))


class ViewNode:
    """A node as one view shows it. State and scores are computed when they are read, once."""

    def __init__(self, engine: ViewEngine, inner: Node, parent: ViewNode | None) -> None:
        self._engine = engine
        self.inner: Node | None = inner
        self._below = inner
        self.parent = parent
        self.root: Node | None = None if parent is None else root_of(parent)
        self._state: Any = _UNREAD
        self._scores: Scores | None = None
        self.token = inner.token
        self.depth = inner.depth
        self.prompt = inner.prompt
        self.key = inner.key

    @property
    def label(self) -> str:
        """The name of the view."""
        return self._engine.view.name

    @property
    def state(self) -> Any:
        """What the view remembers of this prefix."""
        if self._state is _UNREAD:
            unread = [self]
            while (above := unread[-1].parent) is not None and above._state is _UNREAD:
                unread.append(above)
            view = self._engine.view
            for node in reversed(unread):
                if node.parent is None:
                    node._state = view.start(node.prompt, self._engine)
                else:
                    node._state = view.advance(node.parent._state, node.token, node.parent)
        return self._state

    @property
    def scores(self) -> Scores:
        """The next token's scores after this view; raises EmptySupport when it leaves none."""
        if self._scores is None:
            view = self._engine.view
            sure = None if isinstance(self._below, ViewNode) else view.certain(self.state)
            if sure is not None:
                self._scores = Scores(np.zeros(1), np.array([sure]), self._engine.vocabulary)
                return self._scores
            scores = view.apply(self._below.scores, self.state, self)
            if scores.empty:
                text = self._engine.tokenizer.decode([self.token]) if self.token >= 0 else ""
                raise EmptySupport(
                    f"no token may follow the prefix of {self.depth} tokens that ends in {text!r}: "
                    f"{view!r} removed the last of {self._below.scores.count} candidates"
                )
            self._scores = scores
        return self._scores

    @property
    def logits(self) -> NDArray[np.float32]:
        """The same as a dense row, float32[vocabulary]."""
        return self.scores.dense()

    @property
    def hidden(self) -> NDArray[np.float32]:
        """Hidden states of the engine below."""
        return self._below.hidden

    @property
    def layers(self) -> NDArray[np.float32]:
        """Layer states of the engine below."""
        return self._below.layers


class ViewEngine:
    """An engine seen through one view."""

    def __init__(self, inner: Engine, view: PointView) -> None:
        self.inner = inner
        self.view = view

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the engine below."""
        return self.inner.tokenizer

    @property
    def eos(self) -> frozenset[int]:
        """The end-of-sequence tokens of the engine below."""
        return self.inner.eos

    @property
    def context_length(self) -> int:
        """The context length of the engine below."""
        return self.inner.context_length

    @property
    def vocabulary(self) -> int:
        """The vocabulary of the engine below."""
        return self.inner.vocabulary

    def project(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output head of the engine below."""
        return self.inner.project(hidden)

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """Roots with the view's starting state."""
        roots = self.inner.prefill(prompts, hidden=hidden)
        return [ViewNode(self, root, None) for root in roots]

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Extend below in one pass and wrap every new node, inner ones included."""
        below = []
        for node in nodes:
            if not isinstance(node, ViewNode) or node._engine.view is not self.view:
                raise UsageError(f"a node of another engine was given to the view {self.view!r}")
            below.append(node._below)
        leaves = self.inner.extend(below, tokens)
        return [self._carry(node, leaf, len(new)) for node, leaf, new in zip(nodes, leaves, tokens, strict=True)]

    def _carry(self, node: Node, leaf: Node, count: int) -> Node:
        chain: list[Node] = []
        above: Node | None = leaf
        for _ in range(count):
            assert above is not None
            chain.append(above)
            above = above.parent
        assert isinstance(node, ViewNode)
        for inner in reversed(chain):
            node = ViewNode(self, inner, node)
        return node


def compose(engine: Engine, views: Sequence[View]) -> Engine:
    """Put `views` on an engine, the first one nearest to the model."""
    for view in views:
        engine = view(engine)
    return engine


def show(view: View) -> str:
    """A view as a person would write it: `top_p(p=0.9)`."""
    return repr(view) if hasattr(view, "settings") else getattr(view, "__name__", repr(view))
