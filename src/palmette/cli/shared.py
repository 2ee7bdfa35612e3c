"""What verbs share: the model and prompt positionals, the options of every generation, and strategies from text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from palmette.cli.debug import debug_option
from palmette.core.engine import Engine, Strategy, View
from palmette.core.errors import BadParameter, PalmetteError, UsageError
from palmette.core.signature import build
from palmette.models.remote.providers import is_remote
from palmette.models.resolve import DEFAULT_MODEL, Dtype, EngineName, looks_like_model, open_engine
from palmette.tokens.decode import Decoding
from palmette.tokens.dialect import DIALECTS, chain, check_strategy, parse_settings
from palmette.tokens.strategies import STRATEGIES
from palmette.tokens.structure.as_views import ConstraintView, constraint, grammar, one_of, regex
from palmette.tokens.views import VIEWS

__all__ = [
    "Generation",
    "common_views",
    "debug_option",
    "generation_options",
    "log_option",
    "positionals",
    "read_text",
    "refuse_the_unfinished",
    "settings_option",
    "strategy_from",
    "views_from",
]

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_STRATEGY = "nucleus:0.9"


@dataclass(frozen=True)
class Generation:
    """The options that every generating verb takes."""

    seed: int
    max_tokens: int
    stop: tuple[str, ...]
    heal: bool
    engine: EngineName
    dtype: Dtype
    device: str
    dialect: str | None = None
    settings: tuple[str, ...] = ()
    regex: str | None = None
    choices: str | None = None
    grammar: str | None = None
    json_schema: str | None = None
    system: str | None = None
    files: tuple[str, ...] = ()

    def open(self, model: str) -> Engine:
        """Load the model."""
        return open_engine(model, engine=self.engine, dtype=self.dtype, device=self.device)

    @property
    def limits(self) -> dict[str, Any]:
        """As keywords of `decode_together`."""
        return {"max_tokens": self.max_tokens, "stop": self.stop, "heal": self.heal}

    @property
    def in_dialect(self) -> bool:
        """True if --dialect or --set was given."""
        return self.dialect is not None or bool(self.settings)

    @property
    def default_strategy(self) -> str:
        """What chooses tokens where no --strategy says so: plain sampling where settings say all."""
        return "sample" if self.in_dialect else DEFAULT_STRATEGY

    def constraint_views(self) -> list[ConstraintView]:
        """The view of --regex, --choices, --grammar or --json-schema."""
        given = {
            "--regex": self.regex,
            "--choices": self.choices,
            "--grammar": self.grammar,
            "--json-schema": self.json_schema,
        }
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} constrain the text at once; give one of them")
        if self.regex is not None:
            return [regex(self.regex)]
        if self.choices is not None:
            return [one_of(text for text in self.choices.split(",") if text)]
        if self.json_schema is not None:
            return [constraint(read_text(self.json_schema))]
        return [grammar(read_text(self.grammar))] if self.grammar is not None else []

    def dialect_views(self) -> list[View]:
        """The views of --dialect and --set."""
        return chain(self.dialect or "paper", parse_settings(self.settings), self.seed) if self.in_dialect else []


def log_option(function: F) -> F:
    """Add --log, which writes the call into the log of `palmette logs`; the command receives it as `log`."""
    return click.option("--log", is_flag=True, help="Write the call into the log (see palmette logs).")(function)


def settings_option(function: F) -> F:
    """Add --set, whose texts `parse_settings` reads."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE,…",
        help="Sampling settings, such as temperature=0.7,top_p=0.9; repeatable. See palmette explain --list.",
    )(function)


