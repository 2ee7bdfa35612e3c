"""Evaluation: figures that are right, a log that replays, nothing lost by a kill, bad data named by row and column."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import palmette
from palmette.cli.eval import specs_of
from palmette.cli.main import main
from palmette.cli.main import palmette as command
from palmette.core.errors import BadParameter, MissingKey, OutputError, ProviderFailed, UnknownName, UsageError
from palmette.core.message import Audio, Message, Output, Request, Response, Text, Tool, ToolCall, ToolResult, Usage
from palmette.core.model import Capabilities
from palmette.prompts.codec import request_json, response_json, response_of
from palmette.prompts.evaluate.data import items_of, read_rows
from palmette.prompts.evaluate.grid import evaluate
from palmette.prompts.evaluate.log import NotLogged
from palmette.prompts.evaluate.report import Report
from palmette.prompts.evaluate.save import page, save
from palmette.prompts.evaluate.statistics import compare, estimate, holm, mcnemar, wilson
from palmette.prompts.run import Result
from palmette.prompts.task import Task

ROWS = [{"question": f"{n} + {n}?", "output": 2 * n} for n in range(12)]
TASK = Task("Add.", output=int, examples=[{"question": "1 + 1?", "rationale": "1 + 1 = 2.", "output": 2}], hint=False)
PLAIN = Capabilities(seed=True)


def adds(wrong: int = 0, pause: float = 0.0, id: str = "adder") -> Any:
    """A model that adds, but for its first `wrong` numbers; in the way that the prompt asks for."""

    def reply(request: Request) -> str:
        n = int(request.messages[-1].text.split()[0])
        value = 2 * n if n >= wrong else 0.5
        return f"So. The answer is {value}." if "The answer is" in str(request.messages) else str(value)

    return palmette.scripted(reply, capabilities=PLAIN, pause=pause, id=id)


def test_the_grid_is_asked_and_scored() -> None:
    one, two = adds(3, id="one"), adds(id="two")
    report = evaluate(TASK, ROWS, [one, two], ["zero_shot", "cot"], decodings=[{}, {"temperature": 0.5}])
    assert [c.name for c in report.cells[:3]] == ["one | zero_shot", "one | zero_shot | temperature=0.5", "one | cot"]
    assert len(report.records) == 8 * 12 and report.made == 8 * 12
    by = {s.cell.name: s for s in report.summaries}
    assert by["one | zero_shot"].scores["numeric"].mean == 0.75 and by["one | zero_shot"].unread == 3
    assert by["two | zero_shot"].scores["numeric"].mean == 1.0
    assert by["two | zero_shot"].calls == 1 and by["two | zero_shot"].cost is None
    assert {r.temperature for r in one.requests} == {0.0, 0.5}


def test_comparisons_are_paired_and_corrected() -> None:
    report = evaluate(TASK, ROWS, [adds(6, id="bad"), adds(id="good"), adds(1, id="fair")])
    (good, one, p1), (fair, two, p2) = report.comparisons
    assert (good.model, one.won, one.lost, one.difference) == ("good", 6, 0, 0.5)
    assert one.p == mcnemar(6, 0) == 2 / 2**6 and two.won == 5 and fair.model == "fair"
    assert [p1, p2] == holm([one.p, two.p]) == [2 * 2 / 2**6, 2 / 2**5]
    differ = report.disagreements("bad | zero_shot", "good | zero_shot")
    assert [item.id for item, _, _ in differ] == ["1", "2", "3", "4", "5", "6"]
    assert all(a.scores["numeric"] == 0 and b.scores["numeric"] == 1 for _, a, b in differ)
    with pytest.raises(UnknownName, match="Did you mean"):
        report.scores("god | zero_shot")


def test_a_log_is_a_replay_with_no_call_and_the_same_bytes(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    kinds = ["zero_shot", "cot", "self_consistency:3,early_stop=false"]
    first = evaluate(TASK, ROWS, [adds(2)], kinds, log=log, concurrency=4)
    again = adds(2)
    second = evaluate(TASK, ROWS, [again], kinds, log=log, replay=True, concurrency=3)
    assert again.requests == [] and second.made == 0 and first.made == 12 * 5
    assert first.json() == second.json() and page(first) == page(second)
    for ending in (".sqlite", ".parquet", ".html", ".json"):
        one, two = save(first, tmp_path / f"one{ending}"), save(second, tmp_path / f"two{ending}")
        assert one.read_bytes() == two.read_bytes()
    with pytest.raises(NotLogged):
        evaluate(TASK, ROWS, [adds(2)], ["few_shot"], log=log, replay=True)
    with pytest.raises(UsageError, match="needs the log"):
        evaluate(TASK, ROWS, [adds()], replay=True)


def test_draws_of_one_item_and_of_other_cells_are_independent(tmp_path: Path) -> None:
    count = iter(range(10**6))
    model = palmette.scripted(lambda _: f"The answer is {next(count)}.", capabilities=Capabilities())
    kinds = ["self_consistency:3,early_stop=false", "self_consistency:4,early_stop=false"]
    report = evaluate(TASK, ROWS[:2], [model], kinds, log=tmp_path / "log", concurrency=1)
    assert len(model.requests) == 2 * 3 + 2 * 4 == report.made
    assert {r.confidence for r in report.records} == {1 / 3, 1 / 4}


def test_what_fails_once_is_counted_and_tried_again(tmp_path: Path) -> None:
    broken = [True]

    def reply(request: Request) -> Any:
        n = int(request.messages[-1].text.split()[0])
        return ProviderFailed("overloaded", 529) if n == 5 and broken[0] else str(2 * n)

    log = tmp_path / "log"
    make = lambda: palmette.scripted(reply, capabilities=PLAIN)  # noqa: E731
    report = evaluate(TASK, ROWS, [make()], log=log)
    assert [r.failure for r in report.records if r.failure] == ["ProviderFailed: overloaded"]
    assert evaluate(TASK, ROWS, [make()], log=log, replay=True).json() == report.json()
    broken[0] = False
    assert evaluate(TASK, ROWS, [make()], log=log).made == 1

    def no_key(request: Request) -> Any:
        return MissingKey("no key")

    with pytest.raises(MissingKey):
        evaluate(TASK, ROWS, [palmette.scripted(no_key, capabilities=PLAIN)])


@pytest.mark.parametrize("most", [1, 3, 8])
def test_concurrency_is_honoured(most: int) -> None:
    running, peak, lock = [0], [0], threading.Lock()

    def reply(request: Request) -> str:
        with lock:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return "The answer is 1."

    model = palmette.scripted(reply, capabilities=PLAIN)
    evaluate(TASK, ROWS, [model], ["self_consistency:2,early_stop=false"], concurrency=most)
    assert peak[0] <= most and (most == 1 or peak[0] > 1)


def test_a_model_of_this_machine_is_asked_by_one_at_a_time() -> None:
    running, peak = [0], [0]

    def reply(request: Request) -> str:
        running[0] += 1
        peak[0] = max(peak[0], running[0])
        time.sleep(0.005)
        running[0] -= 1
        return "1"

    evaluate(TASK, ROWS, [palmette.scripted(reply, capabilities=Capabilities(full_logits=True))], concurrency=6)
    assert peak[0] == 1


def test_more_items_may_be_in_flight_than_a_server_would_let_wait() -> None:
    rows = [{"question": f"{n}?", "output": "x"} for n in range(130)]
    report = palmette.evaluate(Task(hint=False), rows, ["zoo:seedling"], decodings=[{"max_tokens": 2}], concurrency=130)
    assert not any(record.failure for record in report.records)


def test_a_judge_that_is_the_model_itself_shares_its_engine() -> None:
    rows = [{"question": f"Who is the friend of {name}?", "output": "Ida"} for name in ("Nora", "Ida")]
    settings = [{"max_tokens": 4}]
    one = palmette.evaluate(Task(hint=False), rows, ["zoo:seedling"], metrics=["judge:zoo:seedling"],
                            decodings=settings, concurrency=1)  # fmt: skip
    four = palmette.evaluate(Task(hint=False), rows, ["zoo:seedling"], metrics=["judge:zoo:seedling"],
                             decodings=settings, concurrency=4)  # fmt: skip
    assert [(r.text, r.scores) for r in one.records] == [(r.text, r.scores) for r in four.records]


KILLED = """
import sys, time
import palmette
from palmette.core.model import Capabilities
from palmette.prompts.evaluate.grid import evaluate
from palmette.prompts.task import Task
rows = [{"question": f"{n}?", "output": n} for n in range(200)]
def reply(request):
    time.sleep(0.003)
    return request.messages[-1].text.strip("?")
