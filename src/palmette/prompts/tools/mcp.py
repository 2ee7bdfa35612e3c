"""Tools of a server that speaks the Model Context Protocol (extra `mcp`, SDK 2.x), over stdio or HTTP.

What a server says of its tools is not trusted: each counts as having an effect (net) and needs approval unless you say
otherwise; only those on your list are seen; and a definition that changes after it was pinned is refused, so that a
tool which was approved cannot become another one.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import os
import shlex
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, cast

from palmette.core.errors import ConstraintError, MissingExtra, PalmetteError, UnknownName, UsageError
from palmette.core.message import Tool
from palmette.prompts.tools.tool import CAP, Effect, FunctionTool, Observation

__all__ = ["McpServer", "McpTool", "mcp_tools", "pin_of"]

CONNECT = 30.0  # seconds


class McpTool(Protocol):
    """A definition as a server gives it."""

    name: str
    description: str | None
    input_schema: Mapping[str, Any]


def mcp_tools(
    server: Any, *, allow: Sequence[str] | None = None, effects: Mapping[str, Effect] | None = None,
    pins: str | Path | None = None, timeout: float = 30.0, cap: int = CAP,
) -> list[FunctionTool]:  # fmt: skip
    """The tools of a server; the connection lives until the program ends (see `McpServer` to close it yourself).

    Args:
        server: a command line, a URL, or a server object of the SDK.
        allow: the only tools that are seen; all unless given.
        effects: name -> what a tool may do, such as "read", where you know it; "net" for all others.
        pins: a file of definitions' hashes: written at first use, compared ever after.
        timeout: seconds of a call.
        cap: the most characters of an observation.

    Raises:
        MissingExtra: without the SDK.
        UsageError: for a server that does not answer, a name that it does not have, or a definition that changed.
    """
    opened = McpServer(server, allow=allow, effects=effects, pins=pins, timeout=timeout, cap=cap)
    atexit.register(opened.close)
    return opened.tools


def pin_of(tool: McpTool) -> str:
    """The SHA-256 of a definition: name, description and schema."""
    told = [tool.name, tool.description or "", tool.input_schema]
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class McpServer:
    """A connection, kept by a thread of its own; also a context manager that gives the tools.

    Args: as `mcp_tools`.
    """

    def __init__(
        self, server: Any, *, allow: Sequence[str] | None = None, effects: Mapping[str, Effect] | None = None,
        pins: str | Path | None = None, timeout: float = 30.0, cap: int = CAP,
    ) -> None:  # fmt: skip
        self.name = server if isinstance(server, str) else type(server).__name__
        self._timeout, self._cap = timeout, cap
        self._target = _target(server)
        self._loop = asyncio.new_event_loop()
        self._client: Any = None
        self._end = asyncio.Event()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True, name="palmette-mcp")
        self._thread.start()
        try:
            self._ready.result(CONNECT)
            found = self._do(self._listed())
            self._pins = {tool.name: pin_of(tool) for tool in found}
            _compare(self.name, self._pins, Path(pins) if pins is not None else None, allow)
            self.tools = self._tools(found, allow, effects or {})
        except PalmetteError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise UsageError(f"the MCP server {self.name!r} does not answer: {_said(error)}") from error

    def __enter__(self) -> list[FunctionTool]:
        return self.tools

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and the server if it was started here."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)

    def _run(self) -> None:
        async def live() -> None:
            from mcp import Client

            try:
                async with Client(self._target, read_timeout_seconds=self._timeout) as self._client:
                    self._ready.set_result(None)
                    await self._end.wait()
            except BaseException as error:
                if not self._ready.done():
                    self._ready.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(live())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(self._timeout + 5)

    async def _listed(self) -> list[McpTool]:
        """All definitions, asked anew."""
        found: list[McpTool] = []
        cursor: str | None = None
        for _ in range(100):
            page = await self._client.list_tools(cursor=cursor, cache_mode="refresh")
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    def _tools(
        self, found: Sequence[McpTool], allow: Sequence[str] | None, effects: Mapping[str, Effect]
    ) -> list[FunctionTool]:
        names = [tool.name for tool in found]
        for wanted in (*(allow or ()), *effects):
            if wanted not in names:
                raise UnknownName(f"tool of the MCP server {self.name!r} is called", wanted, names)
        return [
            FunctionTool(
                Tool(tool.name, tool.description or tool.name, dict(tool.input_schema)), self._caller(tool.name),
                effects.get(tool.name, "net"), self._timeout, self._cap, check=_checker(tool),
            )
            for tool in found if allow is None or tool.name in allow
        ]  # fmt: skip

    def _caller(self, name: str) -> Any:
        def call(**arguments: Any) -> Observation:
            return cast(Observation, self._do(self._called(name, arguments)))

        return call

    async def _called(self, name: str, arguments: Mapping[str, Any]) -> Observation:
        now = {tool.name: pin_of(tool) for tool in await self._listed()}
        if now.get(name) != self._pins[name]:
            return Observation(
                f"Error (denied): the server changed the definition of {name}; it was not called", "denied"
            )
        reply = await self._client.call_tool(name, dict(arguments))
        parts = [part.text if hasattr(part, "text") else f"<{part.type}>" for part in reply.content]
        text = "\n".join(parts) or json.dumps(reply.structured_content or {}, ensure_ascii=False)
        return Observation(f"Error (exception): {text}", "exception") if reply.is_error else Observation(text)


def _target(server: Any) -> Any:
    try:
        from mcp import StdioServerParameters
    except ImportError as error:
        raise MissingExtra("an MCP server", "mcp") from error
    if not isinstance(server, str):
        return server
    if server.startswith(("http://", "https://")):
        return server
    words = shlex.split(server)
    if not words:
        raise UsageError("an MCP server is a command line or a URL, not an empty text")
    return StdioServerParameters(command=words[0], args=words[1:])  # with the SDK's short list of variables, no keys


def _checker(tool: McpTool) -> Any:
    """Checks arguments against the definition's schema, of whatever draft."""
    import jsonschema_rs

    try:
        validator = jsonschema_rs.validator_for(dict(tool.input_schema))
    except ValueError as error:
        raise UsageError(f"the MCP tool {tool.name!r} has no schema that can be used: {error}") from error

    def check(arguments: Mapping[str, Any]) -> None:
        wrong = next(iter(validator.iter_errors(dict(arguments))), None)
        if wrong is not None:
            path = "/".join(map(str, wrong.instance_path))
            raise ConstraintError(f"at /{path}: {wrong.message}")

    return check


def _compare(server: str, found: Mapping[str, str], file: Path | None, allow: Sequence[str] | None) -> None:
    """Compare definitions with the pinned ones, or pin them."""
    if file is None:
        return
    try:
        known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"the pins in {str(file)!r} cannot be read: {error}") from error
    pinned = known.get(server, {})
    for name, pin in found.items():
        if name in pinned and pinned[name] != pin and (allow is None or name in allow):
            raise UsageError(
                f"the MCP server {server!r} changed its tool {name!r} since it was pinned; look at what it says now, "
                f"and take its line out of {str(file)!r} if you agree"
            )
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps({**known, server: {**found, **pinned}}, indent=1, sort_keys=True) + "\n", "utf-8")
    os.replace(partial, file)


def _said(error: BaseException) -> str:
    """An error in words; of a group the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
