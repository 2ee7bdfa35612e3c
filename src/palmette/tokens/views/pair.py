"""Views over two runs of a model: guidance against another prompt, and contrast against a weaker model.

Each node of such a view holds a node of both runs, so forks and drafts keep them together; where both runs use the same
engine they share one forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from palmette.core.engine import Engine, Node
from palmette.core.errors import BadParameter, EmptySupport
from palmette.core.scores import Scores
from palmette.tokens.views.base import EngineView, PointView, ViewEngine, ViewNode

__all__ = ["PairEngine", "guide", "mix"]

Combine = Callable[[Scores, Scores], Scores]


class PairNode(ViewNode):
    """A node of the main run with its companion in the other run."""

    def __init__(self, engine: PairEngine, inner: Node, other: Node, parent: PairNode | None) -> None:
        super().__init__(engine, inner, parent)
        self.other = other
        self._pair = engine

    @property
    def scores(self) -> Scores:
        """Both runs' scores, combined."""
        if self._scores is None:
            scores = self._pair.combine(self._below.scores, self.other.scores)
            if scores.empty:
                raise EmptySupport(f"{self._pair.view!r} left no token after the prefix of {self.depth} tokens")
            self._scores = scores
        return self._scores


class PairEngine(ViewEngine):
    """`combine` sees the scores of `inner` and of `companion`, which runs beside it on `companion_prompt(prompt)`."""

    def __init__(
        self,
        inner: Engine,
        companion: Engine,
        view: PointView,
        combine: Combine,
        companion_prompt: Callable[[tuple[int, ...]], Sequence[int]],
    ) -> None:
        super().__init__(inner, view)
        self.companion = companion
        self.combine = combine
        self.companion_prompt = companion_prompt

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """Start both runs."""
        others = [list(self.companion_prompt(tuple(prompt))) for prompt in prompts]
        if self.companion is self.inner:
            roots = self.inner.prefill([*prompts, *others], hidden=hidden)
            pairs = zip(roots[: len(prompts)], roots[len(prompts) :], strict=True)
        else:
            pairs = zip(self.inner.prefill(prompts, hidden=hidden), self.companion.prefill(others), strict=True)
        return [PairNode(self, root, other, None) for root, other in pairs]

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Extend both runs by the same tokens."""
        pairs = [node for node in nodes if isinstance(node, PairNode)]
        inner, other = [node._below for node in pairs], [node.other for node in pairs]
        if self.companion is self.inner:
            leaves = self.inner.extend([*inner, *other], [*tokens, *tokens])
            mains, sides = leaves[: len(pairs)], leaves[len(pairs) :]
        else:
            mains, sides = self.inner.extend(inner, tokens), self.companion.extend(other, tokens)
        grown: list[Node] = []
        for node, main, side, new in zip(pairs, mains, sides, tokens, strict=True):
            for a, b in zip(_chain(main, len(new)), _chain(side, len(new)), strict=True):
                node = PairNode(self, a, b, node)
            grown.append(node)
        return grown


def _chain(leaf: Node, count: int) -> list[Node]:
    """The last `count` nodes down to `leaf`, in order."""
    chain: list[Node] = []
    above: Node | None = leaf
    for _ in range(count):
        assert above is not None
        chain.append(above)
        above = above.parent
    return chain[::-1]


def guide(negative: str, scale: float = 1.5) -> EngineView:
    """Classifier-free guidance (Sanchez et al. 2023): log q⁻ + γ (log q − log q⁻).

    q⁻ is the same model after the prompt `negative` instead of the real one; both are normalised before they are mixed,
    and γ = 1 is off. Costs a second branch in every forward pass, not a second pass.

    Args:
        negative: the prompt to move away from.
        scale: γ; above 1 moves away from the negative prompt.
    """
    if not math.isfinite(scale):
        raise BadParameter(f"guide's scale must be finite, not {scale!r}")
    label = PointView("guide", {"negative": negative, "scale": scale}, lambda scores, state, node: scores)

    def combine(main: Scores, other: Scores) -> Scores:
        a, b = main.logprobs(), other.logprobs()
        with np.errstate(invalid="ignore"):
            mixed = b + scale * (a - b)
        return Scores(np.where(np.isfinite(a), np.where(np.isfinite(b), mixed, a), -np.inf).astype(np.float32))

    def view(engine: Engine) -> Engine:
        tokens = engine.tokenizer.encode(negative)
        if not tokens:
            raise BadParameter("guide needs a negative prompt of at least one token")
        return PairEngine(engine, engine, label, combine, lambda prompt: tokens)

    return EngineView("guide", label.settings, view)


def mix(amateur: Engine, alpha: float = 0.1, beta: float = 0.5) -> EngineView:
    """Contrastive decoding: (1 + β) ℓ_expert − β ℓ_amateur on the candidates with q_expert ≥ α · max q_expert.

    Li et al. 2022 in the form of O'Brien & Lewis 2023 (scores, not probabilities; the rest is removed).

    Args:
        amateur: an engine with the same vocabulary, usually a smaller model.
        alpha: the plausibility threshold, 0 … 1.
        beta: the strength of the contrast; 0 is the expert alone (behind the threshold).
    """
    if not 0 <= alpha <= 1:
        raise BadParameter(f"mix's alpha must lie between 0 and 1, not {alpha!r}")
    label = PointView("mix", {"alpha": alpha, "beta": beta}, lambda scores, state, node: scores)

    def combine(expert: Scores, other: Scores) -> Scores:
        kept = expert.at_least(expert.peak + math.log(alpha)) if alpha > 0 else expert
        ids = kept.support()
        contrast = other.at(ids)
        worst = float(contrast[np.isfinite(contrast)].min()) if np.isfinite(contrast).any() else 0.0
        contrast = np.where(np.isfinite(contrast), contrast, worst)
        return Scores.listed(ids, (1 + beta) * kept.at(ids) - beta * contrast, expert.size)

    def view(engine: Engine) -> Engine:
        if engine.vocabulary != amateur.vocabulary:
            raise BadParameter(
                f"mix needs one vocabulary: the expert has {engine.vocabulary} tokens, the amateur {amateur.vocabulary}"
            )
        return PairEngine(engine, amateur, label, combine, lambda prompt: prompt)

    return EngineView("mix", label.settings, view)
