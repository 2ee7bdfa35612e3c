"""`palmette prompt`: one question by one technique, with tools, and the transcript if you want to see it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import UsageError
from palmette.core.signature import parameters, summary
from palmette.models.resolve import DEFAULT_MODEL, looks_like_model
from palmette.prompts.reading import plain
from palmette.prompts.run import Result, Solver
from palmette.prompts.task import Task
from palmette.prompts.techniques import SHORT, TECHNIQUES
from palmette.tokens.trace.visible import printable

__all__ = ["command", "options_of"]

TOOLS = ("calculator", "clock", "folder:PATH", "sql:FILE", "mcp:COMMAND", "mcp:URL", "FILE.py:FUNCTION")


@click.command("prompt", short_help="Ask by a prompting technique: chain_of_thought, react with tools, and others.")
@click.argument("words", nargs=-1, metavar="[TECHNIQUE[:ARG]] [MODEL] QUESTION")
@click.option("--task", "task_file", metavar="FILE", help="What is asked: a task file (YAML or JSON).")
@click.option("--file", "prompt_file", metavar="FILE", help="A prompt file instead of a technique.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of the task; repeatable.")
@click.option("--output", metavar="TYPE", help="Type of the answer: text, int, float or bool.")
@click.option("--instruction", metavar="TEXT", help="What to do.")
@click.option("--tool", "tools", multiple=True, metavar="TOOL", help=f"{', '.join(TOOLS)}; repeatable.")
@click.option("--approve", multiple=True, metavar="NAME", help="Let this tool have its effect without asking.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="temperature=0.7, max_tokens=100, seed=1 …"
)
@click.option("--transcript", is_flag=True, help="Show all that was said, on standard error.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--list", "listing", is_flag=True, help="List the techniques with their parameters.")
@debug_option
def command(
    words: tuple[str, ...], task_file: str | None, prompt_file: str | None, inputs: tuple[str, ...],
    output: str | None, instruction: str | None, tools: tuple[str, ...], approve: tuple[str, ...],
    settings: tuple[str, ...], transcript: bool, as_json: bool, listing: bool,
) -> int:  # fmt: skip
    """Answer QUESTION by TECHNIQUE (see --list) on MODEL (zoo:seedling if none is named).

    \b
      palmette prompt react openai:gpt-5 --tool calculator --output int "What is 37 times 46, plus 12?"
      palmette prompt cot --task tasks/arithmetic.yaml "Runa has 3 apples. She buys 4. How many apples does Runa have?"
      palmette prompt --file greet.prompt.md ollama:qwen3 --input who=Leo
    """
    if listing:
        return _list()
    name, model, question = _read_words(words, prompt_file is not None)
    task, given = _task(task_file, output, instruction), options_of(settings)
    values = _inputs(task if prompt_file is None else None, inputs, question)
    solver = _solver(name, model, task, given, prompt_file, tools, approve)
    result = solver.run(**values)
    if transcript:
        click.echo(_shown(result.transcript), err=True)
    for note in result.notes:
        click.echo(f"palmette: {note}", err=True)
    if as_json:
        click.echo(json.dumps(_report(solver, values, result), ensure_ascii=False))
    elif result.answered:
        value = result.value if isinstance(result.value, str) else json.dumps(plain(result.value), ensure_ascii=False)
        click.echo(printable(value) if sys.stdout.isatty() else value)
    if not result.answered:
        click.echo(f"palmette: no answer: {_shown(result.failure)}", err=True)
        return 1
    return 0


def options_of(settings: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE texts as fields of a request.

    >>> options_of(["temperature=0.7,seed=3"])
    {'temperature': 0.7, 'seed': 3}
    """
    made: dict[str, Any] = {}
    for pair in (part for text in settings for part in text.split(",") if part):
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair!r}: write NAME=VALUE, such as temperature=0.7")
        try:
            made[name.strip()] = json.loads(value)
        except ValueError:
            made[name.strip()] = value
    return made


