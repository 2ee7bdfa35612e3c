"""Conversations: turns by roles, written by you and by the model in its own chat format, or through its API.

A model's chat template is a program of a stranger: it runs in a sandbox, under limits of time and length. What it
writes around the turns is read with special tokens; what is said in a turn stays text, whatever it spells.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palmette.core.checkpoint import read_json
from palmette.core.engine import Engine
from palmette.core.errors import ConstraintError, MissingExtra, ModelError, UnknownName, Unsupported
from palmette.models.local import LocalModel, opened
from palmette.tokens.structure.template import Program

if TYPE_CHECKING:
    from palmette.models.remote.model import RemoteModel

__all__ = ["Chat", "ChatTemplate", "chat"]

LONGEST = 1 << 20  # characters that a template may write, and that it may have
SECONDS = 2.0
_MARK = re.compile("( ?)\ue000(\\d+)\ue001( ?)")

Turn = tuple[str, str]  # role and text


@dataclass(frozen=True)
class ChatTemplate:
    """How a model wants conversations written: Jinja text and the special tokens it speaks of."""

    text: str
    tokens: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path) -> ChatTemplate:
        """That of a model folder: chat_template.jinja, or the one in tokenizer_config.json.

        Raises:
            Unsupported: if it has none.
        """
        config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        own = folder / "chat_template.jinja"
        text = own.read_text(encoding="utf-8") if own.is_file() else config.get("chat_template")
        if isinstance(text, list):  # named templates
            text = next((t.get("template") for t in text if isinstance(t, dict) and t.get("name") == "default"), None)
        if not isinstance(text, str) or len(text) > LONGEST:
            raise Unsupported(f"{folder} has no chat template: it continues texts and takes no roles")
        named = {key: config[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token") if config.get(key)}
        return ChatTemplate(text, {k: v["content"] if isinstance(v, dict) else str(v) for k, v in named.items()})

    def pieces(self, turns: Sequence[Turn], opening: bool) -> list[tuple[str, bool]]:
        """The conversation as (text, whether it is what was said in a turn) pieces.

        Args:
            turns: roles and texts.
            opening: whether the beginning of the assistant's next turn follows.

        Raises:
            ModelError: for a template that fails, runs too long or writes too much.
        """
        marked = [{"role": role, "content": f" \ue000{i}\ue001 "} for i, (role, _) in enumerate(turns)]
        written = self._written(marked, opening)
        made: list[tuple[str, bool]] = []
        at = 0
        for found in _MARK.finditer(written):
            said = turns[int(found[2])][1]
            said = said if found[1] else said.lstrip()  # a template that trims what is said
            said = said if found[3] else said.rstrip()
            made += [(written[at : found.start()], False), (said, True)]
            at = found.end()
        return [piece for piece in [*made, (written[at:], False)] if piece[0]]

    def _written(self, turns: list[dict[str, str]], opening: bool) -> str:
        try:
            import jinja2
            from jinja2.ext import loopcontrols
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise MissingExtra("a chat template", "chat") from error

        def fail(reason: str) -> None:
            raise ModelError(f"the chat template refuses the conversation: {reason}")

        place = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        place.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
        place.globals |= {"raise_exception": fail, "strftime_now": lambda form: time.strftime(str(form))}
        end, parts, size = time.monotonic() + SECONDS, [], 0
        try:
            for part in place.from_string(self.text).generate(
                messages=turns, add_generation_prompt=opening, **self.tokens
            ):
                parts.append(part)
                size += len(part)
                if size > LONGEST or time.monotonic() > end:
                    raise ModelError(f"the chat template writes for more than {SECONDS:g} s or {LONGEST} characters")
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise ModelError(f"the chat template fails: {error}") from error
        return "".join(parts)


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

    def _messages(self) -> tuple[Any, ...]:
        from palmette.core.message import Message

        return tuple(Message.of(cast(Any, role), text) for role, text in self.turns)

    def _read(self, pieces: Sequence[tuple[str, bool]]) -> Program:
        """A program that has read the conversation; one that has read its beginning goes on."""
        engine = cast(LocalModel, self.source).engine
        tokens: list[int] = []
        for text, said in pieces:
            tokens += engine.tokenizer.encode_continuation(text) if said else _with_specials(engine, text)
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
        folder = getattr(model.engine.tokenizer, "folder", None)
        if folder is None:
            raise Unsupported(f"{model.id} has no chat template: it continues texts and takes no roles")
        begun = Chat(model, template=ChatTemplate.of(folder))
    return begun.system(system) if system else begun


def _with_specials(engine: Engine, text: str) -> list[int]:
    """The ids of what a template wrote: special tokens by their names, the rest as text."""
    tokenizer = cast(Any, engine.tokenizer)
    names = {name: token for token, name in tokenizer.special_names.items()}
    if not names:
        return list(tokenizer.encode_continuation(text))
    made: list[int] = []
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    for piece in re.split(f"({longest_first})", text):
        made += [names[piece]] if piece in names else tokenizer.encode_continuation(piece) if piece else []
    return made
