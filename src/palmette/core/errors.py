"""The one exception tree. Every message quotes the offending value and says what to do.

PalmetteError                     exit code 1
├── UsageError                    exit code 2: the caller asked for something that cannot be
│   ├── UnknownName               a model, strategy, view, parameter or dialect that is not in its table
│   │   └── UnknownModel
│   ├── BadParameter              a known parameter with a value out of its range
│   ├── EmptyPrompt               nothing to continue
│   ├── PromptTooLong             more tokens than the context holds
│   ├── DocumentError             a document that cannot be read: its encoding, size or kind
│   ├── NotRecorded               a replayed model was asked what was not recorded; says what differs
│   ├── RecipeError               a merge recipe that cannot be understood or carried out: where in it, and why
│   └── ConstraintError           a constraint that cannot be built, with the reason
│       ├── GrammarError          a regex or grammar
│       ├── SchemaError           a schema: the path in it and the reason
│       │   └── Unsatisfiable     a schema that no document satisfies
│       └── BudgetTooSmall        no complete answer fits into max_tokens; says how many tokens one needs
├── MissingExtra                  an optional dependency is not installed
├── Busy                          too many requests wait already; says when to come back
├── Unsupported                   this engine cannot give what was asked of it
├── EmptySupport                  no token may follow a prefix
├── Unanswered                    a technique's answer cannot be read as the task's type; carries the result
├── BudgetSpent                   a technique has made as many calls as it may
├── OverBudget                    a call could cost more than is left; it was not made
├── ProviderError                 an API did not answer as it should; carries the HTTP status
│   ├── MissingKey                no key in the environment
│   ├── Offline                   PALMETTE_OFFLINE is set: nothing is sent
│   ├── KeyRefused                401, 403
│   ├── NotServed                 404: no such model or address
│   ├── RequestRefused            400, 413, 422
│   ├── RateLimited               429
│   ├── ProviderFailed            5xx, or an error in the middle of a stream
│   ├── NoConnection              the host cannot be reached, or the connection broke
│   ├── TimedOut                  silence, or the total time was up
│   └── BadAnswer                 no JSON, no stream, cut off, too large
├── StoreError                    a knowledge graph's store cannot be used
│   ├── StoreLocked               another process is writing
│   ├── StoreReadOnly             it may be read, and not written
│   ├── NewerStore                a later version of Palmette wrote it
│   └── NotAStore                 some other file or database
├── OutputError                   a result cannot be written: a full disk, a folder in the way
├── ClusterError                  a Ray cluster cannot be reached, or lost a worker
└── ModelError                    a model cannot be loaded or run
    ├── ModelNotFound             no such folder, repository or cached snapshot
    ├── UnsafeCheckpoint          pickled weights or remote code
    ├── CorruptCheckpoint         a file that contradicts itself
    ├── ConfigMismatch            config.json and the weights disagree
    ├── MismatchedModels          models that cannot be merged: shapes, vocabularies or tensors differ
    ├── NotFinite                 a weight is NaN or infinite
    └── UnsupportedArchitecture   an architecture that no engine runs correctly
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "BadAnswer",
    "BadParameter",
    "BudgetSpent",
    "BudgetTooSmall",
    "Busy",
    "ClusterError",
    "ConfigMismatch",
    "ConstraintError",
    "CorruptCheckpoint",
    "DocumentError",
    "EmptyPrompt",
    "EmptySupport",
    "GrammarError",
    "KeyRefused",
    "MismatchedModels",
    "MissingExtra",
    "MissingKey",
    "ModelError",
    "ModelNotFound",
    "NewerStore",
    "NoConnection",
    "NotAStore",
    "NotFinite",
    "NotRecorded",
    "NotServed",
    "Offline",
    "OutputError",
    "OverBudget",
    "PalmetteError",
    "PromptTooLong",
    "ProviderError",
    "ProviderFailed",
    "RateLimited",
    "RecipeError",
    "RequestRefused",
    "SchemaError",
    "StoreError",
    "StoreLocked",
    "StoreReadOnly",
    "TimedOut",
    "Unanswered",
    "UnknownModel",
    "UnknownName",
    "UnsafeCheckpoint",
    "Unsatisfiable",
    "Unsupported",
    "UnsupportedArchitecture",
    "UsageError",
    "near_miss",
]


class PalmetteError(Exception):
    """The root of every error that Palmette raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """How pickle writes it, so that an error of another process arrives as it was raised."""
        return _as_raised, (type(self), self.args, self.__dict__)


def _as_raised(kind: type[PalmetteError], arguments: tuple[Any, ...], state: dict[str, Any]) -> PalmetteError:
    made = kind.__new__(kind, *arguments)
    made.args = arguments  # what `Exception` was given; the initialiser takes other things
    made.__dict__.update(state)
    return made


