"""Structured answers of a model: exact choices, filled templates, programs written by you and the model in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from palmette.core.engine import Engine
from palmette.models.local import LocalModel, opened
from palmette.tokens.structure.choice import Choice, choose
from palmette.tokens.structure.template import Filled, Program
from palmette.tokens.views.base import compose

if TYPE_CHECKING:
    from palmette.models.remote.model import RemoteModel

__all__ = ["choice", "fill", "program"]


def choice(
    source: LocalModel | Engine | str, prompt: str, options: Sequence[str], *, end: bool = False, mean: bool = False
) -> Choice:
    """The exact distribution over options after a prompt, from one forward pass over all of them.

    Args:
        source: a model, an engine or a model reference; a model's views are looked through.
        prompt: text.
        options: the answers; write the space that stands before them, as in " yes".
        end: whether an option must also end the text; without it options must not begin one another.
        mean: compare means of log p per token instead of sums.

    >>> found = choice("zoo:seedling", "Runa is very", [" happy", " sad"])
    >>> found.best in (" happy", " sad"), round(sum(found.probabilities), 6)
    (True, 1.0)
    """
    model = opened(source)
    tokens = model.engine.tokenizer.encode(prompt) if prompt else []
    return choose(compose(model.engine, model.views), tokens, options, end=end, mean=mean)


def program(source: LocalModel | Engine | str, prompt: str = "") -> Program:
    """A text that grows by your words (`say`) and by the model's (`fill`, `choose`); see `Program`."""
    return Program.begin(opened(source).engine, prompt)


def fill(source: LocalModel | RemoteModel | Engine | str, template: str, **options: Any) -> Filled:
    """Fill the holes of a template; everything else stands as it is written.

    Holes are `{name:kind}`: text, until(STOP), word, regex(PATTERN), choice(a,b), int, int(1,99), float, bool, date,
    list(KIND). Limits follow after a comma: max=30 (tokens), stop=…; lists take sep=…, least=…, most=….

    Args:
        source: a model, an engine or a model reference; a model's views, strategy and seed are used. A model behind an
            API is asked for gap after gap, and its answers are checked (options: where, tries, and those of a call).
        template: begins with text.
        options: strategy, views, where, max_tokens, seed: see `Program.fill`.

    >>> done = fill("zoo:seedling", "Name: {name:regex([A-Z][a-z]{2,6})}\\nAge: {age:int(1,99)}.")
    >>> sorted(done.values)
    ['age', 'name']
    """
    if not isinstance(source, str) and hasattr(source, "provider"):
        from palmette.models.remote.fill import fill_remote

        return fill_remote(cast("RemoteModel", source), template, **options)
    model = opened(source)
    known = {k: v for k, v in model.options.items() if k in ("max_tokens", "seed")}
    given = {"strategy": model.strategy, **known, **options, "views": (*model.views, *options.get("views", ()))}
    done = Program.begin(model.engine).fill(template, **given)
    return Filled(done.text, done.values, done.logprob)
