"""A typed function with a docstring is a tool: its schema, what it may do, and limits on how it does it.

Whatever happens in a tool becomes an observation: an unknown name, arguments that do not fit, an exception, a time that
is up, a refusal. What a tool *does* to the world (its effect) needs approval; nothing that a tool says can give it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args, get_type_hints

from palmette.core.errors import BadParameter, ConstraintError, near_miss
from palmette.core.message import Tool
from palmette.core.types import schema_of, value_of
from palmette.core.waiting import Way
from palmette.prompts.reading import plain, said

__all__ = ["Approve", "Effect", "FunctionTool", "Observation", "tool", "toolset", "use_tool"]

Effect = Literal["pure", "read", "write", "net"]
Approve = Callable[["FunctionTool", Mapping[str, Any]], bool]
FREE: tuple[Effect, ...] = ("pure", "read")
CAP = 4000
LONGEST_ERROR = 2000
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


@dataclass(frozen=True)
class Observation:
    """What a tool gave.

    Args:
        text: for the model to read; without control characters, and cut at the tool's cap.
        failed: "" or what went wrong: unknown, schema, exception, timeout, denied.
        seconds: how long it took.
    """

    text: str
    failed: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class FunctionTool:
    """A function that a model may call. Made by `tool`.

    Args:
        spec: what the model reads of it.
        function: what is called, with the arguments as keywords; it may be a coroutine function.
        effect: pure and read run freely; write and net only if they are approved.
        timeout: seconds.
        cap: the most characters of an observation.
        kinds: the types of the parameters, by which arguments become values.
        check: another check of the arguments, which raises ConstraintError.
    """

    spec: Tool
    function: Callable[..., Any] = field(repr=False)
    effect: Effect = "read"
    timeout: float = 30.0
    cap: int = CAP
    kinds: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    check: Callable[[Mapping[str, Any]], None] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    def __call__(self, *args: Any, **arguments: Any) -> Any:
        """Call the function as it is."""
        return self.function(*args, **arguments)

    async def use(self, arguments: Mapping[str, Any], way: Way, approve: Approve | None = None) -> Observation:
        """Call it for a model: checked, approved, limited; nothing is raised."""
        begun = time.monotonic()
        observed = await self._used(arguments, way, approve)
        return replace(observed, text=clean(observed.text, self.cap), seconds=time.monotonic() - begun)

    async def _used(self, arguments: Mapping[str, Any], way: Way, approve: Approve | None) -> Observation:
        try:
            values = self.read(arguments)
        except ConstraintError as error:
            return _error("schema", str(error))
        if self.effect not in FREE:
            try:
                allowed = approve is not None and await way.call(approve, self, values)
            except Exception as error:  # an approval that fails is none
                return _error("denied", f"{self.name} was not approved: {type(error).__name__}")
            if allowed is not True:
                return _error("denied", f"{self.name} has an effect ({self.effect}) and was not approved")
        try:
            if inspect.iscoroutinefunction(self.function):
                found = await way.call(_in_time, lambda: _alone(self.function(**values)), self.timeout)
            else:
                found = await way.call(_in_time, lambda: self.function(**values), self.timeout)
        except TimeoutError:
            return _error("timeout", f"{self.name} took longer than {self.timeout:g} s")
        except Exception as error:  # whatever a tool raises is told to the model
            return _error("exception", f"{type(error).__name__}: {error}")
        return found if isinstance(found, Observation) else Observation(_told(found))

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as values of the parameters' types.

        Raises:
            ConstraintError: if they do not fit.
        """
        if not isinstance(arguments, Mapping):
            raise ConstraintError(f"arguments are an object, not {arguments!r}")
        if self.check is not None:
            self.check(arguments)
        if not self.kinds:
            return dict(arguments)
        for name in arguments:
            if name not in self.kinds:
                raise ConstraintError(f"{self.name} has no argument {name!r}.{near_miss(name, self.kinds)}")
        for name in self.spec.parameters.get("required", ()):
            if name not in arguments:
                raise ConstraintError(f"{self.name} lacks the argument {name!r}")
        return {name: value_of(self.kinds[name], value, f"/{name}") for name, value in arguments.items()}


