"""Reading by a model: one on this machine cannot write anything but facts with true quotes; another is asked and
checked.

`Local` is an engine with how it is spoken to; it is handed in, as is any other `Model`, for this folder opens none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from palmette.core.engine import Engine, Strategy, View
from palmette.core.errors import BadAnswer, BadParameter, ConstraintError
from palmette.core.message import Message, Output, Request
from palmette.core.model import Model
from palmette.knowledge.documents.read import hash_of
from palmette.knowledge.extract.form import EVIDENCE, FACTS, NAME, checked, facts_in, json_schema, messages
from palmette.knowledge.extract.grammar import grammar_of, readable
from palmette.knowledge.extract.reading import Reading
from palmette.knowledge.schema import OPEN, Schema
from palmette.knowledge.values import Piece, Statement
from palmette.tokens.decode import decode
from palmette.tokens.strategies.sampling import greedy
from palmette.tokens.structure.grammar import lark_constraint
from palmette.tokens.views.constrain import constrain

__all__ = ["ByEngine", "ByModel", "Local", "plainly"]

TRIES = 2  # how often a model behind an API is asked about one piece
_SMALL = 1024  # tokens of a context that leaves no room to explain the task
_ROOM = 48  # tokens that an answer needs at the very least


def plainly(engine: Engine, said: Sequence[Message]) -> list[int]:
    """Messages as tokens for a model without a chat format."""
    return list(engine.tokenizer.encode("\n\n".join(message.text for message in said) + "\n\n"))


@dataclass(frozen=True)
class Local:
    """A model on this machine: its engine, what chooses its tokens, and how it is spoken to."""

    engine: Engine = field(repr=False)
    id: str
    strategy: Strategy | None = None
    views: tuple[View, ...] = ()
    seed: int = 0
    spoken: Callable[[Engine, Sequence[Message]], list[int]] = plainly


@dataclass(frozen=True)
class ByEngine:
    """Extraction under a grammar: structure, names and quotes are right whatever the weights are.

    Args:
        model: who reads.
        schema: what may be said.
        max_tokens: of an answer. One that is cut keeps the facts that are whole.
        least, most: facts of a piece. A small model may need to be told that there is one.
    """

    model: Local
    schema: Schema = OPEN
    max_tokens: int = 1024
    least: int = 0
    most: int = FACTS

    @property
    def id(self) -> str:
        """Who reads."""
        return self.model.id

    @property
    def recipe(self) -> str:
        """A hash."""
        strategy = repr(self.model.strategy) + repr(self.model.views)
        told = "\n".join(m.text for m in messages(Piece(0, 0, ""), "", self.schema))
        parts = (
            "engine 1",
            told,
            self.schema.text(),
            strategy,
            self.model.seed,
            self.max_tokens,
            self.least,
            self.most,
        )
        return hash_of("\x1f".join(map(str, parts)))

    def cost(self, piece: Piece, title: str) -> tuple[int, int]:
        """One call; the prompt's tokens are counted, the answer's at most."""
        if not readable(piece.text):
            return 0, 0
        return 1, len(self._prompt(piece, title)) + self.max_tokens

    def read(self, piece: Piece, title: str) -> Reading:
        """Read one piece."""
        if not readable(piece.text):
            return Reading(())
        text, tokens = self.written(piece, title)
        found = [checked(fact, piece, self.schema) for fact in facts_in(text)]
        wrong = [f for f in found if isinstance(f, str)]
        if wrong:
            raise ConstraintError(f"{self.id} wrote under the grammar what is no fact: {wrong[0]}")
        return Reading(tuple(dict.fromkeys(f for f in found if isinstance(f, Statement))), tokens, 1)

    def written(self, piece: Piece, title: str) -> tuple[str, int]:
        """The answer as text, and the tokens of both sides."""
        engine = self.model.engine
        prompt = self._prompt(piece, title)
        room = engine.context_length - len(prompt) - 1
        if room < _ROOM:
            raise BadParameter(
                f"{self.id} holds {engine.context_length} tokens, and the prompt of a piece has {len(prompt)}: cut the "
                "documents into smaller pieces (size=, --size)"
            )
        most = min(self.max_tokens, room)
        # A small room is for few short facts: then an answer is rarely cut.
        share = max(1, min(self.most, most // 160))
        text = grammar_of(
            piece.text, self.schema, least=min(self.least, share), most=share, evidence=min(EVIDENCE, most), name=NAME
        )
        rule = constrain(lark_constraint(engine, text), "extraction")
        strategy = self.model.strategy or greedy()
        views: list[View] = [rule, *self.model.views]
        done = decode(engine, prompt, strategy, views=views, max_tokens=most, seed=self.model.seed, trace=False).run()
        return done.text, len(prompt) + len(done.answers[0].tokens)

    def _prompt(self, piece: Piece, title: str) -> list[int]:
        engine = self.model.engine
        return self.model.spoken(engine, messages(piece, title, self.schema, brief=engine.context_length < _SMALL))


@dataclass(frozen=True)
class ByModel:
    """Extraction by any model: asked for JSON, checked fact by fact, asked again about what is wrong, at most `tries`
    times. What is still wrong then is left out.
    """

    model: Model
    schema: Schema = OPEN
    max_tokens: int = 2048
    most: int = FACTS
    tries: int = TRIES

    @property
    def id(self) -> str:
        """Who reads."""
        return self.model.id

    @property
    def recipe(self) -> str:
        """A hash."""
        told = "\n".join(m.text for m in messages(Piece(0, 0, ""), "", self.schema))
        parts = ("model 1", told, self.schema.text(), self.max_tokens, self.most, self.tries)
        return hash_of("\x1f".join(map(str, parts)))

    def cost(self, piece: Piece, title: str) -> tuple[int, int]:
        """One call, if nothing is wrong; four characters are counted as a token."""
        if not readable(piece.text):
            return 0, 0
        said = sum(len(m.text) for m in messages(piece, title, self.schema))
        return 1, said // 4 + self.max_tokens

    def read(self, piece: Piece, title: str) -> Reading:
        """Read one piece."""
        if not readable(piece.text):
            return Reading(())
        turns, tokens = messages(piece, title, self.schema), 0
        kept: dict[Statement, None] = {}
        calls, wrong = 0, [""]
        while wrong and calls < self.tries:
            calls += 1
            output = Output("json", json_schema(self.schema, self.most), "facts")
            response = self.model.respond(Request(turns, max_tokens=self.max_tokens, temperature=0.0, output=output))
            tokens += (response.usage.input + response.usage.output) if response.usage else 0
            try:
                found = [checked(fact, piece, self.schema) for fact in facts_in(response.text)]
            except ValueError as error:
                found = [str(error)]
            kept |= dict.fromkeys(f for f in found if isinstance(f, Statement))
            wrong = [f for f in found if isinstance(f, str)]
            complaint = "\n".join(f"- {w}" for w in wrong[:10])
            turns = (*turns, response.message, Message.of("user", f"Not right:\n{complaint}\nAnswer again, all facts."))
        if not kept and wrong and "does not begin" in wrong[0]:
            raise BadAnswer(f"{self.id} gave no facts in {self.tries} answers: {wrong[0]}")
        return Reading(tuple(kept)[: self.most], tokens, calls)