class UsageError(PalmetteError):
    """The request itself is wrong; nothing was started."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that its table does not hold.

    >>> raise UnknownName("strategy", "baem", ["beam", "greedy"])
    Traceback (most recent call last):
    ...
    palmette.core.errors.UnknownName: no strategy 'baem'. Did you mean 'beam'? Known: beam, greedy.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = list(known)
        listed = f" Known: {', '.join(names)}." if names else ""
        super().__init__(f"no {kind} {name!r}.{near_miss(name, names)}{hint or listed}")
        self.name = name


class UnknownModel(UnknownName):
    """A model reference whose scheme or name is not known."""


class BadParameter(UsageError):
    """A parameter outside its range, or of the wrong type."""


class EmptyPrompt(UsageError):
    """A prompt without a single token."""


class PromptTooLong(UsageError):
    """A prompt that does not fit the context; it is never truncated silently."""


class DocumentError(UsageError):
    """A document that cannot be read as text; the message names it."""


class NotRecorded(UsageError):
    """A replayed model was asked what was not recorded."""


class RecipeError(UsageError):
    """A merge recipe that cannot be understood or carried out. `path` says where in it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"recipe at {path}: {reason}" if path else f"recipe: {reason}")
        self.path = path
        self.reason = reason


class ConstraintError(UsageError):
    """A constraint that cannot be built."""


class GrammarError(ConstraintError):
    """A regex, choice list or grammar that cannot be compiled, or not within the limits."""


class SchemaError(ConstraintError):
    """A schema that cannot be compiled. `path` is a JSON pointer into it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"schema at {path or '/'}: {reason}")
        self.path = path
        self.reason = reason


class Unsatisfiable(SchemaError):
    """A schema that no document satisfies."""


class BudgetTooSmall(ConstraintError):
    """No complete answer fits into the budget; `needs` tokens would do."""

    def __init__(self, needs: int, budget: int) -> None:
        super().__init__(
            f"max_tokens is {budget}, but the shortest complete answer found needs {needs}; allow that many"
        )
        self.needs = needs


class MissingExtra(PalmetteError):
    """An optional dependency is missing; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'palmette[{extra}]'")


class Busy(PalmetteError):
    """Too many requests wait already; `retry_after` seconds later there may be room."""

    def __init__(self, text: str, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Unsupported(PalmetteError):
    """The engine or model lacks a capability that the request needs."""


class ProviderError(PalmetteError):
    """An API did not answer as it should; `status` is the HTTP status, `headers` what it told of limits, if it did."""

    advice = ""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers: Mapping[str, str] = {}


class MissingKey(ProviderError):
    """A provider needs a key and there is none."""


class Offline(ProviderError):
    """PALMETTE_OFFLINE is set: nothing is sent to anybody."""


class KeyRefused(ProviderError):
    """The key is wrong, or does not allow this."""

    advice = "; check the key and what it allows"


class NotServed(ProviderError):
    """The provider has no such model or address."""

    advice = "; check the model's name and the base URL"


class RequestRefused(ProviderError):
    """The provider does not take the request as it is."""


class RateLimited(ProviderError):
    """Too many requests or tokens; trying again later helps."""

    advice = "; wait, or ask for a higher limit"


class ProviderFailed(ProviderError):
    """The provider failed at a request that was right."""

    advice = "; try again later"


class NoConnection(ProviderError):
    """The host cannot be reached, or the connection broke."""


class TimedOut(ProviderError):
    """The answer took too long."""


class BadAnswer(ProviderError):
    """The answer is not what this kind of API answers, or is not whole."""


class EmptySupport(PalmetteError):
    """No token is left to continue a prefix."""


class Unanswered(PalmetteError):
    """A technique came to no answer that can be read; `result` says what was asked and replied."""

    def __init__(self, reason: str, result: object = None) -> None:
        super().__init__(reason)
        self.result = result


class BudgetSpent(PalmetteError):
    """A technique has made as many calls as it may."""


class StoreError(PalmetteError):
    """A knowledge graph's store cannot be used."""


class StoreLocked(StoreError):
    """Another process is writing to the store; trying again later helps."""


class StoreReadOnly(StoreError):
    """The store may be read, and not written."""


class NewerStore(StoreError):
    """A later version of Palmette wrote the store; this one leaves it alone."""


class NotAStore(StoreError):
    """A file or database that holds something else than a knowledge graph."""


class OverBudget(PalmetteError):
    """A call could cost more than is left of a budget; it was not made."""


class OutputError(PalmetteError):
    """A result cannot be written."""


class ClusterError(PalmetteError):
    """A Ray cluster cannot be reached, or a worker of it was lost."""


class ModelError(PalmetteError):
    """A model cannot be loaded or run."""


class ModelNotFound(ModelError):
    """No such folder, hub repository or cached snapshot."""


class UnsafeCheckpoint(ModelError):
    """Weights or code that could execute on loading; refused without a fallback."""


class CorruptCheckpoint(ModelError):
    """A model file whose declared sizes contradict its contents."""


class ConfigMismatch(ModelError):
    """config.json describes other tensors than the weights hold."""


class MismatchedModels(ModelError):
    """Models whose tensors, shapes or vocabularies do not fit together."""


class NotFinite(ModelError):
    """A weight that is NaN or infinite; it would spread through a merge."""


class UnsupportedArchitecture(ModelError):
    """No engine here runs this architecture correctly, so none runs it at all."""


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` when a known name is close, else an empty string."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.55)
    return f" Did you mean {close[0]!r}?" if close else ""