def told(record, done, total):
    print(record.item, flush=True)
evaluate(Task(output=int, hint=False), rows, [palmette.scripted(reply, capabilities=Capabilities(), usage=False)],
         log=sys.argv[1], concurrency=4, on_item=told)
"""


@pytest.mark.parametrize("after", [1, 30, 90])
def test_a_kill_loses_no_finished_item(tmp_path: Path, after: int) -> None:
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(log)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    finished = [process.stdout.readline() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    finished += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    with open(log, "ab") as file:  # and the worst: a line that was cut in the middle
        file.write(b'{"call": "torn')
    rows = [{"question": f"{n}?", "output": n} for n in range(200)]
    model = palmette.scripted(lambda r: r.messages[-1].text.strip("?"), capabilities=Capabilities(), usage=False)
    report = evaluate(Task(output=int, hint=False), rows, [model], log=log)
    assert report.summaries[0].scores["numeric"].mean == 1.0
    assert report.made == len(model.requests) <= 200 - len({line.strip() for line in finished if line.strip()})
    assert evaluate(Task(output=int, hint=False), rows, [model], log=log, replay=True).json() == report.json()


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("dear diary\nmore\n")
    with pytest.raises(OutputError, match="line 1: no log of an evaluation"):
        evaluate(TASK, ROWS, [adds()], log=other)
    assert other.read_text() == "dear diary\nmore\n"
    log = tmp_path / "log"
    evaluate(TASK, ROWS[:1], [adds()], log=log)
    log.write_text(log.read_text() + '{"call": 1}\n')
    with pytest.raises(OutputError, match="line 3: not a call that was kept"):
        evaluate(TASK, ROWS, [adds()], log=log)


# -- metrics ---------------------------------------------------------------------------------------------------


def scored(metric: str, reply: Any, expected: Any, output: Any = str, able: Capabilities = PLAIN) -> Any:
    model = palmette.scripted(reply, capabilities=able)
    task = Task(output=output, hint=False, answer="{output}")
    report = palmette.evaluate(task, [{"question": "?", "output": expected}], [model], metrics=[metric])
    (score,) = report.records[0].scores.values()
    return score


@pytest.mark.parametrize(
    ("metric", "reply", "expected", "output", "score"),
    [
        ("exact", "Paris.", "paris", str, 1.0),
        ("exact", " a  b ", "a b", str, 1.0),
        ("exact", "Paris, France", "Paris", str, 0.0),
        ("exact", "[2, 1]", [1, 2], list[int], 0.0),
        ("exact", '{"b": 1}', {"b": 1}, dict[str, int], 1.0),
        ("numeric", "1,234", 1234, int, 1.0),
        ("numeric", "3.15", 3.14, float, 0.0),
        ("numeric:0.02", "3.15", 3.14, float, 1.0),
        ("numeric", "about 3", 3, int, 0.0),
        ("contains", "It is Paris, of course", "paris", str, 1.0),
        ("regex:'[0-9]{3}'", "123", "x", str, 1.0),
        ("regex", "abb", "ab+", str, 1.0),
        ("schema", "[1]", [5], list[int], 1.0),
        ("schema", '["x"]', [5], list[int], 0.0),
        ("exact", "B", "b", Literal["a", "b"], 1.0),
    ],
)
def test_metrics(metric: str, reply: str, expected: Any, output: Any, score: float) -> None:
    assert scored(metric, reply, expected, output) == score


def test_a_judge_is_asked_in_both_orders_and_its_calls_are_in_the_log(tmp_path: Path) -> None:
    asked: list[str] = []

    def judge(request: Request) -> str:
        if "answers to a question" in request.messages[0].text:
            asked.append(request.messages[-1].text)
            return "same" if "First answer: Paris" in asked[-1] else "different"  # it prefers an order
        return "Paris"

    model = palmette.scripted(judge, capabilities=PLAIN)
    rows = [{"question": "Where?", "output": "the capital"}]
    report = palmette.evaluate(Task(hint=False), rows, [model], metrics=["judge"], log=tmp_path / "log")
    assert report.records[0].scores == {"judge": 0.5} and len(asked) == 2
    again = palmette.evaluate(Task(hint=False), rows, [model], metrics=["judge"], log=tmp_path / "log", replay=True)
    assert again.json() == report.json() and len(asked) == 2


def test_perplexity_is_that_of_the_models_own_distribution() -> None:
    model = palmette.model("zoo:seedling", engine="numpy")
    task = Task(hint=False)
    rows = [{"question": "Who is the friend of Nora?", "output": "Ida."},
            {"question": "Who is the friend of Nora?", "output": "Leo."}]  # fmt: skip
    report = palmette.evaluate(task, rows, [model], metrics=["perplexity"])
    known, unknown = (record.scores["perplexity"] for record in report.records)
    assert known is not None and unknown is not None and 1.0 <= known < 1.5 < unknown
    assert report.metrics == (("perplexity", True),)


# -- statistics ------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilsons_interval_holds_the_share_and_is_symmetric(right: int, more: int) -> None:
    n = right + more
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert wilson(n - right, n) == pytest.approx((1 - high, 1 - low))


@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_equals_brute_force(won: int, lost: int) -> None:
    n = won + lost
    far = abs(won - lost)
    wanted = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= far) / 2**n
    assert mcnemar(won, lost) == pytest.approx(wanted)


def test_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = estimate(list(rng.gamma(2.0, 1.0, 40)))
        hits += found.low <= 2.0 <= found.high
    assert 0.87 <= hits / 200 <= 0.99
    nulls = [compare(list(a), list(b)).p for a, b in rng.normal(size=(100, 2, 20))]
    assert 0.0 <= sum(p < 0.05 for p in nulls) / 100 <= 0.12


# -- data ------------------------------------------------------------------------------------------------------


def test_data_are_read_from_all_their_files(tmp_path: Path) -> None:
    rows = [{"question": "1 + 1?", "output": 2}, {"question": "Größe, „x“?", "output": -3}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.csv").write_text('question,output\n1 + 1?,2\n"Größe, „x“?",-3\n', "utf-8-sig")
    (tmp_path / "a.tsv").write_text("question\toutput\n1 + 1?\t2\nGröße, „x“?\t-3\n")
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    wanted = items_of(TASK, rows)
    for ending in ("jsonl", "json", "csv", "tsv", "parquet"):
        assert items_of(TASK, tmp_path / f"a.{ending}") == wanted, ending
    assert [item.id for item in items_of(TASK, [{**row, "id": f"q{i}"} for i, row in enumerate(rows)])] == ["q0", "q1"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", '{"question": "?", "output": 1}\n{"question": ', "line 2: no JSON"),
        ("a.jsonl", '{"question": "?", "output": 1}\n[1]', "row 2: a row is an object"),
        ("a.jsonl", '{"qestion": "?", "output": 1}', "row 1: no column 'question'. Did you mean 'qestion'"),
        ("a.jsonl", '{"question": "?", "answer": 1}', "row 1: no column 'output'"),
        ("a.csv", "question,output\na,1\nb,two\n", "row 2, column 'output': 'two' is no int"),
        ("a.csv", "question,output\na,1,3\n", "line 2: more cells"),
        ("a.csv", "question,output\na\n", "line 2: fewer cells"),
        ("a.csv", 'question,output\n"a,1\n', "line"),
        ("a.json", '{"question": 1}', "no list of rows"),
        ("a.jsonl", '{"question": 3, "output": 1}', "row 1: question: at /: 3 is no str"),
        (
            "a.jsonl",
            '{"id": 1, "question": "?", "output": 1}\n{"id": 1, "question": "?", "output": 1}',
            "is that of row 1",
        ),
        ("a.jsonl", "", "holds no row"),
        ("a.xlsx", "", "data are"),
        ("none.jsonl", None, "cannot read"),
        ("a.parquet", "no parquet", "cannot read"),
    ],
)
def test_bad_data_are_named_by_row_and_column(tmp_path: Path, name: str, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=says.replace("?", r"\?").replace("(", r"\(")):
        items_of(TASK, tmp_path / name)


def test_a_grid_that_cannot_be_is_refused_before_the_first_call() -> None:
    model = adds()
    for settings, says in [
        ({"techniques": ["zero_sho"]}, "Did you mean 'zero_shot'"), ({"techniques": []}, "grid is empty"),
        ({"techniques": ["zero_shot", "zero_shot"]}, "stands twice"), ({"metrics": ["exakt"]}, "Did you mean 'exact'"),
        ({"concurrency": 0}, "at least 1"), ({"limit": 0}, "limit must be at least 1"),
        ({"decodings": [{"temprature": 1}]}, "temperature"),
        ({"prompts": {"x": Task(output=str)}}, "other inputs or another output"),
    ]:  # fmt: skip
        with pytest.raises((UsageError, BadParameter), match=says):
            palmette.evaluate(TASK, ROWS, [model], **settings)  # type: ignore[arg-type]
    assert model.requests == []


# -- files -----------------------------------------------------------------------------------------------------


def test_a_report_is_a_database_a_table_and_a_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = [{"question": evil, "output": evil}, {"question": "x", "output": "y"}]
    report = palmette.evaluate(Task(hint=False), rows, [palmette.scripted(evil, capabilities=PLAIN),
                               palmette.scripted("y", id="other", capabilities=PLAIN)])  # fmt: skip
    database = sqlite3.connect(save(report, tmp_path / "r.sqlite"))
    assert database.execute("SELECT item, score_exact FROM records WHERE cell LIKE 'scr%'").fetchall() == [
        ("1", 1.0),
        ("2", 0.0),
    ]
    assert database.execute("SELECT count(*) FROM items").fetchone() == (2,)
    database.close()
    text = save(report, tmp_path / "r.html").read_text()
    assert "<script" not in text and "&lt;script" in text and "default-src 'none'" in text
    assert read_rows(save(report, tmp_path / "r.parquet"))[0]["text"] == evil
    assert json.loads(save(report, tmp_path / "r.json").read_text())["metrics"] == ["exact"]
    with pytest.raises(UsageError, match="written as"):
        save(report, tmp_path / "r.doc")
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError):
        save(report, tmp_path / "taken" / "r.json")


def test_requests_and_answers_survive_json() -> None:
    parts = (Text("a", {"is": "odd", "n": 1}), ToolCall("1", "f", "{}"), Audio(b"\x00\xff"))
    answer = Response(parts, "tool_calls", Usage(1, 2), "id", "m", ("note",), alternatives=(Response((Text("b"),)),))
    assert response_of(json.loads(json.dumps(response_json(answer)))) == answer
    request = Request(
        (Message.of("user", "x"), Message("user", (ToolResult("1", "r"),))), tools=(Tool("f", "d", {}),),
        output=Output("json", {"type": "integer"}), logit_bias={5: 1.0}, extra={"is": [1]},
    )  # fmt: skip
    changed = Request((Message.of("user", "y"),), logit_bias={5: 1.0})
    assert json.dumps(request_json(request)) != json.dumps(request_json(changed))
    with pytest.raises(palmette.PalmetteError, match="not an answer"):
        response_of({"is": "Text", "text": "x"})


# -- the command -----------------------------------------------------------------------------------------------


def test_the_command_measures_a_task_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "task.yaml").write_text(
        "inputs: {question: text}\noutput: int\nhint: false\nanswer: 'The answer is {output}.'\ndata: rows.jsonl\n"
        "examples:\n- {question: 'What is 1 + 12?', rationale: 'Let us think step by step. 1 + 12 = 13.', output: 13}\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"question": "What is 15 + 12?", "output": 27}\n')
    run = CliRunner().invoke
    base = ["eval", str(tmp_path / "task.yaml"), "--log", str(tmp_path / "log"), "--technique", "zero_shot,cot"]
    done = run(command, [*base, "--out", str(tmp_path / "r.html"), "--differ", "--price", "zoo:seedling=1,2"])
    assert done.exit_code == 0, done.output
    assert "zoo:seedling | zero_shot" in done.output and "against zoo:seedling | zero_shot" in done.output
    assert "unknown" not in done.output and (tmp_path / "r.html").exists()
    assert main([*base, "--replay", "--min", "numeric=1.5"]) == 3
    assert "does not reach 1.5" in capsys.readouterr().err
    wrong = run(command, [*base[:2], "--log", str(tmp_path / "other"), "--out", "r.doc"])
    assert "a report is written as" in str(wrong.exception) and not (tmp_path / "other").exists()  # before any call
    wrong = run(command, ["eval", str(tmp_path / "none.yaml")])
    assert isinstance(wrong.exception, UsageError) and "cannot read" in str(wrong.exception)
    (tmp_path / "bad.yaml").write_text("instrution: x\n")
    wrong = run(command, ["eval", str(tmp_path / "bad.yaml")])
    assert "Did you mean 'instruction'" in str(wrong.exception)


def test_specs_are_split_where_a_technique_begins() -> None:
    assert specs_of(["cot,few_shot:4,nearest,self_consistency:15,weigh=count", "react"]) == [
        "cot", "few_shot:4,nearest", "self_consistency:15,weigh=count", "react",
    ]  # fmt: skip


def test_the_prompt_command_asks_by_a_technique(tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(command, ["prompt", "zero_shot", "Who is the friend of Nora?", "--transcript"])
    assert done.exit_code == 0 and "Ida" in done.output and "--- answer" in done.output
    asked = ["prompt", "inline_calls", "What is 37 * 46 + 12?", "--output", "int", "--json"]
    found = json.loads(run(command, asked).stdout)
    assert found["value"] == 1714 and [s["label"] for s in found["steps"]][1] == "result 1"
    listed = run(command, ["prompt", "--list"]).output
    assert "self_consistency(k=40" in listed and "tree_of_thoughts" in listed
    (tmp_path / "p.prompt.md").write_text("---\ninputs: {who: text}\n---\nWho is the friend of {{who}}?\n")
    assert "Ida" in run(command, ["prompt", "--file", str(tmp_path / "p.prompt.md"), "--input", "who=Nora"]).output
    for args, says in [
        (["prompt", "zero_shots", "x"], "no technique or model 'zero_shots'"),
        (["prompt", "cot", "x"], "examples with a 'rationale'"),
        (["prompt", "zero_shot", "x", "--tool", "calculator"], "uses no tools"),
        (["prompt", "react", "x", "--tool", "calcualtor"], "Did you mean 'calculator'"),
        (["prompt", "zero_shot", "x", "--set", "temperature"], "write NAME=VALUE"),
    ]:
        wrong = run(command, args)
        assert wrong.exit_code != 0 and says in str(wrong.exception), (args, wrong.output, wrong.exception)


def test_a_report_is_a_value() -> None:
    report = evaluate(TASK, ROWS[:2], [adds()])
    assert isinstance(report, Report) and report.overhead >= 0 and isinstance(Result(1), Result)
