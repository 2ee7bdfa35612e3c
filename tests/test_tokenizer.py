"""Laws of tokenizers: bytes are exact, text stays text, and nothing is added to text that continues."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import tiny

from palmette.core.engine import Tokenizer
from palmette.core.errors import BadParameter, CorruptCheckpoint, ModelNotFound, UnsupportedArchitecture
from palmette.models.engines.tokenizer import FileTokenizer

KINDS = ["byte-level", "sentencepiece", "unigram", "prefixed byte-level"]
TEXTS = [
    "", " ", "  ", "\n", "\t\n x", "the cat", " the  cat ", "Zwölf Boxkämpfer", "日本語 🙂👩‍👩‍👧", "a\u0301 é",
    "\x00\x7f\ufeff", "def f(x):\r\n\treturn x\n\n", "</s>", "a</s>b <s></s></s>", "<unk>", "<|end|>",
    "<|end|><|begin|> x", "<0x41>", "Ġ",
    "̈", "\U0010ffff", "</", "s>", "x" * 200,
]  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FileTokenizer:
    path: Path = tmp_path_factory.mktemp("tokenizer")
    if request.param == "byte-level":
        return tiny.byte_level(path)
    if request.param == "prefixed byte-level":
        tiny.byte_level(path)
        raw = json.loads((path / "tokenizer.json").read_text())
        raw["pre_tokenizer"]["add_prefix_space"] = True
        (path / "tokenizer.json").write_text(json.dumps(raw))
        return FileTokenizer(path)
    return tiny.sentencepiece(path, unigram=request.param == "unigram")


def spelled(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    return b"".join(tokenizer.token_bytes(i) for i in ids)


def random_texts() -> list[str]:
    rng = random.Random(0)
    pieces = [*TEXTS[1:], *"abc XYZ.,\n", "é", "ß", "中", "🙂", "</s>", "<|end|>"]
    return ["".join(rng.choices(pieces, k=rng.randint(1, 8))) for _ in range(150)]


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_a_continuation_are_the_text(tokenizer: FileTokenizer, text: str) -> None:
    assert spelled(tokenizer, tokenizer.encode_continuation(text)) == text.encode()


def test_the_bytes_of_random_continuations_are_the_text(tokenizer: FileTokenizer) -> None:
    for text in random_texts():
        assert spelled(tokenizer, tokenizer.encode_continuation(text)) == text.encode(), text


def test_text_never_becomes_a_special_token(tokenizer: FileTokenizer) -> None:
    for text in [*TEXTS, *random_texts()]:
        ids = tokenizer.encode(text)
        opening = 1 if ids[:1] == [1] and tokenizer.token_name(1) == "<s>" else 0
        assert not set(ids[opening:]) & tokenizer.special, text
        assert not set(tokenizer.encode_continuation(text)) & tokenizer.special, text


def test_a_prompt_is_the_text_up_to_a_space_before_it(tokenizer: FileTokenizer) -> None:
    for text in TEXTS:
        assert spelled(tokenizer, tokenizer.encode(text)) in (text.encode(), b" " + text.encode())


def test_a_prompt_opens_as_the_folder_says_and_is_not_closed(tokenizer: FileTokenizer) -> None:
    for text in ("the cat", "", "</s>"):
        ids = tokenizer.encode(text)
        if tokenizer.token_name(1) == "<s>":
            assert ids[0] == 1 and ids.count(1) == 1
            assert 2 not in ids
        else:
            assert not set(ids) & {0, 1, 2}


def test_every_token_has_its_bytes_and_its_name(tokenizer: FileTokenizer) -> None:
    assert tokenizer.special == {0, 1, 2}
    for token in range(tokenizer.size):
        assert bool(tokenizer.token_bytes(token)) == (token not in tokenizer.special)
        assert tokenizer.token_name(token)
    assert tokenizer.token_bytes(tokenizer.size + 5) == b"" == tokenizer.token_bytes(-1)
    assert {bytes([b]) for b in range(256)} <= {tokenizer.token_bytes(t) for t in range(tokenizer.size)}


def test_decode_joins_bytes_and_leaves_special_tokens_out(tokenizer: FileTokenizer) -> None:
    assert tokenizer.decode([2, *tokenizer.encode_continuation("zwölf 🙂"), 2]) == "zwölf 🙂"
    half = [t for t in range(tokenizer.size) if tokenizer.token_bytes(t) == b"\xf0"]
    assert tokenizer.decode(half[:1]) == "\ufffd"


def test_a_tokenizer_is_what_the_protocol_asks(tokenizer: FileTokenizer) -> None:
    assert isinstance(tokenizer, Tokenizer)


def test_ordinary_added_tokens_are_text(tmp_path: Path) -> None:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as RustTokenizer

    tiny.byte_level(tmp_path)
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rust.add_tokens([AddedToken("<think>", normalized=False)])
    tokenizer = tiny.written(tmp_path, rust)
    ids = tokenizer.encode_continuation("a<think>b")
    assert tokenizer.size - 1 in ids and spelled(tokenizer, ids) == b"a<think>b"
    assert tokenizer.token_name(tokenizer.size - 1) == "<think>"


def test_a_text_that_can_only_be_a_special_token_is_refused(tmp_path: Path) -> None:
    from tokenizers import AddedToken, models
    from tokenizers import Tokenizer as RustTokenizer

    rust = RustTokenizer(models.BPE({"a": 0, "§": 1}, []))
    rust.add_special_tokens([AddedToken("§", special=True)])
    tokenizer = tiny.written(tmp_path, rust)
    assert tokenizer.encode("aa") == [0, 0]
    with pytest.raises(BadParameter, match="'§' can only be read as special token '§'"):
        tokenizer.encode("a§")


def test_folders_without_a_usable_tokenizer_are_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as RustTokenizer
    from tokenizers import models

    with pytest.raises(ModelNotFound, match=r"no tokenizer.json"):
        FileTokenizer(tmp_path)
    for text in ("{", "[]", '{"model": {"type": "Dream"}}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(CorruptCheckpoint, match=r"tokenizer.json"):
            FileTokenizer(tmp_path)
    with pytest.raises(UnsupportedArchitecture, match="WordPiece"):
        tiny.written(tmp_path, RustTokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")))
