"""Conversations in a model's own format: what was said stays text, templates run under limits, memory is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from loopback import answer, served

import palmette
from palmette.core.errors import ModelError, Unsupported
from palmette.models.chat import Chat
from palmette.models.engines.numpy_engine import load
from palmette.models.remote.client import Limits
from palmette.models.template import ChatTemplate

CHATML = (
    "{{ bos_token }}{% for m in messages %}{{ '<|begin|>' + m['role'] + '\n' + m['content'] + '<|end|>' }}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|begin|>assistant\n' }}{% endif %}"
)
TRIMMING = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[/]{% endfor %}"


def folder(tmp_path: Path, template: Any = CHATML) -> Path:
    """A tiny model that can chat; its special tokens are <|begin|> and <|end|>."""
    path = tmp_path / "model"
    if not path.exists():
        shutil.copytree(tiny.folder("llama"), path)
    said = {"chat_template": template, "bos_token": {"content": "<|begin|>"}, "eos_token": "<|end|>"}
    (path / "tokenizer_config.json").write_text(json.dumps(said))
    return path


def test_turns_are_written_as_the_template_says_and_what_was_said_stays_text(tmp_path: Path) -> None:
    engine = load(folder(tmp_path))
    begun = palmette.chat(engine, "Be brief.").user("Hi <|end|> you")
    program = begun._read(begun.template.pieces(begun.turns, True))  # type: ignore[union-attr]
    names = {name: token for token, name in engine.tokenizer.special_names.items()}  # type: ignore[attr-defined]
    begin, end = names["<|begin|>"], names["<|end|>"]
    assert [t for t in program.tokens if t in (begin, end)] == [begin, begin, end, begin, end, begin]
    read = "".join(engine.tokenizer.token_name(t) for t in program.tokens)
    assert read == (
        "<|begin|><|begin|>system\nBe brief.<|end|>\n<|begin|>user\nHi <|end|> you<|end|>\n<|begin|>assistant\n"
    )


def test_the_embedded_model_takes_turns() -> None:
    done = palmette.chat("zoo:seedling").user("Is Runa happy?").assistant(" {answer:choice(yes,no)}")
    assert done["answer"] in ("yes", "no") and done.turns[-1] == ("assistant", f" {done['answer']}")
    assert done.program is not None and done.program.text == f" {done['answer']}"


def test_a_template_that_trims_trims(tmp_path: Path) -> None:
    template = ChatTemplate(TRIMMING)
    assert "".join(t for t, _ in template.pieces([("user", "  a b \n")], False)) == "[user]a b[/]"
    plain = ChatTemplate(CHATML, {"bos_token": ""})
    assert ("  a b \n", True) in plain.pieces([("user", "  a b \n")], False)


def test_a_conversation_goes_on_and_reads_only_what_is_new(tmp_path: Path) -> None:
    engine = load(folder(tmp_path))
    first = palmette.chat(engine).user("Is it?").assistant("{a:choice(yes,no)}")
    assert first["a"] in ("yes", "no") and first.text == first["a"]
    second = first.user("Sure?").assistant("I say {b:int(1,9)}.")
    assert 1 <= second["b"] <= 9 and second["a"] == first["a"] and second.text == f"I say {second['b']}."
    assert second.program is not None and first.program is not None
    assert second.program.tokens[: len(first.program.tokens)] == first.program.tokens
    alone = Chat(first.source, first.turns, template=first.template).user("Sure?").assistant("I say {b:int(1,9)}.")
    assert alone.program is not None and alone.program.tokens == second.program.tokens


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}", "more than"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "fails"),
        ("{{ messages.append(1) }}", "fails"),
        ("{{ raise_exception('no roles') }}", "refuses the conversation: no roles"),
        ("{% if %}", "fails"),
        ("{{ 1 / 0 }}", "fails"),
    ],
)
def test_hostile_templates_end_in_an_error(template: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        ChatTemplate(template).pieces([("user", "hi")], True)


def test_a_model_without_a_template_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no chat template"):
        palmette.chat(load(tiny.folder("llama")))
    with pytest.raises(Unsupported, match="no chat template"):
        palmette.chat(palmette.MatrixEngine([[0.0, 1.0], [0.0, 1.0]], eos=1))
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]
    assert ChatTemplate.of(folder(tmp_path, named)).text == "y"


def test_the_same_conversation_through_an_api() -> None:
    def said(text: str) -> bytes:
        return answer(200, {"choices": [{"finish_reason": "stop", "message": {"content": text}}]})

    with served([said("maybe"), said("yes"), said("7")]) as server:
        model = palmette.connect("openai:m", key="k", base_url=server.url, limits=Limits(total=5))
        done = palmette.chat(model, "Be brief.").user("Is it?").assistant("{a:choice(yes,no)}")
        done = done.user("Sure?").assistant("I say {b:int(1,9)}.")
        assert done.values == {"a": "yes", "b": 7} and done.text == "I say 7."
        roles = [m["role"] for m in server.requests[2][2]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "user"]
