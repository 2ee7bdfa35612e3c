"""`palmette serve`: any model behind every API."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError
from palmette.models.resolve import DEFAULT_MODEL
from palmette.serve.settings import ModelSettings, Settings, fingerprint, read_settings

__all__ = ["command"]


@click.command("serve", short_help="Serve models behind the APIs of OpenAI, Anthropic, Gemini, Cohere and Ollama.")
@click.argument("models", nargs=-1, metavar="[NAME=]MODEL…")
@click.option("--config", metavar="FILE", help="A TOML file with [server] and [models.NAME] tables.")
@click.option("--host", help="Where to listen; another than this machine needs a key.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any that is free.  [default: 8040]")
@click.option("--strategy", metavar="NAME[:ARG]", help="How tokens are chosen, such as greedy or beam:4.")
@click.option("--view", "views", multiple=True, metavar="NAME[:ARG]", help="A view of the scores, such as top_p:0.9.")
@click.option("--json-schema", metavar="FILE", help="Every answer is a document of this schema.")
@click.option(
    "--engine-url", metavar="URL", help="A vLLM, llama-server or other server behind MODEL, such as vllm:NAME."
)
@click.option("--engine", type=click.Choice(["auto", "numpy", "torch"]), default="auto", help="What computes.")
@click.option("--dtype", default="float32", help="Precision of the torch engine.")
@click.option("--device", default="cpu", help="Device of the torch engine: cpu, cuda, mps.")
@click.option("--log", metavar="FILE", help="Keep every call in this run store, for palmette logs.")
@click.option("--no-content", is_flag=True, help="Keep numbers only, not what was said.")
@click.option("--mcp", is_flag=True, help="Be an MCP server on standard input and output, with the workbench as tools.")
@debug_option
def command(
    models: tuple[str, ...], config: str | None, host: str | None, port: int | None, strategy: str | None,
    views: tuple[str, ...], json_schema: str | None, engine_url: str | None, engine: str, dtype: str, device: str,
    log: str | None, no_content: bool, mcp: bool,
) -> int:  # fmt: skip
    """Serve MODEL, as palmette run takes it, under its name or NAME: the official clients of OpenAI, Anthropic, Gemini,
    Cohere and Ollama work with it unmodified.

    It listens on this machine alone unless told otherwise. A key is asked for if PALMETTE_API_KEY holds one; --host
    with another address needs it.
    """
    if mcp:
        from palmette.serve.mcp import run_mcp

        return run_mcp(models or (DEFAULT_MODEL,))
    settings = read_settings(Path(config)) if config is not None else Settings(())
    given = [
        _model(text, ModelSettings("", "", strategy or "", views, json_schema or "", engine=engine, dtype=dtype,
                                   device=device, base_url=engine_url or ""))
        for text in models
    ]  # fmt: skip
    if not given and config is None:
        given = [_model(DEFAULT_MODEL, ModelSettings("", "", strategy or "", views, json_schema or "", engine=engine))]
    names = [model.name for model in (*settings.models, *given)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two models are called {twice!r}; name one of them: NAME=MODEL")
    key = os.environ.get("PALMETTE_API_KEY")
    settings = replace(
        settings, models=(*settings.models, *given), host=host or settings.host,
        port=settings.port if port is None else port, log=log or settings.log,
        content=settings.content and not no_content, keys=(*settings.keys, *([fingerprint(key)] if key else [])),
    ).checked()  # fmt: skip
    from palmette.serve.run import serve

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)

    def ready(url: str) -> None:
        click.echo(
            f"palmette: {', '.join(names)} at {url}  (OpenAI: {url}/v1, page: {url}/docs; Ctrl-C stops)", err=True
        )

    return serve(settings, ready)


def _model(text: str, settings: ModelSettings) -> ModelSettings:
    """NAME=MODEL, or MODEL under its own name."""
    name, equals, reference = text.partition("=")
    return replace(settings, name=name if equals else text, model=reference if equals else text)
