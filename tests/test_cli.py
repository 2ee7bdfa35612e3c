"""The command line as a person meets it: real processes, good input and bad."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PALMETTE = [sys.executable, "-m", "palmette"]


def call(*args: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a verb; no terminal, nothing on standard input unless given."""
    return subprocess.run(
        [*PALMETTE, *args],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=120,
        check=False,
    )


def test_run_streams_text_and_nothing_else_to_standard_output() -> None:
    done = call("run", "Once upon a time", "--max-tokens", "20")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert done.stderr == ""
    assert call("run", "Once upon a time", "--max-tokens", "20").stdout == done.stdout
    assert call("run", "Once upon a time", "--max-tokens", "20", "--seed", "1").stdout != done.stdout


def test_the_prompt_may_come_from_a_pipe() -> None:
    said = call("run", "Once upon a time", "--max-tokens", "8").stdout
    for args in (["run"], ["run", "-"], ["run", "zoo:seedling"], ["run", "zoo:seedling", "-"]):
        assert call(*args, "--max-tokens", "8", stdin="Once upon a time\n").stdout == said
    assert call("run", "zoo:seedling", "Once upon a time", "--max-tokens", "8").stdout == said


def test_what_is_not_utf8_is_refused_with_its_place() -> None:
    for words, given, said in (
        (["-"], b"a\x00b\xff", "byte 0xff at 3"),
        ([b"Once \xff"], b"", "'\\udcff' at 5"),
    ):
        done = subprocess.run([*PALMETTE, "run", *words], input=given, capture_output=True, timeout=60, check=False)
        assert done.returncode == 2
        assert said in done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_json_carries_what_a_program_needs() -> None:
    done = call("run", "Once", "--strategy", "beam:3", "--view", "top_k:20", "--max-tokens", "6", "--json")
    report = json.loads(done.stdout)
    assert report["model"] == "zoo:seedling"
    assert report["views"] == ["top_k(k=20, ties='drop')"]
    assert len(report["answers"]) == 3
    assert report["text"] == report["answers"][0]["text"]
    assert report["finish"] in ("eos", "length")


@pytest.mark.parametrize("suffix", ["html", "svg", "json"])
def test_decode_writes_the_tree(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"tree.{suffix}"
    done = call(
        "decode", "zoo:seedling", "Once upon", "--strategy", "beam:4", "--strategy", "nucleus:0.9",
        "--strategy", "greedy", "--max-tokens", "6", "--tree", str(target),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3
    assert target.stat().st_size > 500
    assert [p.name for p in tmp_path.iterdir()] == [target.name], "no temporary file is left"


def test_decode_draws_the_tree_in_the_terminal_and_as_json() -> None:
    drawn = call("decode", "Once upon", "--strategy", "beam:2", "--strategy", "greedy", "--max-tokens", "4")
    assert "beam:2" in drawn.stderr
    trace = json.loads(call("decode", "Once upon", "--strategy", "greedy", "--max-tokens", "4", "--json").stdout)
    assert trace["format"] == "palmette.trace/1"


def test_probabilities_are_shown_without_colour_where_there_is_no_terminal() -> None:
    done = call("run", "Once upon a time", "--show-probs", "--max-tokens", "5")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["run"], 2, "no prompt"),
        (["run", ""], 2, "prompt is empty"),
        (["run", "a", "b", "c"], 2, "quotes"),
        (["run", "zoo:seedlin", "x"], 2, "Did you mean 'seedling'"),
        (["run", "antropic:claude", "x"], 2, "antropic"),
        (["run", "./nowhere", "x"], 1, "nowhere"),
        (["run", "hf:a/b/c", "x"], 2, "hf:OWNER/NAME"),
        (["run", "x", "--strategy", "baem:4"], 2, "Did you mean 'beam'"),
        (["run", "x", "--strategy", "beam:four"], 2, "whole number, not 'four'"),
        (["run", "x", "--strategy", "beam:widht=3"], 2, "Did you mean 'width'"),
        (["run", "x", "--view", "top_q:0.9"], 2, "Did you mean 'top_p'"),
        (["run", "x", "--view", "top_p:1.9"], 2, "1.9"),
        (["run", "x", "--view", "ban:99999"], 2, "outside the vocabulary"),
        (["run", "x", "--view", "allow:5", "--view", "ban:5"], 1, "ban"),
        (["run", "x", "--max-tokens", "0"], 2, "at least 1"),
        (["run", "word " * 3000], 2, "context holds"),
        (["run", "x", "--strategy", "speculative"], 2, "draft"),
        (["decode", "x", "--tree", "tree.gif"], 2, "gif"),
        (["decode", "x", "--tree", "/no/such/folder/t.svg"], 2, "folder"),
        (["rnu", "x"], 2, "Did you mean 'run'"),
        (["run", "x", "--nope"], 2, "--nope"),
        (["strategies", "baem"], 2, "Did you mean 'beam'"),
        (["run", "x", "--regex", "("], 2, "does not compile"),
        (["run", "x", "--regex", "a", "--choices", "b"], 2, "give one of them"),
        (["run", "x", "--choices", ","], 2, "at least one"),
        (["run", "x", "--grammar", "/no/such"], 2, "cannot read '/no/such'"),
        (["run", "x", "--template", "/no/such"], 2, "cannot read"),
    ],
)
def test_bad_input_is_one_clear_line(args: list[str], code: int, says: str) -> None:
    done = call(*args)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_views_that_look_inside_run_on_the_embedded_model() -> None:
    plain = call("run", "Once upon", "--strategy", "greedy", "--max-tokens", "12").stdout
    for args in (["--view", "dola"], ["--view", "guide:Once there"], ["--strategy", "contrastive"]):
        done = call("run", "Once upon", "--strategy", "greedy", "--max-tokens", "12", *args)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    assert plain.strip()