def _read_words(words: Sequence[str], from_file: bool) -> tuple[str, str, str | None]:
    """(technique, model, question)."""
    rest = list(words)
    name = "zero_shot"
    if rest and not from_file:
        head = rest[0].partition(":")[0]
        if head in TECHNIQUES or head in SHORT:
            name = rest.pop(0)
        elif len(rest) > 1 and not _is_model(rest[0]):
            from palmette.core.errors import UnknownName

            raise UnknownName("technique or model", rest[0], [*TECHNIQUES, *SHORT])
    model = rest.pop(0) if rest and _is_model(rest[0]) else DEFAULT_MODEL
    if len(rest) > 1:
        raise UsageError(f"{len(rest)} arguments where one question is expected; put it in quotes: {rest[0]!r} …")
    question = rest[0] if rest else None
    if question == "-" or (question is None and not from_file and not sys.stdin.isatty()):
        question = sys.stdin.read().removesuffix("\n") or None
    return name, model, question


def _is_model(word: str) -> bool:
    from palmette.models.remote.providers import is_remote

    return looks_like_model(word) or is_remote(word)


def _task(file: str | None, output: str | None, instruction: str | None) -> Task:
    if file is not None:
        if output or instruction:
            raise UsageError("--task says the output and the instruction; leave --output and --instruction out")
        from palmette.prompts.files.task_file import load_task

        return load_task(file).task
    return Task(instruction or "", output=output or "text", hint=bool(output))


def _inputs(task: Task | None, given: Sequence[str], question: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--input {pair!r}: write NAME=VALUE")
        values[name] = value
    if task is not None:
        from palmette.prompts.evaluate.data import _cell

        if question is not None:
            values.setdefault(next(iter(task.inputs)), question)
        return {n: _cell(task.inputs[n], v, f"--input {n}") if n in task.inputs else v for n, v in values.items()}
    if question is not None:
        raise UsageError("a prompt file takes its inputs by --input NAME=VALUE")
    return values


def _solver(
    name: str, model: str, task: Task, given: Mapping[str, Any], prompt_file: str | None, tools: Sequence[str],
    approve: Sequence[str],
) -> Solver:  # fmt: skip
    from palmette.models.prompting import opened_model, tools_from
    from palmette.prompts.techniques import technique

    if prompt_file is not None:
        from palmette.prompts.files.importers import load_prompt

        prompt = load_prompt(prompt_file)
        for note in prompt.notes:
            click.echo(f"palmette: {Path(prompt_file).name}: {note}", err=True)
        return prompt.solver(opened_model(model), **given)
    known = TECHNIQUES[SHORT.get(name.partition(":")[0], name.partition(":")[0])]
    if tools and "tools" not in known.__annotations__:
        raise UsageError(f"{name} uses no tools; react does")
    extra = {"tools": tools_from(tools), "approve": _approval(approve)} if tools else {}
    return technique(name, opened_model(model), task, given, **extra)


def _approval(allowed: Sequence[str]) -> Any:
    """Asks on a terminal; elsewhere only what --approve names may have an effect."""

    def approve(tool: Any, arguments: Mapping[str, Any]) -> bool:
        if tool.name in allowed:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        said = _shown(json.dumps(plain(dict(arguments)), ensure_ascii=False))
        return click.confirm(f"Let {tool.name} ({tool.effect}) run with {said}?", default=False, err=True)

    return approve


def _report(solver: Solver, values: Mapping[str, Any], result: Result) -> dict[str, Any]:
    return {
        "technique": solver.technique, "model": solver.model.id, "inputs": plain(dict(values)),
        "value": plain(result.value), "text": result.text, "failure": result.failure, "reasoning": result.reasoning,
        "confidence": result.confidence, "calls": result.calls, "unread": result.unread, "notes": list(result.notes),
        "steps": [{"label": s.label, "prompt": s.prompt, "reply": s.reply} for s in result.steps],
    }  # fmt: skip


def _shown(text: str) -> str:
    return printable(text) if sys.stderr.isatty() else text


def _list() -> int:
    for name, function in TECHNIQUES.items():
        known = [p.shown for p in parameters(function) if p.name not in ("model", "task")]
        click.echo(f"{name}({', '.join(known)})\n    {summary(function)}")
    return 0
