"""The gguf engine: llama.cpp's own scores and tokens, equal to the model's that the file was made from."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import palmette
from palmette.cli.main import palmette as command
from palmette.core.errors import (
    BadParameter,
    ConfigMismatch,
    CorruptCheckpoint,
    ModelNotFound,
    PalmetteError,
    PromptTooLong,
    UnknownModel,
    Unsupported,
    UnsupportedArchitecture,
)
from palmette.core.gguf import open_gguf, read_gguf_header
from palmette.core.gguf_types import from_float32, to_float32
from palmette.core.gguf_write import U32, write_gguf
from palmette.models.engines import gguf_engine, numpy_engine
from palmette.models.engines.gguf_lines import Growth, Line, Lines
from palmette.models.engines.tokenizer import FileTokenizer
from palmette.models.resolve import folder_of, looks_like_model, parse_reference
from palmette.weights.gguf.convert import convert
from palmette.weights.gguf.families import frequency_factors
from palmette.weights.gguf.vocabulary import vocabulary

pytest.importorskip("xllamacpp", reason="the extra gguf is not installed: pip install 'palmette[gguf]'")

SEEDLING = folder_of(parse_reference("zoo:seedling"))
FAMILIES = ["gpt2", "llama", "llama with biases, tied, llama3 scaling", "llama with linear scaling", "mistral", "qwen2",
            "qwen3 without biases"]  # fmt: skip
HALF = {"f32": 1e-4, "bf16": 0.03, "f16": 4e-3, "q8_0": 0.03}  # root mean square, relative to the scores' spread


@functools.cache
def seedling(dtype: str = "f32") -> Path:
    return convert(SEEDLING, tiny.home() / f"seedling-{dtype}.gguf", dtype).path


@functools.cache
def engine(name: str, dtype: str = "f32") -> gguf_engine.GgufEngine:
    return gguf_engine.load(seedling(dtype) if name == "seedling" else tiny.gguf_file(name, dtype))


def plain(name: str) -> Any:
    return numpy_engine.load(SEEDLING if name == "seedling" else tiny.folder(name))


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


# -- conversion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["seedling", *FAMILIES])
def test_a_converted_model_gives_the_scores_of_its_folder(name: str, dtype: str) -> None:
    ours, theirs, rng = engine(name, dtype), plain(name), np.random.default_rng(0)
    count = min(30, ours.context_length - 2)
    tokens = [int(t) for t in rng.integers(3, 300, count)]
    found, wanted = (e.extend(e.prefill([tokens[:-2]]), [tokens[-2:]])[0] for e in (ours, theirs))
    limit = max(HALF[dtype], 2e-3 if name == "gpt2" else 0)  # llama.cpp reads its GELU from a table of half precision
    assert off(found.logits, wanted.logits) < limit
    assert ours.vocabulary == theirs.vocabulary
    assert ours.eos == theirs.eos
    assert ours.context_length == (8 if name in ("mistral", "qwen2") else theirs.context_length)  # their window


def test_a_file_says_what_it_is() -> None:
    header = read_gguf_header(seedling("q8_0"))
    assert (header.architecture, header.quantisation, header.context_length) == ("llama", "Q8_0", 384)
    assert header.parameters == sum(np.prod(t.shape) for t in tensors_of_the_folder().values())
    assert header.chat_template


def tensors_of_the_folder() -> Any:
    from palmette.core.checkpoint import open_checkpoint

    return open_checkpoint(SEEDLING).tensors


def test_the_factors_of_llama_3_are_those_of_the_numpy_engine() -> None:
    from palmette.models.engines.rope import frequencies

    config = json.loads((tiny.folder("llama with biases, tied, llama3 scaling") / "config.json").read_text())
    factors = frequency_factors(config)
    assert factors is not None
    plain_ones = 1000.0 ** (-np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(plain_ones / factors, frequencies(config, 8), rtol=1e-6)


def test_what_llama_cpp_would_read_otherwise_is_not_converted(tmp_path: Path) -> None:
    def changed(name: str, source: str = "llama", **changes: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(tiny.folder(source), folder)
        tiny.rewrite(folder, **changes)
        return folder

    out = tmp_path / "x.gguf"
    with pytest.raises(UnsupportedArchitecture, match="'mixtral'"):
        convert(tiny.folder("mixtral"), out)
    with pytest.raises(UnsupportedArchitecture, match="no bias behind"):
        convert(tiny.folder("qwen3"), out)
    with pytest.raises(UnsupportedArchitecture, match="rope_type 'yarn'"):
        convert(changed("yarn", rope_parameters={"rope_type": "yarn", "factor": 4.0}), out)
    with pytest.raises(UnsupportedArchitecture, match="hidden_act 'relu'"):
        convert(changed("relu", hidden_act="relu"), out)
    with pytest.raises(BadParameter, match="one of f32, bf16, f16, q8_0, not 'q4'"):
        convert(tiny.folder("llama"), out, "q4")
    with pytest.raises(ConfigMismatch, match=r"q_norm.*qwen9|does not have"):
        convert(changed("extra", "gpt2", model_type="llama", hidden_size=32, num_attention_heads=4), out)
    folder = changed("words")
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(UnsupportedArchitecture, match="no pre-tokenizer like"):
        convert(folder, out)
    raw["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(UnsupportedArchitecture, match="normalizer Lowercase"):
        convert(folder, out)
    assert not out.exists()


def test_rows_that_do_not_fit_q8_0_are_f16_and_said(tmp_path: Path) -> None:
    tiny.build("llama", hidden_size=32, intermediate_size=44).save_pretrained(tmp_path)
    tiny.byte_level(tmp_path)
    done = convert(tmp_path, tmp_path / "x.gguf", "q8_0")
    assert [note.split(" ")[0] for note in done.notes] == ["blk.0.ffn_down.weight", "blk.1.ffn_down.weight"]
    kinds = {name: info.kind for name, info in open_gguf(done.path).tensors.items()}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("F16", "Q8_0")


def test_a_matrix_that_f16_cannot_hold_is_bf16_and_said(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "large"
    shutil.copytree(tiny.folder("llama"), folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith("layers.1.mlp.up_proj.weight"))
    tensors[name] = tensors[name].copy()
    tensors[name][3, 2] = -131072.0
    save_file(tensors, folder / "model.safetensors")
    done = convert(folder, tmp_path / "x.gguf")
    assert done.notes == ("blk.1.ffn_up.weight is BF16: it holds numbers beyond 65504, which F16 has not",)
    found = open_gguf(done.path).tensors
    assert found["blk.1.ffn_up.weight"].kind == "BF16" and found["blk.0.ffn_up.weight"].kind == "F16"


def test_f16_holds_what_bf16_says_to_within_its_smallest_step() -> None:
    every = to_float32("BF16", np.arange(1 << 16, dtype=np.uint16).view(np.uint8))
    every = every[np.isfinite(every) & (np.abs(every) <= 65504)]
    kept = to_float32("F16", from_float32("F16", every[None]).ravel())
    assert (kept == every)[np.abs(every) >= 8e-6].all()
    assert np.abs(kept - every).max() <= 3e-8


# -- the tree ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [2, 3, 64])
@pytest.mark.parametrize("hidden", [False, True])
def test_branches_that_were_forgotten_are_the_same_when_they_grow(sequences: int, hidden: bool) -> None:
    few = gguf_engine.load(seedling(), sequences=sequences, cells=256)
    theirs, rng = plain("seedling"), np.random.default_rng(1)
    start = [int(t) for t in rng.integers(3, 900, 20)]
    live = list(zip(few.prefill([start], hidden=hidden), theirs.prefill([start], hidden=hidden), strict=True))
    for _ in range(8):
        chosen = [live[int(i)] for i in rng.integers(0, len(live), 6)]
        new = [[int(t) for t in rng.integers(3, 900, rng.integers(1, 3))] for _ in chosen]
        pairs = zip(few.extend([a for a, _ in chosen], new), theirs.extend([b for _, b in chosen], new), strict=True)
        live += pairs
        for found, wanted in live[-6:]:
            assert np.abs(found.logits - wanted.logits).max() < 1e-4
            if hidden:
                assert np.abs(found.hidden - wanted.hidden).max() < 1e-4
                assert np.abs(found.layers - wanted.layers).max() < 1e-4
    assert few.branches <= sequences
    assert (few.recomputed > 0) == (sequences < 64)
    chosen.clear()
    live.clear()
    del found, wanted, pairs
    few.settle()
    assert few.branches == 0


@pytest.mark.parametrize("hidden", [False, True])
def test_the_cache_grows_as_it_is_needed_and_changes_nothing(hidden: bool) -> None:
    model = gguf_engine.load(seedling())
    lines = model._lines(hidden)
    root = model.prefill([[5, 6, 7]], hidden=hidden)[0]
    before = model.extend([root], [[8]])[0].logits
    first = lines.held.cells
    nodes = model.extend([root] * 4, [[9] * 300] * 4)
    assert lines.held.cells > first
    assert model.extend([root], [[8]])[0].logits == pytest.approx(before, abs=1e-5)
    assert nodes[0].logits == pytest.approx(nodes[3].logits, abs=1e-4)


def test_too_many_branches_for_the_cache_is_an_error_that_says_what_to_do() -> None:
    small = gguf_engine.load(seedling(), cells=256)
    root = small.prefill([[5] * 100])[0]
    with pytest.raises(PromptTooLong, match=r"the cache of 256 tokens is full: 2 branches .* cells="):
        small.extend([root, root], [[6] * 100, [7] * 100])
    assert small.extend([root], [[6] * 100])[0].depth == 200
    with pytest.raises(PromptTooLong, match="100 tokens and 285 more do not fit the context of 384"):
        small.extend([root], [[6] * 285])
    with pytest.raises(BadParameter, match="sequences must be at least 2"):
        gguf_engine.load(seedling(), sequences=1)


def test_an_extension_of_many_branches_is_one_decoding() -> None:
    model = engine("seedling")
    root = model.prefill([[5, 6, 7]])[0]
    before = model.passes
    leaves = model.extend([root] * 40, [[t] for t in range(3, 43)])
    assert model.passes == before + 1
    model.extend(leaves, [[5]] * 40)
    assert model.passes == before + 2


def test_prompts_share_what_they_have_in_common() -> None:
    model, rng = engine("seedling"), np.random.default_rng(2)
    base = [int(t) for t in rng.integers(3, 900, 12)]
    prompts = [[*base, 5, 6], [*base, 7], base, base, [9, *base]]
    roots = model.prefill(prompts)
    alone = [model.prefill([p])[0] for p in prompts]
    for root, other, prompt in zip(roots, alone, prompts, strict=True):
        assert np.abs(root.logits - other.logits).max() < 1e-4
        assert root.prompt == tuple(prompt)


def test_an_unknown_architecture_is_proved_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_engine, "PROVED", ())
    assert gguf_engine.load(seedling()).passes > 2
    real = Lines._place

    def forgetful(self: Lines, growth: Growth, busy: list[Line]) -> Any:
        """Branches that get other tokens than they should, as from a cache that mixes them up."""
        placed = real(self, growth, busy)
        if growth.line is None or placed is None:
            return placed
        line, new, again = placed
        return line, [new[0]] * len(new), again

    monkeypatch.setattr(Lines, "_place", forgetful)
    with pytest.raises(UnsupportedArchitecture, match="differ from plain forwards"):
        gguf_engine.load(seedling())


def test_a_head_that_is_too_large_to_keep_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gguf_engine.load(seedling())
    leaf = model.prefill([[5, 6, 7]], hidden=True)[0]
    whole = model.project(leaf.hidden)
    assert whole[-1] == pytest.approx(leaf.logits, abs=1e-4)
    monkeypatch.setattr(gguf_engine, "HEAD_LIMIT", 128 * 100 * 8)
    model._head = None
    assert model.project(leaf.hidden) == pytest.approx(whole, abs=1e-5)
    assert model._head is None


def test_the_same_seed_gives_the_same_text_again_and_again() -> None:
    model = palmette.model(gguf_engine.load(seedling("q8_0")), strategy=palmette.beam_sample(4), max_tokens=24, seed=5)
    texts = {model("Once upon a time").text for _ in range(3)}
    assert len(texts) == 1


CONSTRAINTS: dict[str, Any] = {
    "regex": lambda: palmette.regex(r"[0-9]{3}-[a-z]{2,5}\."),
    "one of": lambda: palmette.one_of(["happy", "sad", "very tired"]),
    "grammar": lambda: palmette.grammar('start: "(" start ")" | "x"'),
    "schema": lambda: palmette.constraint({"type": "array", "items": {"type": "integer"}, "maxItems": 4}),
}
STRATEGIES = {"greedy": palmette.greedy, "beam": lambda: palmette.beam(4), "sample": palmette.sample}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_a_constraint_gives_the_text_that_the_numpy_engine_gives(kind: str, strategy: str) -> None:
    ours, theirs = (
        palmette.decode(e, "The answer is ", STRATEGIES[strategy](), views=[CONSTRAINTS[kind]()], max_tokens=24).run()
        for e in (engine("seedling"), plain("seedling"))
    )
    assert ours.texts == theirs.texts
    assert ours.answers[0].logprob == pytest.approx(theirs.answers[0].logprob, abs=1e-3)


# -- the tokenizer -----------------------------------------------------------------------------------------------------


@given(st.one_of(st.text(max_size=40), st.text("ab c<|end>pad\n019'st ÄŒ漢🙂", max_size=40)))
@settings(max_examples=200, deadline=None)
def test_texts_are_the_tokens_of_the_folder(text: str) -> None:
    ours, theirs = engine("seedling").tokenizer, FileTokenizer(SEEDLING)
    assert ours.encode(text) == theirs.encode(text)
    assert ours.encode_continuation(text) == theirs.encode_continuation(text)
    assert b"".join(map(ours.token_bytes, ours.encode(text))).decode() == text
    assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize("name", ["seedling", "llama"])
def test_every_token_has_its_exact_bytes_and_its_name(name: str) -> None:
    ours, theirs = engine(name).tokenizer, FileTokenizer(SEEDLING if name == "seedling" else tiny.folder(name))
    assert ours.size == theirs.size
    assert ours.special == theirs.special
    assert ours.special_names == theirs.special_names
    for token in range(-1, ours.size + 1):
        assert ours.token_bytes(token) == theirs.token_bytes(token)
        if 0 <= token < ours.size:
            assert ours.token_name(token) == theirs.token_name(token)


def test_an_unpaired_surrogate_is_no_text() -> None:
    with pytest.raises(BadParameter, match="not a character"):
        engine("seedling").tokenizer.encode("a\ud800")


@functools.cache
def sentencepiece() -> tuple[Any, FileTokenizer]:
    """A Llama whose vocabulary has ▁ for a space and bytes as a fallback; what spells a special token has no way to."""
    folder = tiny.home() / "sentencepiece"
    theirs = tiny.sentencepiece(folder)
    tiny.build("llama", vocab_size=theirs.size).save_pretrained(folder)
    return gguf_engine.load(convert(folder, folder / "x.gguf", "f32").path).tokenizer, FileTokenizer(folder)


@given(st.one_of(st.text(max_size=30), st.text("the ths</>\n0x4", max_size=30)))
@settings(max_examples=200, deadline=None)
def test_texts_are_the_tokens_of_a_sentencepiece_folder(text: str) -> None:
    ours, theirs = sentencepiece()
    assert ours.encode_continuation(text) == theirs.encode_continuation(text)
    if text:
        assert ours.encode(text) == theirs.encode(text)


def test_every_way_to_cut_words_is_llama_cpps(tmp_path: Path) -> None:
    """Each known form of a pre-tokenizer, read by llama.cpp: the same tokens for texts that tell the forms apart."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from palmette.weights.gguf.vocabulary import EXPRESSIONS

    hard = [
        "I'M  it's 12345 6,7\n\n\tx  y",
        "Ärger, naïve café!!!\r\n \n",
        " a\u00a0b 漢字 かな 🙂🙃",
        "HTTPServer's x1y22",
        "    if x:\n        y",
    ]
    tiny.build("llama", vocab_size=400).save_pretrained(tmp_path)
    for expression, (name, whole) in EXPRESSIONS.items():
        rust = Tokenizer(models.BPE(ignore_merges=whole))
        rust.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(expression), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        rust.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|end|>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        rust.train_from_iterator(hard * 3, trainer)
        theirs = tiny.written(tmp_path, rust)
        assert vocabulary(tmp_path, 400, {})["tokenizer.ggml.pre"] == name
        ours = gguf_engine.load(convert(tmp_path, tmp_path / f"{name}.gguf", "f32").path).tokenizer
        for text in [*hard, " ".join(hard)]:
            assert ours.encode(text) == theirs.encode(text), (name, text)