def test_steps_are_written_as_histograms(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    done = call("decode", "Once upon", "--strategy", "greedy", "--max-tokens", "3", "--steps", str(folder))
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["A-001.svg", "A-002.svg", "A-003.svg"]


@pytest.mark.parametrize(
    ("args", "matches"),
    [
        (["--regex", "[a-z]{3}-[0-9]{2}"], r"[a-z]{3}-\d\d"),
        (["--regex", "[a-z]{3}-[0-9]{2}", "--strategy", "beam:4"], r"[a-z]{3}-\d\d"),
        (["--choices", "happy,sad,so so"], r"happy|sad|so so"),
        (["--grammar", "{folder}/g.lark"], r"(\d\+)*\d"),
        (["--template", "{folder}/t.txt"], r"Age: \d+, mood: (happy|sad)"),
    ],
)
def test_constrained_text_is_all_there_is_on_standard_output(tmp_path: Path, args: list[str], matches: str) -> None:
    (tmp_path / "g.lark").write_text('start: (D "+"){0,3} D\nD: /[0-9]/')
    (tmp_path / "t.txt").write_text("Age: {age:int(1,99)}, mood: {mood:choice(happy,sad)}\n")
    done = call("run", "Runa is", *(a.replace("{folder}", str(tmp_path)) for a in args))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(matches, done.stdout.removesuffix("\n"))
    assert done.stderr == ""


def test_templates_give_typed_values_as_json(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(" {age:int(1,99)} years")
    report = json.loads(call("run", "Runa is", "--template", str(tmp_path / "t.txt"), "--json").stdout)
    assert report["text"] == f" {report['values']['age']} years"


def test_an_unfinished_constrained_text_is_a_failure() -> None:
    done = call("run", "Once", "--regex", "[a-z]{40}", "--max-tokens", "3")
    assert done.returncode == 1
    assert "before it was complete" in done.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in call("run", "x", "--strategy", "baem", "--debug").stderr


def test_control_c_stops_cleanly_and_keeps_what_was_said() -> None:
    process = subprocess.Popen(
        [*PALMETTE, "run", "Once upon a time", "--max-tokens", "200", "--view", "ban:0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert len(first) == 10
    assert "Traceback" not in errors
    assert (process.returncode, errors.strip()) in ((130, "palmette: stopped"), (0, ""))


def test_a_closed_pipe_is_no_error() -> None:
    process = subprocess.Popen(
        [*PALMETTE, "run", "Once upon a time", "--max-tokens", "150", "--view", "ban:0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(5)
    process.stdout.close()
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.returncode == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