def tool(
    function: Callable[..., Any] | None = None, *, name: str = "", effect: Effect = "read", timeout: float = 30.0,
    cap: int = CAP,
) -> Any:  # fmt: skip
    """Make a tool of a function; also a decorator.

    Args:
        function: with a docstring and a type for each parameter; lines under `Args:` describe them.
        name: what the model calls it; the function's name unless given.
        effect: "pure" (the same for the same arguments), "read" (looks at something), "write" (changes something),
            "net" (talks to others). The last two run only if they are approved.
        timeout: seconds after which the model is told that it took too long.
        cap: the most characters of what it says.

    Raises:
        BadParameter: for a function whose schema cannot be known.

    >>> @tool(effect="pure")
    ... def add(a: int, b: int) -> int:
    ...     '''Add two numbers.'''
    ...     return a + b
    >>> add.spec.parameters["required"], add(2, 3)
    (['a', 'b'], 5)
    """
    if function is None:
        return lambda given: tool(given, name=name, effect=effect, timeout=timeout, cap=cap)
    if effect not in get_args(Effect):
        raise BadParameter(f"effect must be one of {', '.join(get_args(Effect))}, not {effect!r}")
    called = name or function.__name__
    if not 1 <= len(called) <= 64 or any(letter not in _NAME for letter in called):
        raise BadParameter(f"a tool's name is 1 to 64 letters, digits, _ and -, not {called!r}")
    doc = inspect.getdoc(function) or ""
    if not doc:
        raise BadParameter(f"the tool {called!r} needs a docstring: it is what the model reads")
    kinds, schema = _parameters(function, called, doc)
    text = doc.partition("\n\nArgs:")[0].strip()
    return FunctionTool(Tool(called, text, schema), function, effect, timeout, cap, kinds)


def toolset(tools: Sequence[Any]) -> dict[str, FunctionTool]:
    """Tools by name; a plain function becomes a tool.

    Raises:
        BadParameter: for two of one name.
    """
    made: dict[str, FunctionTool] = {}
    for each in tools:
        one = each if isinstance(each, FunctionTool) else cast(FunctionTool, tool(each))
        if one.name in made:
            raise BadParameter(f"two tools are called {one.name!r}")
        made[one.name] = one
    return made


async def use_tool(
    tools: Mapping[str, FunctionTool], name: str, arguments: Any, way: Way, approve: Approve | None = None
) -> Observation:
    """Call a tool by name with arguments as JSON text or as a mapping; whatever is wrong is an observation."""
    if name not in tools:
        return _error("unknown", f"there is no tool {name!r}.{near_miss(name, tools)} There are: {', '.join(tools)}")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            return _error("schema", f"the arguments are no JSON: {error}")
    return await tools[name].use(arguments, way, approve)


def clean(text: str, cap: int = CAP) -> str:
    """Text without control characters, cut at `cap` characters with a mark of how much was cut.

    >>> clean("a\\x1b[31mb"), clean("abcdef", 3)
    ('a[31mb', 'abc … (3 more characters)')
    """
    kept = "".join(c for c in text[: cap * 2] if c in "\n\t" or (c.isprintable() or c == " "))
    more = len(text) - cap
    return kept[:cap] + (f" … ({more} more characters)" if more > 0 else "")


def _error(kind: str, text: str) -> Observation:
    return Observation(f"Error ({kind}): {text[:LONGEST_ERROR]}", kind)


def _told(value: Any) -> str:
    try:
        return said(value if isinstance(value, str) else plain(value))
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _in_time(work: Callable[[], Any], seconds: float) -> Any:
    """Run in a thread of its own; a thread that hangs is left behind, since nothing can end it."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body, daemon=True, name="palmette-tool")
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0] if isinstance(failed[0], Exception) else RuntimeError(repr(failed[0]))
    if not found:
        raise TimeoutError
    return found[0]


def _alone(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await work

    return asyncio.run(main())


def _parameters(function: Callable[..., Any], name: str, doc: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(types, schema) of a function's parameters."""
    hints = get_type_hints(function, include_extras=True)
    notes = _notes(doc)
    kinds: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    shared: dict[str, Any] = {}
    for each in inspect.signature(function).parameters.values():
        if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL, each.POSITIONAL_ONLY):
            raise BadParameter(f"the tool {name!r} has the parameter {each}; only named ones have a schema")
        if each.name not in hints:
            raise BadParameter(f"the tool {name!r} needs a type for its parameter {each.name!r}")
        kinds[each.name] = hints[each.name]
        schema = dict(schema_of(hints[each.name]))
        shared |= schema.pop("$defs", {})
        described = {"description": notes[each.name]} if each.name in notes else {}
        properties[each.name] = {**schema, **described}
        if each.default is each.empty:
            required.append(each.name)
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return kinds, {**whole, "$defs": shared} if shared else whole


def _notes(doc: str) -> dict[str, str]:
    notes: dict[str, str] = {}
    current = ""
    for line in doc.partition("Args:\n")[2].split("\n"):
        if not line.startswith("    "):
            break
        head, colon, rest = line.strip().partition(": ")
        if colon and head.isidentifier() and not line.startswith("     "):
            current, notes[head] = head, rest
        elif current:
            notes[current] += " " + line.strip()
    return notes