# -- opening, chat, command line ---------------------------------------------------------------------------------------


def test_a_file_is_opened_by_its_scheme_its_path_or_its_folder(tmp_path: Path) -> None:
    path = shutil.copy(seedling(), tmp_path / "a model.gguf")
    for text in (f"gguf:{path}", str(path), f"gguf:{tmp_path}"):
        assert parse_reference(text).scheme == "gguf"
        assert palmette.open_engine(text).vocabulary == 1024
    assert looks_like_model(f"gguf:{path}") and looks_like_model(str(path))
    assert not looks_like_model("the file.gguf")
    with pytest.raises(ModelNotFound, match=r"no file 'none\.gguf'; palmette convert"):
        parse_reference("none.gguf")
    with pytest.raises(UnknownModel, match=r"no GGUF file .none\.gguf."):
        parse_reference("gguf:none.gguf")
    shutil.copy(path, tmp_path / "b.gguf")
    with pytest.raises(ModelNotFound, match="holds 2 GGUF files"):
        parse_reference(f"gguf:{tmp_path}")
    with pytest.raises(BadParameter, match="opened by the gguf engine, not by torch"):
        palmette.open_engine(str(path), engine="torch")
    with pytest.raises(BadParameter, match="palmette convert zoo:seedling"):
        palmette.open_engine("zoo:seedling", engine="gguf")
    with pytest.raises(BadParameter, match="its own precision"):
        palmette.open_engine(str(path), dtype="bfloat16")


