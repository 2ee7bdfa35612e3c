"""Other programs' prompt files as `Prompt`s: Prompty, dotprompt and llm templates. What has no counterpart is noted.

Formats: github.com/microsoft/prompty, github.com/google/dotprompt, llm.datasette.io/en/stable/templates.html. Code in a
file (llm's `functions:`) is never run, wherever the file comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from palmette.core.errors import UsageError
from palmette.core.message import Role
from palmette.core.yaml_text import document
from palmette.prompts.files.jinja import jinja_names
from palmette.prompts.files.picoschema import picoschema
from palmette.prompts.files.prompt import Language, Prompt, parse_prompt, split_front, turns_of
from palmette.prompts.files.template import parse_template

__all__ = ["ENDINGS", "from_dotprompt", "from_llm", "from_prompty", "load_prompt"]

_OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "topP": "top_p", "top_k": "top_k", "topK": "top_k",
    "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "maxOutputTokens": "max_tokens",
    "stop": "stop", "stopSequences": "stop", "seed": "seed", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}  # fmt: skip
_TYPES: Mapping[str, Any] = {
    "string": str, "number": float, "integer": int, "boolean": bool, "array": {"type": "array"},
    "list": {"type": "array"}, "object": {"type": "object"},
}  # fmt: skip


def from_prompty(text: str, where: str = "prompty") -> Prompt:
    """Read a Prompty file.

    >>> from_prompty("---\\nname: x\\nsample: {who: you}\\n---\\nuser:\\nHello {{who}}!").messages()[0].text
    'Hello you!'
    """
    front, body = split_front(text, where)
    template = front.get("template", "jinja2")
    language = str(template.get("format", "jinja2") if isinstance(template, dict) else template)
    if language not in ("jinja2", "mustache"):
        raise UsageError(f"{where}: the template format {language!r} is not known; known: jinja2, mustache")
    spoken: Language = "jinja" if language == "jinja2" else "mustache"
    turns = turns_of(body)
    model = front.get("model") or {}
    notes = _left(front, ("name", "description", "template", "inputs", "sample", "model", "authors", "version", "tags"))
    options: dict[str, Any] = {}
    name = model if isinstance(model, str) else str(model.get("id", ""))
    if isinstance(model, dict):
        options, more = _options({**(model.get("parameters") or {}), **(model.get("options") or {})})
        notes += more
        setup = model.get("configuration") or model.get("connection") or {}
        name = name or str(setup.get("azure_deployment") or setup.get("name") or "")
        notes += (
            ("model.configuration: connections are named by the model's reference, not by a file",) if setup else ()
        )
    declared = front.get("inputs") or {}
    if isinstance(declared, list):
        declared = {each.get("name"): each for each in declared}
    inputs = {key: _type(each) for key, each in declared.items()}
    defaults = {
        key: each.get("default", each.get("sample")) for key, each in declared.items()
        if isinstance(each, dict) and each.get("default", each.get("sample")) is not None
    }  # fmt: skip
    sample = front.get("sample") if isinstance(front.get("sample"), dict) else {}
    for key, value in (sample or {}).items():
        inputs.setdefault(key, _of(value))
        defaults.setdefault(key, value)
    for key in _read_by(turns, spoken):
        inputs.setdefault(key, {})
    return _made(where, turns, spoken, inputs, defaults, str, name, options, (), front, notes)


def from_dotprompt(text: str, where: str = "dotprompt") -> Prompt:
    """Read a dotprompt file: Handlebars, with Picoschema for input and output.

    >>> file = "---\\ninput: {schema: {who: string}}\\n---\\n{{role 'system'}}Be kind.{{role 'user'}}Hi {{who}}"
    >>> from_dotprompt(file).messages(who="Leo")[1].text
    'Hi Leo'
    """
    front, body = split_front(text, where)
    given, told = front.get("input") or {}, front.get("output") or {}
    turns: tuple[tuple[Role, str], ...] = (("user", body.strip("\n")),)
    notes = _left(front, ("name", "description", "model", "config", "input", "output", "tools", "metadata", "variant"))
    options, more = _options(front.get("config") or {})
    schema = picoschema(given.get("schema") or {}, f"{where}: input")
    inputs = {key: _simple(each) for key, each in schema.get("properties", {}).items()}
    for key in _read_by(turns, "handlebars"):
        inputs.setdefault(key, {})
    output: Any = picoschema(told["schema"], f"{where}: output") if told.get("schema") else str
    if told.get("format") == "json" and output is str:
        output = {}
    tools = tuple(each if isinstance(each, str) else str(each.get("name")) for each in front.get("tools") or ())
    return _made(where, turns, "handlebars", inputs, given.get("default") or {}, output, str(front.get("model", "")),
                 options, tools, front, notes + more)  # fmt: skip


def from_llm(text: str, where: str = "template") -> Prompt:
    """Read a template of the program llm: YAML with `prompt`, `system`, and $variables.

    >>> from_llm("system: Be brief\\nprompt: 'Sum up $input'").messages(input="this")[1].text
    'Sum up this'
    """
    front = document(text, where)
    if isinstance(front, str):
        front = {"prompt": front}
    if not isinstance(front, dict):
        raise UsageError(f"{where}: a template is a mapping")
    turns: list[tuple[Role, str]] = []
    if front.get("system"):
        turns.append(("system", str(front["system"])))
    turns.append(("user", str(front.get("prompt") or "$input")))
    notes = _left(front, ("prompt", "system", "model", "defaults", "options", "schema_object", "tools", "name"))
    if "functions" in front:
        kept = (note for note in notes if not note.startswith("functions"))
        notes = (*kept, "functions: code in a prompt file is never run")
    options, more = _options(front.get("options") or {})
    inputs: dict[str, Any] = dict.fromkeys(_read_by(tuple(turns), "dollar"), str)
    defaults = {key: str(value) for key, value in (front.get("defaults") or {}).items() if key in inputs}
    output: Any = front.get("schema_object") or str
    return _made(where, tuple(turns), "dollar", inputs, defaults, output, str(front.get("model", "")), options,
                 tuple(front.get("tools") or ()), front, notes + more)  # fmt: skip


ENDINGS: Mapping[str, Callable[[str, str], Prompt]] = {
    ".prompt.md": parse_prompt, ".prompty": from_prompty, ".prompt": from_dotprompt, ".yaml": from_llm,
    ".yml": from_llm,
}  # fmt: skip


def load_prompt(path: str | Path) -> Prompt:
    """Read a prompt file by its ending: .prompt.md, .prompty, .prompt (dotprompt), or .yaml (an llm template).

    Raises:
        UsageError: for a file that cannot be read, with its name.
    """
    file = Path(path).expanduser()
    reader = next((read for ending, read in ENDINGS.items() if file.name.endswith(ending)), None)
    if reader is None:
        raise UsageError(f"{str(path)!r}: a prompt file ends in {', '.join(ENDINGS)}")
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{str(path)!r} is not text in UTF-8") from None
    return reader(text, file.name)


def _made(
    where: str, turns: tuple[tuple[Role, str], ...], language: Language, inputs: Mapping[str, Any],
    defaults: Mapping[str, Any], output: Any, model: str, options: Mapping[str, Any], tools: tuple[str, ...],
    front: Mapping[str, Any], notes: tuple[str, ...],
) -> Prompt:  # fmt: skip
    try:
        return Prompt(
            turns, language, inputs, defaults, output, model, options, tools, str(front.get("name", "")),
            str(front.get("description", "")), notes=notes,
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _options(given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    known = {_OPTIONS[key]: value for key, value in given.items() if key in _OPTIONS}
    if "stop" in known:
        known["stop"] = [known["stop"]] if isinstance(known["stop"], str) else list(known["stop"])
    return known, tuple(f"{key}: no such option of a request" for key in given if key not in _OPTIONS)


def _left(front: Mapping[str, Any], taken: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{key}: not taken over" for key in front if key not in taken)


def _type(each: Any) -> Any:
    """The type of a declared input: its `type`, or that of the value that stands there."""
    if isinstance(each, dict) and ("type" in each or "kind" in each):
        return _TYPES.get(str(each.get("type", each.get("kind"))), {})
    return _of(each.get("sample") if isinstance(each, dict) else each)


def _of(value: Any) -> Any:
    return type(value) if type(value) in (str, int, float, bool) else {}


def _simple(schema: Any) -> Any:
    """A schema of one plain type as the type."""
    plain_type = _TYPES.get(str(schema.get("type"))) if isinstance(schema, dict) else None
    return plain_type if isinstance(plain_type, type) and set(schema) <= {"type", "description"} else schema


def _read_by(turns: tuple[tuple[Role, str], ...], language: Language) -> list[str]:
    texts = [text for _, text in turns]
    if language == "jinja":
        return list(dict.fromkeys(name for text in texts for name in jinja_names(text)))
    return list(dict.fromkeys(name for text in texts for name in parse_template(text, cast(Any, language)).names))
