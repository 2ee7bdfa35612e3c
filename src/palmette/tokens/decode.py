"""Decoding: strategies take turns on one engine, share its forward passes, and leave one tree behind.

`decode` runs one strategy, `decode_together` several from one prompt. Both return a `Decoding`: iterate it for the
steps, then read `.text`, `.answers`, `.trace`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from palmette.core.engine import Budget, Engine, Hypothesis, Step, Strategy, View
from palmette.core.errors import BadParameter, EmptyPrompt, PromptTooLong, UsageError
from palmette.core.rng import Rng
from palmette.tokens.gather import Gather
from palmette.tokens.strategies.named import label_of
from palmette.tokens.strategies.sampling import sample
from palmette.tokens.text import TextStream, text_of
from palmette.tokens.trace.record import Recorder
from palmette.tokens.trace.values import Run, Trace
from palmette.tokens.views.base import Budgeted, compose, show
from palmette.tokens.views.constrain import HealConstraint, constrain

__all__ = ["Decoding", "Plan", "decode", "decode_together"]


@dataclass(frozen=True)
class Plan:
    """A strategy with the views it sees the model through, and the label it goes by in the trace."""

    strategy: Strategy
    views: Sequence[View] = ()
    label: str = ""
    seed: int = 0


class Decoding:
    """Running strategies. Iterate for the steps; a step's `text` is what became certain of its run's best answer.

    After the last step `text` is run 0's best answer and `answers` its hypotheses; `texts` holds one text for each
    run. `trace` may be read at any time, also after an interruption.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: str | Sequence[int],
        plans: Sequence[Plan],
        *,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        heal: bool = False,
        trace: bool = True,
        model: str = "",
    ) -> None:
        if not plans:
            raise BadParameter("decoding needs at least one strategy")
        self._stop = tuple(s.encode() for s in stop)
        Budget(max_tokens, self._stop)  # refuses bad values before anything runs
        self._tokenizer = engine.tokenizer
        tokens = self._encode(engine, prompt)
        tokens, tail = _healed(engine, tokens) if heal else (tokens, b"")
        self._skip = len(tail)
        self.prompt_tokens = len(tokens)
        spelled = [constrain(HealConstraint(engine.tokenizer, engine.vocabulary, tail), "heal")] if tail else []
        self.gather = engine if isinstance(engine, Gather) else Gather(engine)
        self._streams = [TextStream(engine.tokenizer, self._stop, self._skip) for _ in plans]
        self._texts = [""] * len(plans)
        self._answers: list[tuple[Hypothesis, ...]] = [()] * len(plans)
        runs = [Run(p.label or label_of(p.strategy), tuple(show(v) for v in p.views), p.seed) for p in plans]
        shown = prompt if isinstance(prompt, str) else engine.tokenizer.decode(prompt)
        self._recorder = Recorder(engine.tokenizer, model, shown, tokens, runs) if trace else None
        budget = Budget(max_tokens, self._stop)
        views = [[v.within(max_tokens) if isinstance(v, Budgeted) else v for v in plan.views] for plan in plans]
        self._steps = self._turns(
            [
                plan.strategy(compose(self.gather, [*spelled, *within]), tokens, budget, Rng(plan.seed))
                for plan, within in zip(plans, views, strict=True)
            ]
        )

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        return next(self._steps)

    def run(self) -> Decoding:
        """Go to the end and return self."""
        for _ in self:
            pass
        return self

    @property
    def text(self) -> str:
        """Run 0's text so far; at the end its best answer."""
        return self._texts[0]

    @property
    def texts(self) -> list[str]:
        """Each run's text so far; at the end its best answer."""
        return list(self._texts)

    @property
    def answers(self) -> tuple[Hypothesis, ...]:
        """Run 0's hypotheses, best first; empty before its end."""
        return self._answers[0]

    @property
    def all_answers(self) -> list[tuple[Hypothesis, ...]]:
        """Each run's hypotheses, best first."""
        return list(self._answers)

    def answer_texts(self, run: int = 0) -> list[str]:
        """The texts of a run's answers, best first."""
        return [text_of(self._tokenizer, h.tokens, self._stop, self._skip) for h in self._answers[run]]

    def pieces(self, run: int = 0) -> list[tuple[str, float]]:
        """The best answer's text in the pieces its tokens added, each with the token's log-probability in the model."""
        trace = self.trace
        stream = TextStream(self._tokenizer, self._stop, self._skip)
        found = [(stream.push([n.token]), n.logprob) for n in trace.path(trace.runs[run].answers[0].node)]
        found.append((stream.close(), found[-1][1]))
        return [piece for piece in found if piece[0]]

    @property
    def trace(self) -> Trace:
        """The tree so far."""
        if self._recorder is None:
            raise UsageError("this decoding was started with trace=False")
        return self._recorder.trace()

    def _encode(self, engine: Engine, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            tokens = engine.tokenizer.encode(prompt) if prompt else []
        else:
            tokens = [int(token) for token in prompt]
            wrong = [token for token in tokens if not 0 <= token < engine.vocabulary]
            if wrong:
                raise BadParameter(f"token {wrong[0]} is outside the vocabulary of {engine.vocabulary} tokens")
        if not tokens:
            raise EmptyPrompt("the prompt is empty; give at least one character to continue")
        if len(tokens) >= engine.context_length:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens, the model's context holds {engine.context_length} "
                "with at least one for the answer; shorten the prompt"
            )
        return tokens

    def _turns(self, strategies: Sequence[Iterator[Step]]) -> Iterator[Step]:
        """Advance every strategy by one step in turn, until all have ended."""
        running = dict(enumerate(strategies))
        while running:
            for run, steps in list(running.items()):
                step = next(steps, None)
                if step is None:
                    del running[run]
                    continue
                yield self._seen(replace(step, run=run))

    def _seen(self, step: Step) -> Step:
        stream = self._streams[step.run]
        text = stream.push(step.committed)
        if step.answers:
            text += stream.close()
            self._answers[step.run] = step.answers
        self._texts[step.run] += text
        step = replace(step, text=text)
        if self._recorder is not None:
            self._recorder.see(step, self._stop, self._skip)
        return step


