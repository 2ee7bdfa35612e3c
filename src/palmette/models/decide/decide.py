"""`palmette.decide`: typed questions about a state, put to any model, answered by a probability for every option."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from palmette.core.decision import Decision, Decisions, Question, State, questions_of
from palmette.core.engine import Engine
from palmette.core.errors import BadParameter, MissingKey, RequestRefused, Unsupported, UsageError
from palmette.core.model import Model
from palmette.core.waiting import BLOCKING, LOOP, Way, finished
from palmette.models.decide.asking import by_logprobs, by_native, by_samples
from palmette.models.decide.calibrate import (
    CONTENT_FREE,
    Calibration,
    check_examples,
    fitted,
    mean_prior,
    place_of,
)
from palmette.models.decide.exact import exact
from palmette.models.decide.wording import Wording
from palmette.models.local import LocalModel
from palmette.models.opening import model as open_model
from palmette.models.remote.model import RemoteModel, connect
from palmette.models.remote.providers import PROVIDERS

__all__ = ["adecide", "calibrate", "decide"]

Means = Literal["auto", "exact", "logprobs", "decisions", "systemone", "samples"]
MEANS = ("auto", "exact", "logprobs", "decisions", "systemone", "samples")
NATIVE = {"gpt-6-luna": "decisions"}  # models that have a decision endpoint and no other way
SAMPLES = 20


def decide(
    model: Model | Engine | str,
    state: State,
    questions: Mapping[str, Any],
    *,
    how: Means = "auto",
    samples: int = SAMPLES,
    seed: int | None = None,
    wording: Wording | str | None = None,
    calibration: Calibration | None = None,
) -> Decisions:
    """Ask typed questions about a state; every option of every question gets a probability.

    A model on this machine is asked for the exact likelihood of every option, of any number of tokens, for all
    questions in one forward pass; no question's answer depends on the others. An API is asked for the likeliest tokens
    of a one-token answer where it reports them, else for a number of answers, which are counted, and a note says why.

    Args:
        model: any, or its reference, or an engine.
        state: a text, JSON, or a conversation (messages).
        questions: by name: bool, Literal[…], an Enum, a list of texts, a range, or what `palmette.question` makes.
        how: "exact" (this machine), "logprobs", "samples", or a native endpoint, "decisions" or "systemone".
        samples: how many answers are counted, where they are.
        seed: of the answers that are counted.
        wording: a template of your own; see `palmette.Wording`.
        calibration: what `palmette.calibrate` has found for this model and these questions.

    Raises:
        Unsupported: if the model cannot be asked so.
        PromptTooLong: for a state that does not fit the context.

    >>> import palmette
    >>> from typing import Literal
    >>> asked = {"happy": bool, "mood": Literal["very good", "bad"], "stars": range(1, 11)}
    >>> found = palmette.decide("zoo:seedling", "Runa smiles.", asked)
    >>> found["mood"].best in ("very good", "bad"), round(sum(found["stars"].probabilities), 9)
    (True, 1.0)
    >>> found["happy"].how, 0 <= found["happy"].probability <= 1, found["stars"].expected <= 10
    ('exact', True, True)
    """
    return finished(_decide(model, state, questions, how, samples, seed, wording, calibration, BLOCKING))


async def adecide(model: Model | Engine | str, state: State, questions: Mapping[str, Any], **options: Any) -> Decisions:
    """`decide` in an event loop."""
    given: dict[str, Any] = {"how": "auto", "samples": SAMPLES, "seed": None, "wording": None, "calibration": None}
    unknown = next((name for name in options if name not in given), None)
    if unknown is not None:
        raise UsageError(f"decide takes no {unknown!r}; it takes {', '.join(given)}")
    how, samples, seed, wording, calibration = {**given, **options}.values()
    return await _decide(model, state, questions, how, samples, seed, wording, calibration, LOOP)


def calibrate(
    model: Model | Engine | str,
    questions: Mapping[str, Any],
    examples: Sequence[tuple[State, Mapping[str, Any]]] = (),
    *,
    contextual: bool = True,
    **options: Any,
) -> Calibration:
    """What makes a model's decisions mean what they say, for `decide(…, calibration=…)`.

    Args:
        model: any.
        questions: as for `decide`.
        examples: (state, right value by question), to fit a temperature to each question; the errors of calibration
            before and after are in `fits`.
        contextual: whether to take out what the model prefers in states without content.
        options: of `decide`: how, samples, seed, wording.

    >>> import palmette
    >>> asked = {"happy": bool}
    >>> labelled = [("Runa smiles.", {"happy": True}), ("She cries.", {"happy": False})]
    >>> found = palmette.calibrate("zoo:seedling", asked, labelled)
    >>> found.fits["happy"].examples, found.fits["happy"].temperature > 0
    (2, True)
    >>> palmette.decide("zoo:seedling", "Runa laughs.", asked, calibration=found)["happy"].how
    'exact'
    """
    who = _opened(model)
    names = list(questions)
    check_examples(examples, names)
    if not contextual and not examples:
        raise UsageError("there is nothing to calibrate with: give examples, or contextual=True")
    priors: dict[str, tuple[float, ...]] = {}
    if contextual:
        empty = [decide(who, state, questions, **options) for state in CONTENT_FREE]
        priors = {name: mean_prior(empty, name) for name in names}
    rows: dict[str, list[tuple[float, ...]]] = {}
    right: dict[str, list[int]] = {}
    for i, (state, values) in enumerate(examples):
        found = decide(who, state, {name: questions[name] for name in names if name in values}, **options)
        for name, value in values.items():
            rows.setdefault(name, []).append(found[name].probabilities)
            right.setdefault(name, []).append(place_of(found[name], value, f"example {i}, {name!r}"))
    fits = {name: fitted(rows[name], right[name], priors.get(name)) for name in rows}
    return Calibration(priors, fits)


async def _decide(
    model: Model | Engine | str, state: State, asked: Mapping[str, Any], how: Means, samples: int, seed: int | None,
    wording: Wording | str | None, calibration: Calibration | None, way: Way,
) -> Decisions:  # fmt: skip
    questions = questions_of(asked)
    if how not in MEANS:
        raise BadParameter(f"how must be one of {', '.join(MEANS)}, not {how!r}")
    if samples < 1:
        raise BadParameter(f"samples must be at least 1, not {samples!r}")
    if not state and state != {}:
        raise UsageError("the state is empty; say what the questions are about")
    words = Wording(wording) if isinstance(wording, str) else wording
    who = _opened(model)
    means = _means(who, how)
    if means == "exact":
        found = await way.call(_exact, who, state, questions, words)
    elif means in ("decisions", "systemone"):
        found = await by_native(_remote(who, means), state, questions, way, means)
    elif means == "samples":
        found = await by_samples(who, state, questions, way, words, samples, seed)
    else:
        try:
            found = await by_logprobs(who, state, questions, way, words)
        except (RequestRefused, Unsupported) as error:  # models that think first give no log-probabilities
            if how != "auto":
                raise
            found = await by_samples(who, state, questions, way, words, samples, seed)
            why = f"answers were counted, since the likeliest tokens could not be read: {error}"
            found = replace(found, notes=(*found.notes, why))
    return found if calibration is None else calibration(found)


def _exact(model: LocalModel, state: State, questions: tuple[Question, ...], wording: Wording | None) -> Decisions:
    logs, usage = exact(model.engine, state, questions, model.views, wording)
    answers = tuple(
        Decision(question, _shares(one, question), "exact") for question, one in zip(questions, logs, strict=True)
    )
    return Decisions(answers, model.id, usage)


def _shares(logs: tuple[float, ...], question: Question) -> tuple[float, ...]:
    """p(option | one of the options)."""
    found = np.array(logs)
    if not np.isfinite(found).any():
        raise BadParameter(f"the model gives no option of {question.name!r} any probability; are its views too strict?")
    weights = np.exp(found - found.max())
    return tuple((weights / weights.sum()).tolist())


def _opened(model: Model | Engine | str) -> Model:
    """A model; typesafe:NAME, which takes decisions alone, is no model of `palmette.model`."""
    if isinstance(model, Model):
        return model
    if isinstance(model, str) and model.startswith("typesafe:"):
        return typesafe(model.partition(":")[2])
    opened: Model = open_model(model)
    return opened


def typesafe(name: str, base_url: str | None = None) -> RemoteModel:
    """A decision model of TypeSafe, which answers at /v1/systemone and nowhere else."""
    base = base_url or os.environ.get("TYPESAFE_BASE_URL") or "https://api.typesafe.ai"
    key = os.environ.get("TYPESAFE_API_KEY")
    if not key:
        raise MissingKey("typesafe needs a key: set TYPESAFE_API_KEY")
    made = connect(f"vllm:{name}", key=key, base_url=base)
    return replace(made, id=f"typesafe:{name}", provider=replace(PROVIDERS["vllm"], name="typesafe", base=base))


def _means(model: Model, how: Means) -> Means:
    """How to ask, where nobody says it."""
    if how == "exact" and not isinstance(model, LocalModel):
        raise Unsupported(f"{model.id} does not give the scores of every token; a model on this machine does")
    if how != "auto":
        return how
    if isinstance(model, LocalModel):
        return "exact"
    if isinstance(model, RemoteModel) and model.provider.name == "typesafe":
        return "systemone"
    if isinstance(model, RemoteModel) and model.name in NATIVE:
        return "decisions"
    return "logprobs" if (model.capabilities.top_logprobs or 0) > 1 else "samples"


def _remote(model: Model, how: str) -> RemoteModel:
    if not isinstance(model, RemoteModel):
        raise Unsupported(f"{model.id} is behind no API, so it has no endpoint {how!r}")
    return model
