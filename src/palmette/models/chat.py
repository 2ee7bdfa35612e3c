"""Conversations whose holes the model fills: turns by roles, in the model's own chat format or through its API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from palmette.core.engine import Engine
from palmette.core.errors import ConstraintError, UnknownName, Unsupported
from palmette.core.message import Message
from palmette.models.local import LocalModel, opened
from palmette.models.template import ChatTemplate, Piece, template_of, tokens_of
from palmette.tokens.structure.template import Program

if TYPE_CHECKING:
    from palmette.models.remote.model import RemoteModel

__all__ = ["Chat", "chat"]

Turn = tuple[str, str]  # role and text


@dataclass(frozen=True)
class Chat:
    """A conversation. A value: every call gives a new one, so a fork is another name for the same.

    Args:
        source: the model.
        turns: what was said, by role.
        values: of the holes that the model has filled.
    """

    source: Any = field(repr=False)
    turns: tuple[Turn, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    template: ChatTemplate | None = field(default=None, repr=False)
    program: Program | None = field(default=None, repr=False)

    def system(self, text: str) -> Chat:
        """With what holds for the whole conversation."""
        return replace(self, turns=(*self.turns, ("system", text)))

    def user(self, text: str) -> Chat:
        """With something you say."""
        return replace(self, turns=(*self.turns, ("user", text)))

    def assistant(self, template: str, **options: Any) -> Chat:
        """With the model's next turn: a template, as for `palmette.fill`, whose holes it fills.

        Args:
            template: literal text and holes; it may begin with a hole.
            options: strategy, views, where, max_tokens, seed (a model on this machine); where, tries, and those of a
                call (an API).

        Raises:
            ConstraintError: if nothing fits.
        """
        if self.template is None:
            from palmette.models.remote.fill import fill_remote

            done = fill_remote(self.source, template, before=self._messages(), **options)
            return replace(self, turns=(*self.turns, ("assistant", done.text)), values={**self.values, **done.values})
        start = self._read(self.template.pieces(self.turns, True))
        filled = start.fill(template, **options)
        said = filled.text[len(start.text) :]
        return replace(
            self, turns=(*self.turns, ("assistant", said)), values={**self.values, **filled.values}, program=filled
        )

    @property
    def text(self) -> str:
        """The last turn."""
        return self.turns[-1][1] if self.turns else ""

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise UnknownName("hole is called", name, self.values)
        return self.values[name]

    def _messages(self) -> tuple[Message, ...]:
        return tuple(Message.of(cast(Any, role), text) for role, text in self.turns)

    def _read(self, pieces: Sequence[Piece]) -> Program:
        """A program that has read the conversation; one that has read its beginning goes on."""
        engine = cast(LocalModel, self.source).engine
        tokens = tokens_of(engine, pieces)
        if len(tokens) >= engine.context_length:
            raise ConstraintError(f"the conversation has {len(tokens)} tokens, the model holds {engine.context_length}")
        old = self.program
        if old is not None and tuple(tokens[: len(old.tokens)]) == old.tokens:
            return old.put(tokens[len(old.tokens) :])
        return Program.begin(engine).put(tokens)


def chat(source: LocalModel | RemoteModel | Engine | str, system: str = "") -> Chat:
    """A conversation with a model on this machine (in its own chat format) or behind an API.

    Args:
        source: what `palmette.model` or `palmette.connect` returns, an engine, or a reference.
        system: what holds for the whole conversation.

    Raises:
        Unsupported: for a model without a chat template.
        MissingExtra: without jinja2, which runs chat templates.

    >>> import palmette
    >>> palmette.chat(palmette.connect("ollama:qwen3"), "Be brief.").user("Hello").turns
    (('system', 'Be brief.'), ('user', 'Hello'))
    """
    if not isinstance(source, str) and hasattr(source, "provider"):
        begun = Chat(source)
    else:
        model = opened(source)
        template = template_of(model.engine)
        if template is None:
            raise Unsupported(f"{model.id} has no chat template: it continues texts and takes no roles")
        begun = Chat(model, template=template)
    return begun.system(system) if system else begun