def decode(
    engine: Engine,
    prompt: str | Sequence[int],
    strategy: Strategy | None = None,
    *,
    views: Sequence[View] = (),
    max_tokens: int = 128,
    stop: Sequence[str] = (),
    seed: int = 0,
    heal: bool = False,
    trace: bool = True,
    model: str = "",
) -> Decoding:
    """Continue `prompt` by `strategy` (ancestral sampling by default) through `views`, the first nearest to the model.

    Args:
        engine: any engine; a `Gather` shares its forward passes with everything else that runs on it.
        prompt: text, or token ids.
        strategy: what to grow; see `palmette.tokens.strategies`.
        views: what to see the model through; see `palmette.tokens.views`.
        max_tokens: the most tokens of an answer.
        stop: strings that end an answer; they are not part of its text.
        seed: same seed, same bytes.
        heal: take the prompt's last token back and let the model spell it again with what follows.
        trace: record the tree.
        model: the model's name in the trace.

    >>> from palmette.tokens.matrix import MatrixEngine
    >>> from palmette.tokens.strategies import greedy
    >>> engine = MatrixEngine([[0.1, 0.9, 0.0], [0.2, 0.0, 0.8], [0.0, 0.0, 1.0]], eos=2)
    >>> decode(engine, "a", greedy()).run().text
    'b'
    """
    plan = Plan(strategy if strategy is not None else sample(), tuple(views), seed=seed)
    return Decoding(engine, prompt, [plan], max_tokens=max_tokens, stop=stop, heal=heal, trace=trace, model=model)


def decode_together(
    engine: Engine,
    prompt: str | Sequence[int],
    plans: Sequence[Plan],
    *,
    max_tokens: int = 128,
    stop: Sequence[str] = (),
    heal: bool = False,
    trace: bool = True,
    model: str = "",
) -> Decoding:
    """Grow several strategies from one prompt on one tree, all of them in each forward pass.

    Each run gives exactly what it would give alone (up to the rounding of a batched forward pass).
    """
    return Decoding(engine, prompt, plans, max_tokens=max_tokens, stop=stop, heal=heal, trace=trace, model=model)


def _healed(engine: Engine, tokens: list[int]) -> tuple[list[int], bytes]:
    """The prompt without its last token, and that token's bytes; unchanged where nothing longer begins with them."""
    tail = engine.tokenizer.token_bytes(tokens[-1])
    if len(tokens) < 2 or not tail:
        return tokens, b""
    sizes = (len(p) for t in range(engine.tokenizer.size) if (p := engine.tokenizer.token_bytes(t)).startswith(tail))
    longest = int(np.max(list(sizes)))
    return (tokens[:-1], tail) if longest > len(tail) else (tokens, b"")