def test_a_chat_template_in_the_file_is_used_as_the_folders() -> None:
    ours, theirs = (
        palmette.chat(name).user("Is Runa happy?").assistant(" {answer:choice(yes,no)}")
        for name in (f"gguf:{seedling()}", "zoo:seedling")
    )
    assert ours.template == theirs.template
    assert ours.program is not None and theirs.program is not None
    assert ours.program.tokens == theirs.program.tokens
    assert ours.values == theirs.values
    with pytest.raises(Unsupported, match="no chat template"):
        palmette.chat(engine("llama"))  # type: ignore[arg-type]


def test_the_command_converts_and_runs(tmp_path: Path) -> None:
    out = tmp_path / "seedling.gguf"
    run = CliRunner().invoke
    done = run(command, ["convert", "zoo:seedling", str(out), "--dtype", "f32"])
    assert done.exit_code == 0 and "3.8 MB" in done.output
    options = ["Once upon a time", "--strategy", "greedy", "--max-tokens", "12"]
    assert run(command, ["run", str(out), *options]).stdout == run(command, ["run", "zoo:seedling", *options]).stdout
    with pytest.raises(PalmetteError, match="exists; give another name, or --force"):
        run(command, ["convert", "zoo:seedling", str(out)], catch_exceptions=False)
    assert run(command, ["convert", "zoo:seedling", str(out), "--force"]).exit_code == 0
    with pytest.raises(PalmetteError, match=r"should end in .gguf"):
        run(command, ["convert", "zoo:seedling", str(tmp_path / "x.bin")], catch_exceptions=False)
    with pytest.raises(ModelNotFound, match="is a GGUF file"):
        run(command, ["convert", str(out), str(tmp_path / "y.gguf")], catch_exceptions=False)


