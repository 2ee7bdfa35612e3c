"""MCP: a real small server over stdio, HTTP and in memory; nothing that it says is trusted."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import palmette
from palmette.core.errors import UnknownName, UsageError
from palmette.core.message import Request, Response, ToolCall
from palmette.core.model import Capabilities
from palmette.core.waiting import BLOCKING, finished
from palmette.prompts.act.react import react
from palmette.prompts.task import Task
from palmette.prompts.tools.tool import Observation, toolset, use_tool

pytest.importorskip("mcp")
pytestmark = pytest.mark.filterwarnings("default")  # the SDK's own
from palmette.prompts.tools.mcp import McpServer  # noqa: E402

FILE = Path(__file__).parent / "mcp_server.py"
COMMAND = f"{sys.executable} {FILE} stdio"


def used(tools: Any, name: str, arguments: Any, approve: Any = None) -> Observation:
    return finished(use_tool(toolset(tools), name, arguments, BLOCKING, approve))


def yes(*_: Any) -> bool:
    return True


@pytest.fixture
def small() -> Any:
    """The server in this process, fresh."""
    sys.path.insert(0, str(FILE.parent))
    sys.modules.pop("mcp_server", None)
    try:
        return importlib.import_module("mcp_server")
    finally:
        sys.path.pop(0)


def test_tools_over_stdio_need_approval_and_are_checked(tmp_path: Path) -> None:
    with McpServer(COMMAND, allow=["add", "fail", "environment"], effects={"add": "read"}) as tools:
        assert [t.name for t in tools] == ["add", "fail", "environment"] and [t.effect for t in tools][:2] == [
            "read",
            "net",
        ]
        assert used(tools, "add", {"a": 2, "b": 3}).text == "5"
        assert used(tools, "add", {"a": "two", "b": 3}).failed == "schema"
        assert used(tools, "fail", {"why": "no"}).failed == "denied"
        failed = used(tools, "fail", {"why": "no reason"}, yes)
        assert failed.failed == "exception" and "no reason" in failed.text
        assert used(tools, "delete", {"file": "x"}, yes).failed == "unknown"
        names = used(tools, "environment", {}, yes).text.split()
        assert not [name for name in names if "KEY" in name or "TOKEN" in name]


def test_tools_over_http() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(FILE), "http", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.1)
        with McpServer(f"http://127.0.0.1:{port}/mcp", effects={"add": "pure"}) as tools:
            assert used(tools, "add", {"a": 20, "b": 3}).text == "23"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def opened(small: Any) -> Iterator[tuple[Any, list[Any]]]:
    with McpServer(small.server, effects={"add": "read"}, timeout=2.0) as tools:
        yield small, tools


def test_a_definition_that_changes_under_way_is_not_called(opened: Any) -> None:
    small, tools = opened
    assert used(tools, "add", {"a": 1, "b": 1}).text == "2"
    small.change()
    refused = used(tools, "add", {"a": 1, "b": 1})
    assert refused.failed == "denied" and "changed the definition" in refused.text


def test_a_slow_tool_is_a_timeout(opened: Any) -> None:
    begun = time.monotonic()
    seen = used(opened[1], "slow", {"seconds": 6}, yes)
    assert seen.failed in ("timeout", "exception") and time.monotonic() - begun < 8


def test_injected_text_cannot_trigger_an_mcp_tools_effect(opened: Any) -> None:
    small, tools = opened

    def obeys(request: Request) -> Response:
        if request.tool_choice == "final_answer":
            return Response((ToolCall("1", "final_answer", '{"answer": "done"}'),))
        return Response((ToolCall("1", "delete", '{"file": "all"}'),))

    model = palmette.scripted(obeys, capabilities=Capabilities(tools=True))
    react(model, Task(hint=False), tools, steps=3)("Sum up.")
    assert small.EFFECTS == []
    react(palmette.scripted(obeys, capabilities=Capabilities(tools=True)), Task(), tools, steps=3, approve=yes)("Do.")
    assert small.EFFECTS == ["all", "all"]


def test_pins_are_kept_between_sessions(tmp_path: Path, small: Any) -> None:
    pins = tmp_path / "pins.json"
    with McpServer(small.server, pins=pins):
        pass
    known = json.loads(pins.read_text())
    assert set(known["MCPServer"]) == {"add", "delete", "fail", "slow", "environment"}
    small.change()
    with pytest.raises(UsageError, match="changed its tool 'add' since it was pinned"):
        McpServer(small.server, pins=pins)
    with McpServer(small.server, pins=pins, allow=["delete"]) as tools:  # what is not seen cannot harm
        assert [t.name for t in tools] == ["delete"]
    pins.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        McpServer(small.server, pins=pins)


def test_what_is_no_server_is_said() -> None:
    with pytest.raises(UsageError, match="does not answer"):
        McpServer("false-command-that-is-not-there")
    with pytest.raises(UsageError, match="empty"):
        McpServer("  ")
    with pytest.raises(UnknownName, match="Did you mean 'add'"):
        McpServer(COMMAND, allow=["ad"])
