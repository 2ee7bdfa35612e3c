"""A request answered by an engine: the conversation as tokens, the settings as views, the form as a constraint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from palmette.core.engine import Engine, Hypothesis, Node, Strategy, View
from palmette.core.errors import BadParameter, ConstraintError, Unsupported
from palmette.core.events import Event
from palmette.core.message import Finish, Output, Request, TokenScore, Usage
from palmette.models.calls import Splitter, call_schema
from palmette.models.template import ChatTemplate, template_of, tokens_of
from palmette.tokens.decode import Decoding, Plan, decode_together
from palmette.tokens.dialect import chain, check_strategy
from palmette.tokens.strategies.sampling import nucleus, sample
from palmette.tokens.structure.as_views import ConstraintView, constraint, grammar, one_of, regex
from palmette.tokens.trace.json import to_json

__all__ = ["Reply", "prompt_of"]

_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")
_ENDED: dict[str, Finish] = {"eos": "stop", "stop": "stop", "length": "length"}
MOST = 1024  # tokens of an answer where nobody says a limit


@dataclass(frozen=True)
class Prompt:
    """A conversation as a model reads it.

    Args:
        trim: whether the model will begin with a space that belongs to the template.
    """

    tokens: tuple[int, ...]
    template: ChatTemplate | None
    trim: bool
    notes: tuple[str, ...] = ()


def prompt_of(engine: Engine, request: Request) -> Prompt:
    """The conversation of a request as token ids, up to where the answer begins.

    A model without a chat template reads it as plain text, and the answer says so.

    Raises:
        Unsupported: for what the model cannot read.
    """
    template = template_of(engine)
    tools = request.tools if request.tool_choice != "none" else ()
    if template is None:
        if tools and request.tool_choice in (None, "auto"):
            raise Unsupported(
                "this model has no chat template, so it knows no tools; tool_choice='required' forces a call"
            )
        text = "\n\n".join(message.text for message in request.messages)
        note = "the model has no chat template: the conversation was read as plain text"
        return Prompt(tuple(engine.tokenizer.encode(text)), None, False, (note,))
    if tools and not template.knows_tools:
        if request.tool_choice in (None, "auto"):
            raise Unsupported("the chat template of this model knows no tools; tool_choice='required' forces a call")
        tools = ()
    pieces = template.written(request.messages, True, tools)
    last = pieces[-1][0] if pieces else ""
    return Prompt(tuple(tokens_of(engine, pieces)), template, not last[-1:].isspace() and not last.endswith(">"))


class Reply:
    """One request being answered; iterate it for the events.

    Args:
        engine: the model.
        strategy: how it chooses tokens unless the request sets temperature and the like.
        views: what it is seen through, the first nearest to the model.
        options: max_tokens, stop, seed where the request says none.
        who: its name.
        n_best: how many of the strategy's answers to tell, with their scores.
        tree: whether to tell the token tree.
    """

    def __init__(
        self, engine: Engine, strategy: Strategy | None, views: Sequence[View], options: dict[str, Any],
        request: Request, who: str, *, n_best: int = 0, tree: bool = False,
    ) -> None:  # fmt: skip
        self._engine, self._request, self._who = engine, request, who
        self._n_best, self._tree = n_best, tree
        self._prompt = prompt_of(engine, request)
        seed = request.seed if request.seed is not None else int(options.get("seed", 0))
        self._form = self._constraint()
        spoken = _spoken(request, seed)
        chosen = strategy or (sample() if spoken else nucleus())
        check_strategy(spoken, chosen)
        through: list[View] = [*([self._form] if self._form else []), *views, *spoken]
        many = request.n or 1
        if many < 1:
            raise BadParameter(f"n must be at least 1, not {many!r}")
        room = engine.context_length - len(self._prompt.tokens)
        limit = request.max_tokens or int(options.get("max_tokens", 0)) or max(1, min(MOST, room))
        self._decoding: Decoding = decode_together(
            engine, self._prompt.tokens, [Plan(chosen, through, seed=seed + i) for i in range(many)],
            max_tokens=limit, stop=request.stop or tuple(options.get("stop", ())), trace=tree, model=who,
        )  # fmt: skip
        names = [tool.name for tool in request.tools] if request.tool_choice != "none" else []
        template = self._prompt.template
        thinks = template is not None and template.thinks and self._form is None
        mark = f"{abs(hash((self._prompt.tokens, seed))) % 16**8:08x}_"
        self.ends: list[Node] = []  # where answers ended, for whoever keeps what was read
        self._splitters = [
            Splitter(
                names if request.output is None else (),
                thinks,
                self._prompt.trim,
                mark if not i else f"{mark}{i}_",
            )
            for i in range(many)
        ]

    @property
    def prompt(self) -> tuple[int, ...]:
        """What the model reads before it answers."""
        return self._prompt.tokens

    def __iter__(self) -> Iterator[Event]:
        return (event for events in self.turns() for event in events)

    def turns(self) -> Iterator[list[Event]]:
        """The events of one step of decoding after another; a step may tell nothing."""
        yield [Event(id="", model=self._who, notes=self._prompt.notes)]
        for step in self._decoding:
            found = self._splitters[step.run].feed(step.text) if step.text else []
            events = [replace(event, index=step.run) for event in found] if step.run else found
            if step.answers:
                events += self._ended(step.run, step.answers[0])
            yield events

    def _ended(self, run: int, best: Hypothesis) -> Iterator[Event]:
        splitter = self._splitters[run]
        self.ends.append(best.parent)
        self._whole(best)
        for event in splitter.close():
            yield replace(event, index=run)
        finish: Finish = "tool_calls" if splitter.called else _ENDED[best.finish]
        spent = sum(len(answers[0].tokens) for answers in self._decoding.all_answers if answers)
        scores: tuple[TokenScore, ...] = ()
        if self._request.top_logprobs is not None:
            scores = tuple(_scored(self._engine, best, self._request.top_logprobs))
        asked: tuple[TokenScore, ...] = ()
        if self._request.prompt_logprobs and not run:
            asked = tuple(_prompt_scored(self._engine, self._prompt.tokens, self._request.top_logprobs or 0))
        usage = Usage(len(self._prompt.tokens), spent)
        yield Event(finish=finish, usage=usage, logprobs=scores, index=run, prompt_logprobs=asked,
                    raw=self._more())  # fmt: skip

    def _more(self) -> dict[str, Any] | None:
        """The strategy's answers with their scores, and the tree, if they were asked for and all is said."""
        decoding = self._decoding
        if not (self._n_best or self._tree) or not all(decoding.all_answers):
            return None
        made: dict[str, Any] = {}
        if self._n_best:
            rows = list(zip(decoding.answers, decoding.answer_texts(), strict=True))[: self._n_best]
            made["answers"] = [
                {"text": text, "finish": h.finish, "score": h.score, "logprob": h.logprob} for h, text in rows
            ]
        if self._tree:
            made["tree"] = json.loads(to_json(decoding.trace))
        return {"palmette": made}

    def _whole(self, best: Hypothesis) -> None:
        """Refuse a text that was cut before it had its form."""
        form = self._form
        if form is None or form.complete(self._engine, best.tokens):
            return
        why = "by a stop string" if best.finish == "stop" else f"after {len(best.tokens)} tokens; allow more max_tokens"
        raise ConstraintError(f"{self._who}: the answer was cut before it had the form that was asked for, {why}")

    def _constraint(self) -> ConstraintView | None:
        request = self._request
        if request.tools and request.tool_choice not in (None, "auto", "none"):
            tools = [t for t in request.tools if request.tool_choice in ("required", t.name)]
            if not tools:
                raise BadParameter(f"tool_choice names no tool of the request: {request.tool_choice!r}")
            return constraint(call_schema(tools))
        return None if request.output is None else _view(request.output, self._prompt.trim)


