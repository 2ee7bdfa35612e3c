"""The workbench as an MCP server on standard input and output: models to ask, choices to weigh, settings to explain.

Only the models that were named when the server was started can be asked: a client opens no other, and reads no file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from palmette import __version__
from palmette.core.errors import MissingExtra, PalmetteError, UnknownModel
from palmette.core.message import Message, Output, Request
from palmette.core.model import Model
from palmette.models.decide.decide import adecide
from palmette.models.opening import model as opened
from palmette.tokens.dialect import explain

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError as error:
    raise MissingExtra("palmette serve --mcp", "mcp") from error

__all__ = ["mcp_server", "run_mcp"]


class _Bench:
    """The models of a server, opened when they are first asked."""

    def __init__(self, references: Sequence[str]) -> None:
        self.references = list(references)
        self._open: dict[str, Model] = {}

    def __call__(self, name: str) -> Model:
        chosen = name or self.references[0]
        if chosen not in self.references:
            raise UnknownModel("model", chosen, self.references)
        if chosen not in self._open:
            self._open[chosen] = opened(chosen)
        return self._open[chosen]


def mcp_server(references: Sequence[str]) -> MCPServer:
    """An MCP server with these models.

    >>> server = mcp_server(["zoo:seedling"])
    >>> server.name
    'palmette'
    """
    bench = _Bench(references)
    names = ", ".join(references)
    server = MCPServer("palmette", version=__version__, log_level="ERROR", instructions=f"Models: {names}.")

    @server.tool()
    def models() -> list[dict[str, Any]]:
        """List the models that can be asked, and what each of them can do."""
        return [{"model": name, "can": _able(bench(name))} for name in references]

    @server.tool()
    async def ask(
        prompt: str, model: str = "", system: str = "", max_tokens: int = 256, temperature: float | None = None,
        seed: int | None = None, json_schema: dict[str, Any] | None = None, regex: str = "",
        choices: list[str] | None = None, strategy: str = "", n_best: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """Ask a model. The answer can be held to a JSON schema, a regular expression or one of some choices.

        strategy (greedy, beam:4, sample …) and n_best (how many of its answers, with scores) are for models on this
        machine.
        """
        forms = {"json": json_schema, "regex": regex or None, "choices": tuple(choices) if choices else None}
        given = [(kind, value) for kind, value in forms.items() if value is not None]
        if len(given) > 1:
            raise ToolError("an answer has one form: json_schema, regex or choices")
        output = Output(given[0][0], given[0][1]) if given else None  # type: ignore[arg-type]
        turns = [Message.of("system", system)] if system else []
        extra = {k: v for k, v in (("strategy", strategy), ("n_best", n_best)) if v}
        said = (*turns, Message.of("user", prompt))
        request = Request(said, max_tokens=max_tokens, temperature=temperature, seed=seed, output=output, extra=extra)
        try:
            response = await bench(model).arespond(request)
        except PalmetteError as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error
        more = response.raw.get("palmette", {}) if isinstance(response.raw, dict) else {}
        return {"text": response.text, "finish": response.finish, "notes": list(response.notes), **more}

    @server.tool()
    async def decide(state: str, questions: dict[str, Any], model: str = "") -> dict[str, Any]:
        """Give every option of every question a probability. A question is "bool", or a list of options."""
        asked = {name: bool if kind == "bool" else [str(one) for one in kind] for name, kind in questions.items()}
        try:
            found = await adecide(bench(model), state, asked)
        except PalmetteError as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error
        return {name: {"best": found[name].best, "probabilities": list(found[name].probabilities)} for name in asked}

    @server.tool()
    def explain_settings(settings: dict[str, float]) -> str:
        """Say what sampling settings (temperature, top_p, min_p …) mean in transformers, llama.cpp and vLLM."""
        try:
            return str(explain(settings))
        except PalmetteError as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error

    return server


def run_mcp(references: Sequence[str]) -> int:
    """Serve on standard input and output until it closes; returns the exit code."""
    mcp_server(references).run("stdio")
    return 0


def _able(model: Model) -> list[str]:
    can = dataclasses.asdict(model.capabilities)
    return json.loads(json.dumps([name for name, value in can.items() if value not in (False, None)]))  # type: ignore[no-any-return]