# -- files that are no model -------------------------------------------------------------------------------------------


def test_what_llama_cpp_would_stumble_over_is_refused_before_it_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"

    def refused(error: type[PalmetteError], says: str, **metadata: Any) -> None:
        path.unlink(missing_ok=True)
        write_gguf(path, {key.replace("__", "."): value for key, value in metadata.items()}, {})
        with pytest.raises(error, match=says):
            gguf_engine.load(path)

    refused(CorruptCheckpoint, "no architecture or no vocabulary")
    refused(CorruptCheckpoint, "no vocabulary", general__architecture="llama", tokenizer__ggml__tokens=3)
    tokens = {"general__architecture": "llama", "tokenizer__ggml__tokens": ["a", "b"]}
    refused(
        CorruptCheckpoint, "scores should have 2 entries", **tokens, tokenizer__ggml__scores=np.zeros(1, np.float32)
    )
    refused(CorruptCheckpoint, "a token occurs twice", **{**tokens, "tokenizer__ggml__tokens": ["a", "a"]})
    refused(CorruptCheckpoint, "block_count is 4294967295", **tokens, llama__block_count=U32(2**32 - 1))
    refused(CorruptCheckpoint, "epsilon is nan", **tokens, llama__epsilon=float("nan"))
    refused(Unsupported, "one of 3 parts", **tokens, split__count=U32(3))
    refused(UnsupportedArchitecture, "llama.cpp does not load", **tokens)
    refused(UnsupportedArchitecture, "unknown model architecture", **{**tokens, "general__architecture": "none"})


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "import importlib.util; real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'xllamacpp' else real(name, *a)\n"
        f"import palmette; palmette.open_engine({str(seedling())!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra" in done.stderr and "palmette[gguf]" in done.stderr
