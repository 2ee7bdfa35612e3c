"""Evaluation on a real Ray cluster, started on this machine: the same rows, the same log, errors as they are."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import answer, served

import palmette
from palmette.cli.main import main
from palmette.core import errors
from palmette.core.errors import MissingExtra, ModelNotFound, PalmetteError, UnknownModel, UsageError
from palmette.models.clustered import Clustered
from palmette.prompts.evaluate.log import LoggedError

ROWS = [{"question": f"Mila has {n} cups. She buys 2. How many cups does Mila have?", "output": n + 2}
        for n in range(3, 9)]  # fmt: skip
SHOWN = {"question": "Ben has 4 nuts. He eats 1. How many nuts does Ben have?", "rationale": "4 - 1 = 3.", "output": 3}
TASK = palmette.Task(output=int, examples=[SHOWN], answer="The answer is {output}.", hint=False)
KINDS = ["zero_shot", "chain_of_thought:1", "self_consistency:3,early_stop=false"]
FAMILY = [
    errors.UnknownName("tool", "calc", ["calculator"]), errors.RecipeError("models[0]", "no weight"),
    errors.SchemaError("/a", "no type"), errors.BudgetTooSmall(9, 3), errors.MissingExtra("x", "ray"),
    errors.Busy("full", 2.5), errors.ProviderFailed("overloaded", 529), errors.Unanswered("no", {"a": 1}),
    LoggedError("TimedOut", "silence"),
]  # fmt: skip


@pytest.mark.parametrize("error", FAMILY, ids=lambda e: type(e).__name__)
def test_an_error_arrives_from_another_process_as_it_was_raised(error: PalmetteError) -> None:
    made = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert type(made) is type(error) and str(made) == str(error) and made.__dict__ == error.__dict__


def test_a_cluster_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"palmette\[ray\]"):
        palmette.evaluate(TASK, ROWS, ["zoo:seedling"], ray="local")
    with pytest.raises(UsageError, match="say which"):
        palmette.evaluate(TASK, ROWS, ["zoo:seedling"], workers=2)


@pytest.fixture(scope="module")
def cluster() -> Any:
    """What an API on this machine is asked, through a cluster on this machine that "auto" finds afterwards."""
    ray = pytest.importorskip("ray", reason="RAY IS NOT INSTALLED: evaluation on a cluster was not tested")
    with served([answer(400, {"error": "no such thing"})]) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLLAMA_HOST", server.url)  # workers have the environment in which the cluster was started
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False)
        yield server
        ray.shutdown()


def calls(log: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    return {row["call"]: row["answer"] for row in rows}


def test_the_rows_the_log_and_the_replay_are_those_of_one_machine(tmp_path: Path, cluster: Any) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    one = palmette.evaluate(TASK, ROWS, ["zoo:seedling"], KINDS, decodings=[{}, {"temperature": 0.7}], log=here)
    two = palmette.evaluate(TASK, ROWS, ["zoo:seedling"], KINDS, decodings=[{}, {"temperature": 0.7}], log=there,
                            ray="auto", workers=2)  # fmt: skip
    timeless = lambda r: [{k: v for k, v in record.row.items() if k != "seconds"} for record in r.records]  # noqa: E731
    assert timeless(one) == timeless(two) and one.made == two.made
    assert calls(here) == calls(there)
    again = palmette.evaluate(TASK, ROWS, ["zoo:seedling"], KINDS, decodings=[{}, {"temperature": 0.7}], log=there,
                              replay=True)  # fmt: skip
    assert again.json() == two.json() and again.made == 0
    assert one.summaries[0].cost == two.summaries[0].cost == 0.0


def test_the_command_goes_on_from_the_log_of_a_cluster(tmp_path: Path, cluster: Any, capsys: Any) -> None:
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"output": "int", "data": "rows.jsonl"}))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    common = ["eval", str(task), "--model", "zoo:seedling", "--log", str(tmp_path / "log.jsonl")]
    assert main([*common, "--limit", "3", "--ray", "auto"]) == 0
    before = (tmp_path / "log.jsonl").read_bytes()
    assert main([*common, "--ray", "auto", "--workers", "1"]) == 0
    assert (tmp_path / "log.jsonl").read_bytes().startswith(before)
    assert len(calls(tmp_path / "log.jsonl")) == len(ROWS)
    assert main([*common, "--replay", "--ray", "nowhere:1"]) == 0  # nobody is asked
    assert "6 items" in capsys.readouterr().out


def test_calls_of_an_api_are_made_there_and_errors_are_told_as_they_are(cluster: Any) -> None:
    report = palmette.evaluate(TASK, ROWS[:1], ["ollama:m"], ray="auto")
    assert [path for path, _, _ in cluster.requests] == ["/api/chat"]
    assert report.records[0].failure.startswith("RequestRefused: ") and "no such thing" in report.records[0].failure
    with pytest.raises(UnknownModel, match="Did you mean"):
        palmette.evaluate(TASK, ROWS, ["zoo:seedlin"], ray="auto")
    with pytest.raises(ModelNotFound):
        palmette.evaluate(TASK, ROWS, ["./no/such/folder"], ray="auto")
    with pytest.raises(UsageError, match="by name"):
        palmette.evaluate(TASK, ROWS, [palmette.scripted("3")], ray="auto")


def test_a_lost_worker_is_replaced(cluster: Any) -> None:
    with Clustered("auto", 1) as workers:
        model = workers.model("zoo:seedling")
        first = model.respond("Who is the friend of Nora?", temperature=0, max_tokens=6)
        os.kill(workers.ask("process"), signal.SIGKILL)
        assert model.respond("Who is the friend of Nora?", temperature=0, max_tokens=6) == first