def generation_options(function: F) -> F:
    """Add the options of `Generation` to a command; it receives them under their names."""
    options = [
        click.option(
            "--view",
            "views",
            multiple=True,
            metavar="NAME[:ARG]",
            help="A view of the model's scores, such as top_p:0.9; repeatable, the first stands nearest to the model.",
        ),
        settings_option,
        click.option(
            "--dialect",
            metavar="NAME",
            help=f"Read --set as this program does: {', '.join(DIALECTS)} (paper unless given). Its views stand after "
            "those of --view and before a strategy's own.",
        ),
        click.option("--regex", metavar="PATTERN", help="The text must match this regular expression."),
        click.option("--choices", metavar="A,B,…", help="The text must be one of these."),
        click.option("--grammar", metavar="FILE", help="The text must be of this grammar (Lark)."),
        click.option(
            "--json-schema",
            metavar="FILE",
            help="The text must be a JSON document of this schema; it is complete within --max-tokens.",
        ),
        click.option("--seed", default=0, show_default=True, help="Same seed, same text."),
        click.option("--max-tokens", default=128, show_default=True, help="The most tokens of an answer."),
        click.option("--stop", multiple=True, metavar="TEXT", help="End an answer before this text; repeatable."),
        click.option("--heal", is_flag=True, help="Let the model respell the prompt's last token (token healing)."),
        click.option(
            "--engine",
            type=click.Choice(["auto", "numpy", "torch", "gguf"]),
            default="auto",
            show_default=True,
            help="What computes.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
            default="float32",
            show_default=True,
            help="Precision of the torch engine.",
        ),
        click.option("--device", default="cpu", show_default=True, help="Device of the torch engine: cpu, cuda, mps."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text."),
        debug_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


def read_text(path: str) -> str:
    """A text file, or an error that names it."""
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path!r}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path!r} is not text in UTF-8") from None


def positionals(words: Sequence[str]) -> tuple[str, str]:
    """(model, prompt) from the positionals: PROMPT, MODEL PROMPT, or MODEL with the prompt on standard input.

    `-` is standard input, and so is a prompt that is not given while something is piped in.
    """
    if len(words) > 2:
        raise UsageError(
            f"{len(words)} arguments where a model and a prompt are expected; put the prompt in quotes: {words[1]!r} …"
        )
    if len(words) == 2:
        return words[0], _standard_input() if words[1] == "-" else words[1]
    if not words:
        return DEFAULT_MODEL, _standard_input()
    if words[0] == "-":
        return DEFAULT_MODEL, _standard_input()
    if looks_like_model(words[0]) or is_remote(words[0]):
        return words[0], _standard_input()
    return DEFAULT_MODEL, words[0]


def _standard_input() -> str:
    text = "" if sys.stdin is None or sys.stdin.isatty() else _piped().removesuffix("\n")
    if not text:
        raise UsageError('no prompt: write it in quotes (palmette run "Once upon a time") or pipe it in')
    return text


def _piped() -> str:
    """Standard input as UTF-8, whatever the locale says; universal newlines, as the text layer reads them."""
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not text in UTF-8: byte {data[error.start]:#04x} at {error.start}"
        ) from None


def views_from(specs: Sequence[str], generation: Generation) -> list[View]:
    """Views from their specs; a view with a seed gets the run's."""
    return [build(VIEWS, s, "view", _converters(generation), {"seed": generation.seed}) for s in specs]


def common_views(specs: Sequence[str], generation: Generation) -> list[View]:
    """The constraint's view nearest to the model, the views of --view, then those of --dialect and --set."""
    return [*generation.constraint_views(), *views_from(specs, generation), *generation.dialect_views()]


def refuse_the_unfinished(decoding: Decoding, generation: Generation) -> None:
    """With a constraint, a text that was cut before it was complete is a failure."""
    for view in generation.constraint_views():
        for best in (run[0] for run in decoding.all_answers):
            if best.finish == "stop":
                raise PalmetteError("the text was cut by --stop before it was complete; leave --stop out")
            if not view.complete(decoding.gather, best.tokens):
                raise PalmetteError(
                    f"the text was cut after {generation.max_tokens} tokens, before it was complete; "
                    "allow more --max-tokens"
                )


def strategy_from(text: str, generation: Generation) -> tuple[Strategy, list[View]]:
    """A strategy from `NAME[:ARG][|VIEW…]`, with the views it brings along."""
    name, *specs = text.split("|")
    if not name.strip():
        raise BadParameter(f"{text!r} names no strategy before the '|'")
    strategy = build(STRATEGIES, name.strip(), "strategy", _converters(generation))
    check_strategy(generation.dialect_views(), strategy)
    return strategy, views_from([s.strip() for s in specs], generation)


def _converters(generation: Generation) -> dict[Any, Callable[[str], Any]]:
    return {Engine: generation.open}
