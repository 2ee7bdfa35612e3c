"""The torch engine and the landscape on a GPU: the same numbers as on the CPU. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

import palmette
from palmette.cli.main import main
from palmette.models.engines import torch_engine
from palmette.models.landscapes.subject import module
from palmette.weights.landscape.directions.base import Random
from palmette.weights.landscape.directions.curvature import Curvature
from palmette.weights.landscape.evaluate import Local
from palmette.weights.landscape.measure import measure
from palmette.weights.landscape.metric import TokenLoss
from palmette.weights.landscape.plan import Plan
from palmette.weights.landscape.space import Space

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

IDS = np.random.default_rng(0).integers(1, 60, (6, 12))


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_scores_are_those_of_a_plain_forward(name: str) -> None:
    engine = torch_engine.load(tiny.folder(name), device="cuda")
    how: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
    plain = AutoModelForCausalLM.from_pretrained(tiny.folder(name), **how).eval()
    rng = np.random.default_rng(1)
    prompts = [tiny.tokens(rng, 9), tiny.tokens(rng, 5)]
    new = [tiny.tokens(rng, 3), tiny.tokens(rng, 1)]
    nodes = engine.extend(engine.prefill(prompts), new)
    for node, prompt, more in zip(nodes, prompts, new, strict=True):
        with torch.inference_mode():
            wanted = plain(input_ids=torch.tensor([prompt + more]), use_cache=False).logits[0, -1].numpy()
        assert np.abs(node.logits - wanted).max() < 1e-4


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_text_is_that_of_the_cpu(name: str) -> None:
    how: dict[str, Any] = {"engine": "torch"}
    said = [palmette.model(str(tiny.folder(name)), device=place, **how) for place in ("cpu", "cuda")]
    answers = [str(model("the cat", strategy=palmette.beam(3), max_tokens=12)) for model in said]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_losses_of_a_landscape_are_those_of_the_cpu_and_the_model_is_put_back(name: str) -> None:
    folder, at = tiny.folder(name), (0.13, -0.21)
    found = []
    for place in ("cpu", "cuda"):
        net = module(folder, place)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        space, metric = Space(net), TokenLoss(net, IDS)
        d = [Random(seed).make(space) for seed in (0, 1)]
        with Local(space, metric) as run:
            run.aim(d)
            first, *_, again = list(run([at, *((0.01 * i, 0.02) for i in range(50)), at]))
        assert np.array_equal(first, again)  # bit for bit, after fifty others
        assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
        found.append((first, [x.cpu() for x in d]))
    for one, two in zip(found[0][1], found[1][1], strict=True):  # a recipe is one direction
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)


def test_a_plane_in_bfloat16_and_the_hessian() -> None:
    net = module(tiny.folder("gpt2"), "cuda")
    space, metric = Space(net, dtype=torch.bfloat16), TokenLoss(net, IDS)
    made = measure(space, metric, [Random(i).make(space) for i in (0, 1)], Plan(span=(-0.3, 0.3), most=50))
    count, off = made.facts["checked"]
    assert count == 4 and off < 0.05 and np.isfinite(made.within)
    values = []
    for place in ("cpu", "cuda"):
        net = module(tiny.folder("gpt2"), place)
        space = Space(net)
        values.append(Curvature(space, TokenLoss(net, IDS)).spectrum(1, tolerance=1e-3).values[0])
    assert values[1] == pytest.approx(values[0], rel=1e-3)


def test_the_command_line_draws_on_the_gpu(tmp_path: Path) -> None:
    text, page, table = (tmp_path / name for name in ("text.txt", "plane.html", "plane.npz"))
    text.write_text("the cat sat on the mat and the dog sat on the log\n" * 20, encoding="utf-8")
    call = ["landscape", str(tiny.folder("gpt2")), "--data", str(text), "--out", str(page), "--npz", str(table)]
    call += ["--device", "cuda", "--dtype", "bfloat16"]
    assert main(call) == 0
    assert np.isfinite(np.load(table)["loss"]).all()
