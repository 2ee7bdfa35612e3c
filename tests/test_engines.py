"""Laws of the engines: a token tree gives the scores of plain forward passes, however it grows, forks and dies."""

from __future__ import annotations

import copy
import functools
import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from palmette.core.engine import Node, Strategy
from palmette.core.errors import (
    BadParameter,
    ConfigMismatch,
    EmptyPrompt,
    PromptTooLong,
    Unsupported,
    UnsupportedArchitecture,
    UsageError,
)
from palmette.models.engines import gguf_engine, numpy_engine, tree
from palmette.models.engines.batch import Batch, Output
from palmette.models.engines.pool import SlotPool
from palmette.models.engines.tree import TreeEngine
from palmette.tokens import strategies
from palmette.tokens.decode import decode

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from palmette.models.engines import torch_engine  # noqa: E402

CLOSE = 1e-4
Plain = Callable[[list[int]], np.ndarray]


@functools.cache
def plain_model(name: str) -> Any:
    """The architecture's model as transformers runs it, its attention spelled out."""
    from transformers import AutoModelForCausalLM

    how = {"dtype": torch.float32, "attn_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(tiny.folder(name), **how).eval()


def plain(name: str, tokens: list[int]) -> np.ndarray:
    """Scores of the next token by a plain forward pass without a cache."""
    with torch.inference_mode():
        return np.asarray(plain_model(name)(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1])


@functools.cache
def engine(kind: str, name: str) -> Any:
    """A loaded engine, one for the session: so every test also runs on a pool that was used before."""
    if kind == "gguf":
        return gguf_engine.load(tiny.gguf_file(name))
    return torch_engine.load(tiny.folder(name)) if kind == "torch" else numpy_engine.load(tiny.folder(name))


def same(node: Node, name: str, tokens: list[int]) -> None:
    wanted = plain(name, tokens)
    assert np.abs(node.logits - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    assert node.depth == len(tokens)


GGUF = [n for n in tiny.ARCHITECTURES if n.startswith("llama")] + ["qwen3 without biases"]
ALL = [("torch", name) for name in tiny.ARCHITECTURES] + [("numpy", name) for name in tiny.NUMPY]
ALL += [("gguf", name) for name in GGUF]  # more of them, and with other tolerances, in test_gguf_engine.py
every_engine = pytest.mark.parametrize(("kind", "name"), ALL, ids=lambda x: x)
SOME = [("torch", "gemma3_text"), ("torch", "llama"), ("torch", "gptj"), ("numpy", "mistral")]
some_engines = pytest.mark.parametrize(("kind", "name"), SOME)
with_gguf = pytest.mark.parametrize(("kind", "name"), [*SOME, ("gguf", "llama"), ("gguf", "qwen3 without biases")])


def used(model: Any) -> int:
    """Slots of the pool, or llama.cpp's sequences, in use."""
    if isinstance(model, gguf_engine.GgufEngine):
        model.settle()
        return model.branches
    return int(model.pool.used)


# -- scores ------------------------------------------------------------------------------------------------------------


@every_engine
def test_a_tree_that_grows_forks_and_dies_gives_the_scores_of_plain_forwards(kind: str, name: str) -> None:
    """Multi-token extensions, branches, freed and reused slots, far beyond a sliding window of 8."""
    model, rng = engine(kind, name), np.random.default_rng(1)
    start = tiny.tokens(rng, 14)
    prompts = [start, start[:9] + tiny.tokens(rng, 4)]
    live = list(zip(model.prefill(prompts), prompts, strict=True))
    for node, tokens in live:
        same(node, name, tokens)
    for _ in range(6):
        new = [tiny.tokens(rng, int(rng.integers(1, 4))) for _ in live]
        grown = model.extend([node for node, _ in live], new)
        pairs = [(node, tokens + more) for node, (_, tokens), more in zip(grown, live, new, strict=True)]
        for node, tokens in pairs:
            same(node, name, tokens)
            if node.parent is not None and len(tokens) > 14:
                same(node.parent, name, tokens[:-1])
        live = [pairs[i] for i in rng.integers(0, len(pairs), 3)]  # some twice, some never again
        del node, grown, pairs


@some_engines
def test_a_prompt_in_chunks_is_a_prompt_at_once(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = engine(kind, name), tiny.tokens(np.random.default_rng(2), 40)
    monkeypatch.setattr(tree, "CHUNK", 16)
    before = model.passes
    same(model.prefill([tokens])[0], name, tokens)
    assert model.passes == before + 3


@some_engines
def test_a_shared_prefix_is_stored_once_and_changes_nothing(kind: str, name: str) -> None:
    model, rng = engine(kind, name), np.random.default_rng(3)
    base = tiny.tokens(rng, 12)
    prompts = [base + tiny.tokens(rng, 3), base + tiny.tokens(rng, 5), base, base]
    before = model.pool.used
    roots = model.prefill(prompts)
    assert model.pool.used - before == 12 + 3 + 5
    for root, prompt in zip(roots, prompts, strict=True):
        same(root, name, prompt)
        assert root.prompt == tuple(prompt)


@with_gguf
def test_batched_is_alone(kind: str, name: str) -> None:
    model, rng = engine(kind, name), np.random.default_rng(4)
    prompts = [tiny.tokens(rng, n) for n in (3, 17, 1)]
    more = [tiny.tokens(rng, n) for n in (1, 3, 2)]
    together = model.extend(model.prefill(prompts), more)
    for prompt, new, node in zip(prompts, more, together, strict=True):
        alone = model.extend(model.prefill([prompt]), [new])[0]
        np.testing.assert_allclose(node.logits, alone.logits, atol=CLOSE)


@pytest.mark.parametrize("name", tiny.NUMPY)
def test_numpy_equals_torch_hidden_states_included(name: str) -> None:
    prompt, more = tiny.tokens(np.random.default_rng(5), 11), [5, 6, 7]
    for one, other in zip(
        *(e.extend(e.prefill([prompt], hidden=True), [more]) for e in (engine("numpy", name), engine("torch", name))),
        strict=True,
    ):
        np.testing.assert_allclose(one.logits, other.logits, atol=CLOSE)
        np.testing.assert_allclose(one.hidden, other.hidden, atol=CLOSE)
        np.testing.assert_allclose(one.layers, other.layers, atol=CLOSE)


# -- hidden states -----------------------------------------------------------------------------------------------------


@with_gguf
def test_hidden_states_are_those_of_the_model_and_lead_to_its_scores(kind: str, name: str) -> None:
    model, tokens = engine(kind, name), tiny.tokens(np.random.default_rng(6), 13)
    root = model.prefill([tokens[:10]], hidden=True)[0]
    leaf = model.extend([root], [tokens[10:]])[0]
    with torch.inference_mode():
        states = plain_model(name)(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states
    last = np.asarray(states[-1][0])
    np.testing.assert_allclose(root.hidden, last[:10], atol=CLOSE)
    np.testing.assert_allclose(leaf.hidden, last[12:], atol=CLOSE)
    np.testing.assert_allclose(leaf.layers, [np.asarray(s[0, -1]) for s in states], atol=CLOSE)
    np.testing.assert_allclose(model.project(leaf.hidden)[0], leaf.logits, atol=CLOSE)


@with_gguf
def test_without_the_wish_no_hidden_state_is_kept_even_in_company(kind: str, name: str) -> None:
    model = engine(kind, name)
    wishing, plain_root = model.prefill([[5, 6]], hidden=True)[0], model.prefill([[7, 8]])[0]
    first, second = model.extend([wishing, plain_root], [[9], [9]])
    assert first.hidden.shape[0] == 1
    for node in (plain_root, second):
        with pytest.raises(Unsupported, match="hidden=True"):
            _ = node.hidden
        with pytest.raises(Unsupported, match="hidden=True"):
            _ = node.layers


# -- slots -------------------------------------------------------------------------------------------------------------


@some_engines
def test_slots_come_back_as_soon_as_their_nodes_are_gone(kind: str, name: str) -> None:
    model = engine(kind, name)
    gc.collect()
    gc.disable()  # reference counts alone must suffice: a dead prompt would else stay until some later collection
    try:
        before, extent = model.pool.used, model.pool.extent
        root = model.prefill([[3, 4, 5]])[0]
        leaf = model.extend([root], [[6, 7]])[0]
        other = model.extend([root], [[8]])[0]
        del root
        assert model.pool.used == before + 6
        del leaf
        assert model.pool.used == before + 4
        del other
        assert (model.pool.used, model.pool.extent) == (before, extent)
    finally:
        gc.enable()


@some_engines
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_pass_leaks_nothing_and_breaks_nothing(
    kind: str, name: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = engine(kind, name)
    root = model.prefill([[3, 4, 5]])[0]
    before = model.pool.used

    def fail(batch: Batch) -> Output:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", fail)
        with pytest.raises(error):
            model.extend([root, root], [[6], [7, 8]])
        with pytest.raises(error):
            model.prefill([[9] * 5])
    assert model.pool.used == before
    same(model.extend([root], [[6]])[0], name, [3, 4, 5, 6])


def test_the_pool_gives_the_lowest_free_slot_and_shrinks() -> None:
    rooms: list[int] = []
    pool = SlotPool(rooms.append, capacity=2)
    cells = {i: pool.take(i) for i in range(5)}
    assert rooms == [2, 4, 8] and pool.capacity == 8
    assert [c.slot for c in cells.values()] == [0, 1, 2, 3, 4]
    del cells[3], cells[1]
    assert (pool.used, pool.extent) == (3, 5)
    taken = pool.take(9)
    assert taken.slot == 1 and pool.depth[1] == 9
    del cells[4]
    assert (pool.used, pool.extent) == (3, 3)
    del taken, cells
    assert (pool.used, pool.extent, pool.take(0).slot) == (0, 0, 0)


def test_the_pool_equals_a_set_of_slots_under_random_use() -> None:
    pool, rng = SlotPool(lambda capacity: None, capacity=1), np.random.default_rng(7)
    held: list[Any] = []
    for _ in range(3000):
        if held and rng.random() < 0.49:
            held.pop(int(rng.integers(len(held))))
        else:
            used = {c.slot for c in held}
            held.append(pool.take(0))
            assert held[-1].slot == min(set(range(len(used) + 1)) - used)
        assert pool.used == len(held)
        assert pool.extent == max((c.slot + 1 for c in held), default=0)


def test_memory_is_counted_in_slots() -> None:
    model = engine("torch", "llama")
    gc.collect()
    bytes_before, used = model.key_value_bytes, model.pool.extent
    root = model.prefill([[3] * 10])[0]
    assert model.slot_bytes == 2 * 4 * 2 * 2 * 8  # keys and values, float32, layers, key heads, head size
    assert model.key_value_bytes - bytes_before == 10 * model.slot_bytes * (used + 10 == model.pool.extent)
    assert model.allocated_bytes == model.pool.capacity * model.slot_bytes
    assert engine("numpy", "llama").slot_bytes == model.slot_bytes
    del root


# -- what is asked wrongly ---------------------------------------------------------------------------------------------


@with_gguf
def test_what_cannot_run_is_refused_before_it_runs(kind: str, name: str) -> None:
    model = engine(kind, name)
    before = used(model)
    with pytest.raises(EmptyPrompt):
        model.prefill([[]])
    with pytest.raises(PromptTooLong, match="129 tokens, the context holds 128"):
        model.prefill([[3] * 129])
    with pytest.raises(UsageError, match="token 300 is outside the vocabulary of 300"):
        model.prefill([[3, 300]])
    root = model.prefill([[3] * 127])[0]
    assert model.extend([root], [[4]])[0].depth == 128
    with pytest.raises(PromptTooLong, match="127 tokens and 2 more do not fit the context of 128"):
        model.extend([root], [[4, 5]])
    with pytest.raises(UsageError, match="token -1 is outside"):
        model.extend([root], [[-1]])
    with pytest.raises(UsageError, match="another engine"):
        engine("torch", "opt").extend([root], [[4]])
    del root
    assert used(model) == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_and_is_near(dtype: str) -> None:
    model = torch_engine.load(tiny.folder("llama"), dtype=dtype)
    tokens = tiny.tokens(np.random.default_rng(8), 12)
    leaf = model.extend(model.prefill([tokens[:9]]), [tokens[9:]])[0]
    wanted = plain("llama", tokens)
    assert leaf.logits.dtype == np.float32
    assert np.sqrt(np.mean((leaf.logits - wanted) ** 2)) < 0.1 * wanted.std()


def test_bad_settings_are_named() -> None:
    with pytest.raises(BadParameter, match=r"dtype must be one of .* not 'int4'"):
        torch_engine.load(tiny.folder("llama"), dtype="int4")
    with pytest.raises(BadParameter, match="no device 'gpu'"):
        torch_engine.load(tiny.folder("llama"), device="gpu")


# -- architectures that cannot be right --------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mamba": ({}, "recurrent state"),
    "rwkv": ({}, "recurrent state"),
    "bloom": ({"n_head": 4, "n_layer": 2}, "position ids"),
    "falcon": ({"alibi": True}, "Falcon"),
    "llama4_text": ({"head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 48}, "chunked_attention"),
    "gpt_neo": (
        {"attention_types": [[["global", "local"], 1]], "window_size": 8, "num_layers": 2, "num_heads": 4},
        "local attention",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_tree_attention_cannot_serve_is_refused_with_the_reason(name: str) -> None:
    settings, reason = REFUSED[name]
    model, tokenizer = tiny.build(name, **settings), tiny.byte_level(tiny.home() / "bytes")
    with pytest.raises(UnsupportedArchitecture, match=reason):
        torch_engine.TorchEngine(model, tokenizer)


def test_an_unknown_model_that_looks_right_but_is_not_is_refused_by_the_self_check() -> None:
    """A layer lets every token see the mean of all: config and interface look like any Llama's."""
    model = tiny.build("llama")
    attention = model.model.layers[0].self_attn
    real = attention.forward

    def leaky(hidden_states: Any, **kwargs: Any) -> Any:
        out, weights = real(hidden_states, **kwargs)
        return out + 0.2 * hidden_states.mean(dim=1, keepdim=True), weights

    attention.forward = leaky
    with pytest.raises(UnsupportedArchitecture, match="differ from plain forwards"):
        torch_engine.TorchEngine(model, tiny.byte_level(tiny.home() / "bytes"))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotary_scalings_that_change_with_length_end_the_context_where_they_begin(kind: str) -> None:
    extra = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4} if kind == "longrope" else {"factor": 4.0}
    scaling = {"rope_type": kind, "rope_theta": 1e4, "original_max_position_embeddings": 32, **extra}
    settings: dict[str, Any] = {"sliding_window": None, "original_max_position_embeddings": 32}
    model = tiny.build("phi3" if kind == "longrope" else "llama", rope_parameters=scaling, **settings)
    reference = copy.deepcopy(model)
    limited = torch_engine.TorchEngine(model, tiny.byte_level(tiny.home() / "bytes"))
    assert limited.context_length == 32
    tokens = tiny.tokens(np.random.default_rng(9), 32)
    leaf = limited.extend(limited.prefill([tokens[:30]]), [tokens[30:]])[0]
    with torch.inference_mode():
        wanted = np.asarray(reference(input_ids=torch.tensor([tokens])).logits[0, -1])
    np.testing.assert_allclose(leaf.logits, wanted, atol=CLOSE * max(1, np.abs(wanted).max()))


# -- the numpy engine reads configs of both generations, and refuses what it does not know ----------------------------


def changed(name: str, path: Path, **changes: Any) -> Path:
    """A copy of a model folder with other keys in its config.json."""
    shutil.copytree(tiny.folder(name), path)
    tiny.rewrite(path, **changes)
    return path


def test_a_config_of_transformers_4_gives_the_same_scores(tmp_path: Path) -> None:
    name = "llama with linear scaling"
    old = numpy_engine.load(
        changed(name, tmp_path / "old", rope_parameters=None, rope_theta=500.0,
                rope_scaling={"type": "linear", "factor": 2.0})
    )  # fmt: skip
    prompt = tiny.tokens(np.random.default_rng(10), 20)
    np.testing.assert_array_equal(old.prefill([prompt])[0].logits, engine("numpy", name).prefill([prompt])[0].logits)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("llama", {"model_type": "mamba"}, "knows .* not the architecture 'mamba'"),
        ("llama", {"hidden_act": "relu2"}, "hidden_act 'relu2'"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"residual_multiplier": 0.5}, "residual_multiplier"),
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("llama", {"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ("llama", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_type 'yarn'"),
        ("llama", {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 2]}}, "mrope_section"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("gpt2", {"activation_function": "gelu"}, "activation_function 'gelu'"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ],
)
def test_a_setting_that_changes_the_arithmetic_is_never_ignored(
    name: str, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedArchitecture, match=reason):
        numpy_engine.load(changed(name, tmp_path / "other", **changes))


@pytest.mark.parametrize("load", [numpy_engine.load, torch_engine.load], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vocab_size": 310}, r"embed_tokens.weight' has the shape \(300, 32\), config.json says \(310, 32\)"),
        ({"intermediate_size": 1_000_000}, r"shape \(48, 32\), config.json says \(1000000, 32\)"),
        ({"num_hidden_layers": 3}, "model.layers.2"),
        ({"num_hidden_layers": 100_000}, "100000 layers|model.layers.2"),
        ({"num_key_value_heads": 4}, r"k_proj.weight' has the shape \(16, 32\), config.json says \(32, 32\)"),
    ],
)
def test_weights_that_disagree_with_the_config_are_refused_by_name_and_shape(
    load: Callable[[Path], TreeEngine], changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigMismatch, match=reason):
        load(changed("llama", tmp_path / "other", **changes))


@pytest.mark.parametrize("load", [numpy_engine.load, torch_engine.load], ids=["numpy", "torch"])
def test_a_tensor_that_the_config_does_not_describe_is_refused(
    load: Callable[[Path], TreeEngine], tmp_path: Path
) -> None:
    with pytest.raises(ConfigMismatch, match=r"k_proj.bias' that config.json does not describe"):
        load(changed("qwen3", tmp_path / "other", attention_bias=False))


def test_end_of_sequence_ids_come_from_the_folder(tmp_path: Path) -> None:
    assert engine("numpy", "llama").eos == engine("torch", "llama").eos == {2}
    path = changed("llama", tmp_path / "other")
    (path / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    assert numpy_engine.load(path).eos == {2, 5}
    (path / "generation_config.json").write_text('{"eos_token_id": null}')
    assert numpy_engine.load(path).eos == {2}
    (path / "generation_config.json").write_text('{"eos_token_id": 300}')
    with pytest.raises(ConfigMismatch, match="300 is outside the vocabulary"):
        numpy_engine.load(path)


# -- folders as they come ----------------------------------------------------------------------------------------------


def test_the_embedded_model_is_the_same_in_both_engines() -> None:
    folder = Path(numpy_engine.__file__).parent.parent / "zoo" / "seedling"
    one, other = numpy_engine.load(folder), torch_engine.load(folder)
    prompt = one.tokenizer.encode("Once upon a time there was a small")
    assert prompt == other.tokenizer.encode("Once upon a time there was a small")
    first, second = one.prefill([prompt])[0], other.prefill([prompt])[0]
    for _ in range(20):
        np.testing.assert_allclose(first.logits, second.logits, atol=CLOSE)
        token = int(first.logits.argmax())
        first, second = one.extend([first], [[token]])[0], other.extend([second], [[token]])[0]
    assert one.eos == other.eos and one.context_length == other.context_length and one.vocabulary == other.vocabulary


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_files_are_read_exactly(dtype: str, tmp_path: Path) -> None:
    tiny.build("qwen3").to(getattr(torch, dtype)).save_pretrained(tmp_path)
    tiny.byte_level(tmp_path)
    prompt = tiny.tokens(np.random.default_rng(11), 12)
    one, other = (load(tmp_path).prefill([prompt])[0] for load in (numpy_engine.load, torch_engine.load))
    np.testing.assert_allclose(one.logits, other.logits, atol=CLOSE)
    assert str(torch_engine.load(tmp_path, dtype="auto").dtype) == f"torch.{dtype}"


def test_a_sharded_folder_is_the_same_model(tmp_path: Path) -> None:
    tiny.build("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    tiny.byte_level(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    prompt = tiny.tokens(np.random.default_rng(12), 12)
    for load in (numpy_engine.load, torch_engine.load):
        same(load(tmp_path).prefill([prompt])[0], "llama", prompt)


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [(strategies.greedy(), {}), (strategies.beam(3), {"num_beams": 3}), (strategies.beam(5), {"num_beams": 5})],
    ids=["greedy", "3 beams", "5 beams"],
)
@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2"])
def test_strategies_say_what_transformers_says(name: str, strategy: Strategy, settings: dict[str, int]) -> None:
    prompt = tiny.tokens(np.random.default_rng(13), 10)
    ids = torch.tensor([prompt])
    wanted = plain_model(name).generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, **settings
    )[0, 10:]
    found = decode(engine("torch", name), prompt, strategy, max_tokens=12).run()
    assert list(found.answers[0].tokens) == wanted.tolist()
