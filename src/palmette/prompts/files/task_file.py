"""A task file: what is asked, on which data, and how answers are scored, in YAML or JSON.

instruction: Answer the question.
inputs: {question: text}
output: int
examples:
  - {question: 2 + 3?, rationale: 2 + 3 = 5., output: 5}
data: arithmetic.jsonl
metrics: [numeric]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palmette.core.errors import UnknownName, UsageError
from palmette.core.yaml_text import document
from palmette.prompts.task import Task

__all__ = ["TaskFile", "load_task"]

KEYS = ("instruction", "inputs", "output", "examples", "template", "answer", "conclusion", "form", "hint", "enforce")
AROUND = ("data", "metrics", "techniques", "models", "tools", "decodings", "prompts")


@dataclass(frozen=True)
class TaskFile:
    """A task with what surrounds it.

    Args:
        data: rows, or the path of their file.
        prompts: name -> the task with another instruction.
    """

    task: Task
    data: Any = field(default=None, hash=False)
    metrics: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    decodings: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    prompts: Mapping[str, Task] = field(default_factory=dict, hash=False)


def load_task(path: str | Path) -> TaskFile:
    """Read a task file; paths in it start from its folder.

    Raises:
        UsageError: naming the file and what is wrong in it.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{str(path)!r} is not text in UTF-8") from None
    given = _parsed(text, file)
    if not isinstance(given, dict):
        raise UsageError(f"{str(path)!r}: a task is a mapping of {', '.join((*KEYS, *AROUND))}")
    for key in given:
        if key not in (*KEYS, *AROUND):
            raise UnknownName(f"key (in {file.name}) is called", str(key), (*KEYS, *AROUND))
    settings = {key: given[key] for key in KEYS if key in given}
    try:
        task = Task(settings.pop("instruction", ""), **settings)
        wordings = {name: task.with_instruction(str(text)) for name, text in (given.get("prompts") or {}).items()}
    except UsageError as error:
        raise UsageError(f"{file.name}: {error}") from error
    except (TypeError, AttributeError) as error:
        raise UsageError(f"{file.name}: not a task: {error}") from error
    data = given.get("data")
    if isinstance(data, str):
        data = file.parent / data
    listed = {key: _list(given.get(key), key, file) for key in ("metrics", "techniques", "models", "tools")}
    decodings = given.get("decodings") or ()
    if not isinstance(decodings, (list, tuple)) or not all(isinstance(each, dict) for each in decodings):
        raise UsageError(f"{file.name}: decodings is a list of settings, such as [{{temperature: 0.7}}]")
    return TaskFile(task, data, decodings=tuple(decodings), prompts=wordings, **listed)


def _parsed(text: str, file: Path) -> Any:
    if file.suffix.lower() != ".json":
        return document(text, file.name)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file.name}: no JSON: {error}") from None


def _list(value: Any, key: str, file: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise UsageError(f"{file.name}: {key} is a list of names, not {value!r}")
    return tuple(values)
