"""Prompt files: four notations, one value; what is filled in stays text, and no template runs long or reaches out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import palmette
from palmette.core.errors import BadParameter, UnknownName, UsageError
from palmette.prompts.files import jinja
from palmette.prompts.files.importers import from_dotprompt, from_llm, from_prompty, load_prompt
from palmette.prompts.files.jinja import render_jinja
from palmette.prompts.files.picoschema import picoschema
from palmette.prompts.files.prompt import Prompt, parse_prompt
from palmette.prompts.files.task_file import load_task
from palmette.prompts.files.template import parse_template

OWN = """\
---
name: greet
description: Greets.
model: zoo:seedling
inputs: {who: text, times: int}
defaults: {times: 2}
output: int
options: {temperature: 0.5, max_tokens: 10}
tools: [clock]
---
system:
Be kind.
user:
Hello {{who}}, {{times}} times.
assistant:
1
user:
Again, {{who}}.
"""
PROMPTY = """\
---
name: Basic
description: A basic prompt
authors: [someone]
model:
  api: chat
  configuration: {type: azure_openai, azure_deployment: gpt-x}
  parameters: {max_tokens: 128, temperature: 0.2, logit_bias: {}}
inputs:
  question: {type: string, default: "What?"}
  items: {type: array}
sample: {firstName: Jane}
---
system:
You help {{firstName}}.

user:
{% for item in items %}- {{ item }}
{% endfor %}{{question}}
"""
DOTPROMPT = """\
---
model: googleai/gemini-2
config: {temperature: 0.3, maxOutputTokens: 50, safety: none}
input:
  schema:
    name: string, who it is
    tags?(array, of topics): string
  default: {name: Leo}
output:
  format: json
  schema:
    mood(enum): [GOOD, BAD]
    age?: integer