def _view(output: Output, spaced: bool) -> ConstraintView:
    """A form as a constraint; the space that a template leaves to the model may stand before a choice."""
    if output.kind == "json":
        return constraint(output.value)
    if output.kind == "regex":
        return regex(f" ?(?:{output.value})" if spaced else output.value)
    if output.kind == "choices":
        return one_of([f"{space}{text}" for text in output.value for space in (("", " ") if spaced else ("",))])
    return grammar(output.value)


def _spoken(request: Request, seed: int) -> list[View]:
    """The request's sampling settings as views."""
    given = {name: getattr(request, name) for name in _SETTINGS if getattr(request, name) is not None}
    if request.logit_bias:
        given["logit_bias"] = dict(request.logit_bias)
    return chain("paper", given, seed) if given else []


def _scored(engine: Engine, best: Hypothesis, top: int) -> Iterator[TokenScore]:
    """The tokens of an answer with their log-probabilities in the model, before any view."""
    nodes: list[tuple[Node, int]] = [(best.parent, best.token)]
    while nodes[-1][0].parent is not None:
        above = nodes[-1][0]
        assert above.parent is not None
        nodes.append((above.parent, above.token))
    for seen, token in reversed(nodes):
        if token in engine.eos:
            return
        node = seen
        while node.inner is not None:
            node = node.inner
        yield _score(engine, node, token, top)


def _prompt_scored(engine: Engine, tokens: Sequence[int], top: int) -> Iterator[TokenScore]:
    """The tokens of a prompt with their log-probabilities; nothing stands before the first."""
    yield TokenScore(_name(engine, tokens[0]), float("-inf"))
    node: Node | None = engine.prefill([tokens[:1]])[0]
    above = []
    if len(tokens) > 1:
        node = engine.extend([cast(Node, node)], [tokens[1:]])[0].parent
    while node is not None:
        above.append(node)
        node = node.parent
    for seen, token in zip(reversed(above), tokens[1:], strict=False):
        yield _score(engine, seen, token, top)


def _score(engine: Engine, node: Node, token: int, top: int) -> TokenScore:
    scores = node.scores
    ids, values = scores.head(top)
    likeliest = ((_name(engine, int(i)), float(v) - scores.log_normalizer) for i, v in zip(ids, values, strict=True))
    return TokenScore(_name(engine, token), scores.logprob(token), tuple(likeliest))


def _name(engine: Engine, token: int) -> str:
    data = engine.tokenizer.token_bytes(token)
    return data.decode("utf-8", "replace") if data else engine.tokenizer.token_name(token)
