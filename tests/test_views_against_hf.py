"""Views against transformers' own processors, on random rows with and without ties, as sets and as probabilities."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rows import RowEngine, seen_through
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation import logits_process as hf
from transformers.modeling_outputs import CausalLMOutput

from palmette.core.engine import View
from palmette.tokens.dialect import chain
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.views import (
    compose,
    epsilon,
    eta,
    guide,
    logit_bias,
    min_length,
    min_p,
    no_repeat_ngram,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
    typical,
)

SIZE = 40
Row = NDArray[np.float32]


def rows(seed: int) -> list[Row]:
    """Sharp and flat rows, rows on a grid (many exact ties), and rows that hold −inf."""
    rng = np.random.default_rng(seed)
    found = [(rng.normal(size=SIZE) * spread).astype(np.float32) for spread in (0.3, 1.0, 3.0)]
    found.append(np.round(found[1] * 2) / 2)
    masked = found[2].copy()
    masked[rng.choice(SIZE, 15, replace=False)] = -np.inf
    return [*found, masked]


def processed(processor: Any, row: Row, tokens: Sequence[int] = (0,)) -> NDArray[np.float64]:
    scores = processor(torch.tensor([list(tokens)]), torch.tensor(row[None].copy()))
    result: NDArray[np.float64] = torch.softmax(scores.double(), -1)[0].numpy()
    return result


def assert_same(ours: NDArray[np.float64], theirs: NDArray[np.float64], swap_ties: bool = False) -> None:
    """Equal sets and probabilities; with `swap_ties` up to which of several tied tokens is meant."""
    if swap_ties:
        ours, theirs = np.sort(ours), np.sort(theirs)
    assert ((ours > 0) == (theirs > 0)).all()
    assert ours == pytest.approx(theirs, abs=2e-6)


POINTWISE: dict[str, tuple[Callable[[float], View], Callable[[float], Any], list[float], bool]] = {
    "temperature": (temperature, hf.TemperatureLogitsWarper, [0.3, 0.7, 1.6], False),
    "top_k": (lambda k: top_k(int(k), "keep"), lambda k: hf.TopKLogitsWarper(int(k)), [1, 3, 7, 39, 80], False),
    "top_p": (lambda p: top_p(p, "hf"), hf.TopPLogitsWarper, [0.01, 0.35, 0.62, 0.93, 0.999], True),
    "min_p": (min_p, hf.MinPLogitsWarper, [0.0, 0.03, 0.21, 0.77], False),
    "typical": (lambda m: typical(m, "keep"), hf.TypicalLogitsWarper, [0.11, 0.43, 0.88, 0.97], False),
    "epsilon": (epsilon, hf.EpsilonLogitsWarper, [0.001, 0.017, 0.13, 0.9], False),
    "eta": (eta, hf.EtaLogitsWarper, [0.001, 0.017, 0.13, 0.9], False),
}


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("seed", range(6))
def test_a_view_of_one_step_is_the_processor(name: str, seed: int) -> None:
    view, processor, values, swap_ties = POINTWISE[name]
    for row in rows(seed):
        for value in values:
            assert_same(seen_through([view(value)], row), processed(processor(value), row), swap_ties)


def test_an_epsilon_above_all_keeps_every_token_that_ties_for_the_best() -> None:
    row = np.array([1, 1, 0, 1], np.float32)
    assert_same(seen_through([epsilon(0.9)], row), processed(hf.EpsilonLogitsWarper(0.9), row))
    assert np.flatnonzero(seen_through([epsilon(0.9)], row)).tolist() == [0, 1, 3]


@pytest.mark.parametrize("seed", range(8))
def test_penalties_and_blocks_are_the_processors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 6, rng.integers(1, 30)).tolist()
    cut = int(rng.integers(1, len(tokens) + 1))
    pairs: list[tuple[View, Any]] = [
        (repetition_penalty(1.3), hf.RepetitionPenaltyLogitsProcessor(1.3)),
        (repetition_penalty(0.8), hf.RepetitionPenaltyLogitsProcessor(0.8)),
        (repetition_penalty(1.3, "output"), hf.RepetitionPenaltyLogitsProcessor(1.3, prompt_ignore_length=cut)),
        (min_length(9), hf.MinNewTokensLengthLogitsProcessor(cut, 9, [3, 4])),
        (logit_bias({2: 1.5, 7: -3.0}), hf.SequenceBiasLogitsProcessor({(2,): 1.5, (7,): -3.0})),
        *((no_repeat_ngram(n), hf.NoRepeatNGramLogitsProcessor(n)) for n in (1, 2, 3, 4)),
    ]
    for view, processor in pairs:
        for row in rows(seed):
            ours = seen_through([view], row, tokens[:cut], tokens[cut:], eos=[3, 4])
            assert_same(ours, processed(processor, row, tokens))


def test_guidance_is_the_processor() -> None:
    table = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    engine = MatrixEngine(np.ones((6, 6)))
    engine.logits = table

    def model(input_ids: torch.Tensor, **_: object) -> CausalLMOutput:
        return CausalLMOutput(logits=torch.tensor(table)[input_ids])

    negative = torch.tensor([[2, 1]])
    processor = hf.UnbatchedClassifierFreeGuidanceLogitsProcessor(1.7, model, unconditional_ids=negative)
    seen = guide("cb", 1.7)(engine)
    node, tokens = seen.prefill([[0, 4]])[0], [0, 4]
    for token in (3, 1, 1, 5):
        assert_same(np.exp(node.scores.logprobs()), processed(processor, table[tokens[-1]], tokens))
        node = seen.extend([node], [[token]])[0]
        tokens.append(token)


@functools.cache
def tiny() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=SIZE, n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2, pad_token_id=2
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(5)  # a fresh model is nearly uniform
    return model


CHAINS: list[dict[str, Any]] = [
    {},
    {"top_k": 0},
    {"temperature": 0.6, "top_p": 0.8},
    {"temperature": 1.5, "top_k": 12, "top_p": 0.9, "min_p": 0.04},
    {"temperature": 0.8, "typical_p": 0.7, "top_p": 0.95, "top_k": 0},
    {"temperature": 2.5, "typical_p": 0.5, "top_p": 0.6, "min_p": 0.2, "top_k": 20},
    {"epsilon_cutoff": 0.02, "eta_cutoff": 0.04, "temperature": 1.2},
    {"epsilon_cutoff": 0.05, "eta_cutoff": 0.3, "temperature": 2.0, "typical_p": 0.6, "top_k": 0},
    {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 6, "top_k": 9},
    {"sequence_bias": {(5,): 2.0, (9,): -1.0}, "suppress_tokens": [3, 4], "repetition_penalty": 1.2, "top_p": 0.7},
    {"do_sample": False, "repetition_penalty": 1.8, "no_repeat_ngram_size": 3},
]


@pytest.mark.parametrize("asked", CHAINS, ids=lambda s: ",".join(s) or "defaults")
def test_the_hf_dialect_is_what_generate_does(asked: dict[str, Any]) -> None:
    prompt = [7, 5, 7, 5, 9]
    torch.manual_seed(1)
    done = tiny().generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=14,
        output_scores=True, output_logits=True, return_dict_in_generate=True, **{"do_sample": True, **asked},
    )  # fmt: skip
    answer = done.sequences[0, len(prompt) :].tolist()
    assert len(answer) > 3
    settings = dict(asked)
    if "sequence_bias" in settings:
        settings["sequence_bias"] = {ids[0]: bias for ids, bias in settings["sequence_bias"].items()}
    raw = torch.cat(done.logits).numpy()
    assert np.median([(torch.softmax(row, -1) > 0.02).sum() for row in done.logits]) >= 5, "rows worth truncating"
    engine = compose(RowEngine(raw, eos=2), chain("hf", settings))
    node = engine.prefill([prompt])[0]
    for step, token in enumerate(answer):
        ours = np.exp(node.scores.logprobs())
        theirs = torch.softmax(done.scores[step][0].double(), -1).numpy()
        if asked.get("do_sample", True):
            assert_same(ours, theirs)
        else:
            assert np.flatnonzero(ours).tolist() == [int(theirs.argmax())]
        node = engine.extend([node], [[token]])[0]