---
{{role "system"}}
Be brief.
{{role "user"}}
{{#if tags}}Tags:{{#each tags}} {{@index}}={{this}}{{#unless @last}},{{/unless}}{{/each}}.{{else}}None.{{/if}}{{! a }}
Hello {{name}}.
"""
LLM = """\
system: You are $mood
prompt: "Sum up: $input costs $$5"
model: gpt-x
defaults: {mood: calm}
options: {temperature: 0.1}
functions: |
  import os
  os.system('touch canary')
"""


def test_an_own_file_is_read_and_written_back() -> None:
    prompt = parse_prompt(OWN)
    assert [(m.role, m.text) for m in prompt.messages(who="Leo")] == [
        ("system", "Be kind."), ("user", "Hello Leo, 2 times."), ("assistant", "1"), ("user", "Again, Leo."),
    ]  # fmt: skip
    assert prompt.output is int and prompt.options == {"temperature": 0.5, "max_tokens": 10}
    assert parse_prompt(prompt.text()) == prompt


def test_a_prompt_asks_a_model_with_its_own_settings() -> None:
    model = palmette.scripted("7")
    done = parse_prompt(OWN).solver(model)(who="Leo")
    assert done.value == 7 and model.requests[0].temperature == 0.5 and model.requests[0].max_tokens == 10
    rows = [{"who": "Leo", "times": 1, "output": 7}]
    prompt = parse_prompt(OWN)
    report = palmette.evaluate(prompt.task, rows, [palmette.scripted("7")], [lambda m, t: prompt.solver(m, t)])
    assert report.cells[0].technique == "greet" and report.summaries[0].scores["numeric"].mean == 1.0


def test_prompty_is_read() -> None:
    prompt = from_prompty(PROMPTY)
    said = prompt.messages(items=["a", "b"])
    assert [(m.role, m.text) for m in said] == [("system", "You help Jane."), ("user", "- a\n- b\nWhat?")]
    assert prompt.model == "gpt-x" and prompt.options == {"max_tokens": 128, "temperature": 0.2}
    assert any("logit_bias" in note for note in prompt.notes) and any("configuration" in note for note in prompt.notes)
    mustache = (
        "---\ntemplate: mustache\nsample: {xs: [1, 2], none: []}\n---\n{{#xs}}{{.}};{{/xs}}{{^none}}none{{/none}}"
    )
    assert from_prompty(mustache).messages()[0].text == "1;2;none"


def test_dotprompt_is_read() -> None:
    prompt = from_dotprompt(DOTPROMPT)
    assert [(m.role, m.text) for m in prompt.messages(tags=["x", "y"])] == [
        ("system", "Be brief."), ("user", "Tags: 0=x, 1=y.\nHello Leo."),
    ]  # fmt: skip
    assert prompt.messages()[1].text.startswith("None.") if "tags" in prompt.defaults else True
    assert prompt.output["properties"]["mood"] == {"enum": ["GOOD", "BAD"]} and prompt.output["required"] == ["mood"]
    assert prompt.options == {"temperature": 0.3, "max_tokens": 50} and "safety" in prompt.notes[0]


def test_an_llm_template_is_read_and_its_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prompt = from_llm(LLM)
    assert [m.text for m in prompt.messages(input="$mood {{x}}")] == ["You are calm", "Sum up: $mood {{x}} costs $5"]
    assert "functions: code in a prompt file is never run" in prompt.notes and not (tmp_path / "canary").exists()
    assert from_llm("Just $input").messages(input="text")[0].text == "Just text"


@pytest.mark.parametrize(("read", "text"), [(from_prompty, PROMPTY), (from_dotprompt, DOTPROMPT), (from_llm, LLM)])
def test_what_was_imported_survives_our_own_format(read: Any, text: str) -> None:
    prompt = read(text)
    assert parse_prompt(prompt.text()) == prompt


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=4))
def test_any_turns_survive_the_round_trip(turns: list[tuple[Any, str]]) -> None:
    fixed = tuple((role, text.replace("{{", "{ {").replace("}}", "} }").strip("\n")) for role, text in turns)
    prompt = Prompt(fixed)
    assert parse_prompt(prompt.text()).turns == fixed


def test_lines_that_look_like_roles_stay_text() -> None:
    prompt = Prompt((("user", "system:\nuser: x\n\\assistant:\n---"),))
    assert parse_prompt(prompt.text()) == prompt


@given(TEXT, TEXT)
def test_what_is_filled_in_is_never_a_template(one: str, two: str) -> None:
    for syntax in ("braces", "handlebars", "mustache"):
        made = parse_template("<{{a}}|{{b}}>", syntax).render({"a": one, "b": two})  # type: ignore[arg-type]
        assert made == f"<{one}|{two}>"
    assert parse_template("<$a|${b}>", "dollar").render({"a": one, "b": two}) == f"<{one}|{two}>"


BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{{ 'a' * 3000000000 }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ ('%0999999999d' % 1) }}", "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "{{ missing }}",
    "{% if %}",
    "{{ x.append(1) }}", "{{ 10 ** 100000000 }}", "{% include '/etc/passwd' %}",
]  # fmt: skip


@pytest.mark.parametrize("template", BOMBS)
def test_jinja_neither_runs_long_nor_reaches_out(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja, "SECONDS", 0.8)
    begun = time.monotonic()
    with pytest.raises(UsageError):
        render_jinja(template, {"x": [1]})
    assert time.monotonic() - begun < 10
    monkeypatch.setattr(jinja, "SECONDS", 10.0)
    assert render_jinja("{{ x }}", {"x": "fine"}) == "fine"  # the next one works


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("---\ninputs: {a: text}\n---\n{{b}}", "is called 'b'"),
        ("---\ninput: {a: text}\n---\n{{a}}", "Did you mean 'inputs'"),
        ("---\ninputs: {a: txt}\n---\n{{a}}", "Did you mean 'text'"),
        ("---\noptions: {temprature: 1}\n---\nx", "Did you mean 'temperature'"),
        ("---\ntemplate: jinja3\n---\nx", "Did you mean 'jinja'"),
        ("---\na: [\n---\nx", "no YAML"),
        ("---\na: 1\na: 2\n---\nx", "line 3: the key 'a' occurs twice"),
        ("---\nb: 1\na: &x [*x]\n---\nx", "line 3: nested"),
        ("---\ninputs: {a: text}\n---\n{{#if a}}x{{/if}}", "sections need"),
        ("---\ntemplate: handlebars\ninputs: {a: text}\n---\n{{#if a}}x", "does not end"),
        ("---\ntemplate: handlebars\ninputs: {a: text}\n---\n{{#if a}}x{{/each}}", "is open"),
        ("---\ntemplate: handlebars\ninputs: {a: text}\n---\n{{lookup a b}}", "no variable"),
        ("---\n- 1\n---\nx", "no mapping"),
        ("---\na: " + "[" * 80 + "]" * 80 + "\n---\nx", "nested"),
    ],
)
def test_bad_files_are_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        parse_prompt(text)


def test_missing_and_wrong_inputs_are_named(tmp_path: Path) -> None:
    prompt = parse_prompt(OWN)
    with pytest.raises(BadParameter, match="'who' is missing"):
        prompt.messages()
    with pytest.raises(UnknownName, match="'whom'"):
        prompt.messages(whom="x", who="y")
    with pytest.raises(BadParameter, match="'x' is no int"):
        prompt.messages(who="y", times="x")
    deep = parse_template("{{a.b}}", "braces")
    with pytest.raises(UsageError, match=r"no variable 'a.b'. Did you mean 'bb'|no variable 'a.b'"):
        deep.render({"a": {"bb": 1}})
    with pytest.raises(UsageError, match="ends in"):
        load_prompt(tmp_path / "x.txt")
    with pytest.raises(UsageError, match="cannot read"):
        load_prompt(tmp_path / "x.prompt.md")
    (tmp_path / "x.prompty").write_text(PROMPTY)
    assert load_prompt(tmp_path / "x.prompty").name == "Basic"


def test_repetitions_are_bounded() -> None:
    nested = "{{#each a}}" * 4 + "x" + "{{/each}}" * 4
    values: Any = {
        "a": [{"a": [{"a": [{"a": list(range(100))} for _ in range(100)]} for _ in range(100)]} for _ in range(9)]
    }
    with pytest.raises(UsageError, match="more than"):
        parse_template(nested, "handlebars").render(values)
    with pytest.raises(UsageError, match="levels deep"):
        parse_template("{{#if a}}" * 50 + "{{/if}}" * 50, "handlebars")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"a": "string"}, {"a": {"type": "string"}}),
        ({"a?": "any, all"}, {"a": {"anyOf": [{"description": "all"}, {"type": "null"}]}}),
        ({"a(array)": {"b": "number"}}, {"a": {"type": "array", "items": picoschema({"b": "number"}, "")}}),
        ({"a(object, deep)": {"b": "null"}}, {"a": {**picoschema({"b": "null"}, ""), "description": "deep"}}),
        ({"a(enum)": [1, 2]}, {"a": {"enum": [1, 2]}}),
    ],
)
def test_picoschema(given: Any, wanted: Any) -> None:
    assert picoschema(given, "x")["properties"] == wanted
    with pytest.raises(UsageError, match="no type of Picoschema"):
        picoschema({"a": "strng"}, "x")
    assert picoschema({"(*)": "string"}, "x")["additionalProperties"] == {"type": "string"}


def test_a_task_file_says_what_is_wrong_in_it(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    for text, says in [
        ("instrution: x", "Did you mean 'instruction'"), ("output: integr", "Did you mean 'integer'"),
        ("examples: [{question: x}]", "example 0 has no 'output'"), ("metrics: {a: 1}", "a list of names"),
        ("- 1", "a task is a mapping"), ("decodings: [1]", "a list of settings"), ("inputs: 3", "not a task"),
    ]:  # fmt: skip
        file.write_text(text)
        with pytest.raises(UsageError, match=says):
            load_task(file)
    file.write_text("prompts: {short: 'Be short.'}\ndata: d.jsonl\nmetrics: exact\ndecodings: [{temperature: 1}]\n")
    loaded = load_task(file)
    assert loaded.data == tmp_path / "d.jsonl" and loaded.prompts["short"].instruction == "Be short."
    assert loaded.metrics == ("exact",)
