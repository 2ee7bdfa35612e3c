"""A folder's tokenizer.json in GGUF's words, only where llama.cpp reads a text into the same tokens.

llama.cpp knows a fixed list of ways to cut a text into words (`tokenizer.ggml.pre`); a tokenizer.json writes its own
down. So each way of the list that is known here is matched by its form, and what matches none is refused. SentencePiece
vocabularies go by scores there and by ranked merges here, which is the same for some vocabularies; that is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from palmette.core.checkpoint import read_json
from palmette.core.errors import ConfigMismatch, CorruptCheckpoint, ModelNotFound, UnsupportedArchitecture
from palmette.core.gguf_write import U32

__all__ = ["vocabulary"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
)
# How a regular expression in front of the byte alphabet is called, and whether whole words skip the merges.
EXPRESSIONS: dict[str, tuple[str, bool]] = {
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_LETTERS}|\p{{N}}{{1,3}}{_REST}": ("llama-bpe", True),
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_LETTERS}|\p{{N}}{_REST}": ("qwen2", False),
    rf"{_CASED}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": ("tekken", True),
}


def vocabulary(folder: Path, rows: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer.* entries of the file.

    Args:
        folder: a model folder with tokenizer.json.
        rows: how many tokens the model's embedding has; the file gets as many, the last ones unused.
        config: the folder's config.json.

    Raises:
        UnsupportedArchitecture: for a tokenizer that llama.cpp does not have.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelNotFound(f"{folder} has no tokenizer.json; convert its tokenizer with transformers first")
    raw = read_json(path)
    try:
        rust = RustTokenizer.from_str(json.dumps(raw))
        model = raw["model"]
        kind = str(model.get("type"))
        if kind != "BPE":
            raise UnsupportedArchitecture(f"{path}: a vocabulary of type {kind} is not converted; BPE is")
        byte_level = model.get("byte_fallback") is not True
        made = _byte_level(raw, path) if byte_level else _sentencepiece(raw, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptCheckpoint(f"{path} is no tokenizer: {error!r}") from error
    pieces, kinds = _tokens(raw, rows, path, byte_level)
    made |= {"tokenizer.ggml.tokens": pieces, "tokenizer.ggml.token_type": np.array(kinds, np.int32)}
    if not byte_level:
        made["tokenizer.ggml.scores"] = _scores(raw, pieces, kinds, path)
    return made | _specials(folder, config, rust, raw) | _template(folder)


# -- byte-level --------------------------------------------------------------------------------------------------------


def _byte_level(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    model = raw["model"]
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise UnsupportedArchitecture(f"{path}: {key}={model[key]!r} is not known to llama.cpp")
    if (raw.get("normalizer") or {}).get("type", "NFC") != "NFC":
        raise UnsupportedArchitecture(f"{path}: llama.cpp does not know the normalizer {raw['normalizer']['type']}")
    name, whole = _words(raw.get("pre_tokenizer"), path)
    if bool(model.get("ignore_merges")) != whole:
        raise UnsupportedArchitecture(f"{path}: ignore_merges should be {whole} for llama.cpp's {name!r}")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.merges": merges}


def _words(part: Any, path: Path) -> tuple[str, bool]:
    """llama.cpp's name of the way to cut words, and whether a whole word that is a token skips the merges."""
    whole = isinstance(part, dict) and part.get("type") == "Sequence"
    forms = [_form(each) for each in (part["pretokenizers"] if whole else [part])]
    if forms == ["gpt-2"]:
        return "gpt-2", False
    if forms == ["digit", "gpt-2"]:
        return "smollm", False
    if len(forms) == 2 and forms[1] == "bytes" and forms[0] in EXPRESSIONS:
        return EXPRESSIONS[forms[0]]
    raise UnsupportedArchitecture(f"{path}: llama.cpp has no pre-tokenizer like {json.dumps(part)[:200]}")


def _form(part: Any) -> str:
    match part:
        case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
            return "gpt-2" if rest.get("use_regex", True) else "bytes"
        case {"type": "Digits", "individual_digits": True}:
            return "digit"
        case {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": "Isolated", **rest}:
            return "" if rest.get("invert") else expression
    return ""


# -- SentencePiece -----------------------------------------------------------------------------------------------------


def _sentencepiece(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """BPE with bytes as a fallback: ▁ for a space, one before every text or none."""
    normalizer = raw.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer]) if normalizer else []
    spaces = [p for p in parts if p == {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    prefix = [p for p in parts if p == {"type": "Prepend", "prepend": "▁"}]
    if raw.get("pre_tokenizer") or len(spaces) != 1 or len(prefix) + 1 != len(parts) or len(prefix) > 1:
        raise UnsupportedArchitecture(f"{path}: a vocabulary with ▁ is converted if its normalizer alone makes the ▁")
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.add_space_prefix": bool(prefix)}  # fmt: skip


def _scores(raw: Mapping[str, Any], pieces: list[str], kinds: list[int], path: Path) -> Any:
    """Minus the rank of a piece's merges: llama.cpp joins what scores highest, tokenizers what ranks first.

    The two agree if every way to put a piece together is a merge, and the merges of one piece follow each other.
    """
    pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in raw["model"]["merges"]]
    rank: dict[str, int] = {}
    for i, (left, right) in enumerate(pairs):
        whole = left + right
        if whole in rank and pairs[i - 1][0] + pairs[i - 1][1] != whole:
            raise UnsupportedArchitecture(f"{path}: the merges of {whole!r} are not together, as llama.cpp needs them")
        rank.setdefault(whole, i)
    known, ways = set(pieces), set(pairs)
    for piece, kind in zip(pieces, kinds, strict=True):
        if kind != NORMAL:
            continue
        for cut in range(1, len(piece)):
            pair = (piece[:cut], piece[cut:])
            if pair not in ways and pair[0] in known and pair[1] in known:
                raise UnsupportedArchitecture(f"{path}: no merge joins {pair[0]!r} and {pair[1]!r}, as llama.cpp does")
    return np.array([-float(rank.get(piece, len(pairs))) for piece in pieces], np.float32)


# -- what both have ----------------------------------------------------------------------------------------------------


def _tokens(raw: Mapping[str, Any], rows: int, path: Path, byte_level: bool) -> tuple[list[str], list[int]]:
    """Every token's text and type, by id; ids that have none are unused."""
    pieces = [f"[PAD{i}]" for i in range(rows)]
    kinds = [UNUSED] * rows
    unknown = raw["model"].get("unk_token")
    spelled = {**raw["model"]["vocab"], **{t["content"]: t["id"] for t in raw.get("added_tokens") or []}}
    highest = max(spelled.values(), default=-1)
    if highest >= rows:
        raise ConfigMismatch(f"{path} has a token {highest}, the model's vocabulary ends at {rows - 1}")
    for piece, token in raw["model"]["vocab"].items():
        single = not byte_level and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
        pieces[token], kinds[token] = piece, BYTE if single else NORMAL
    for added in raw.get("added_tokens") or []:
        kind = CONTROL if added.get("special") else USER_DEFINED
        kind = UNKNOWN if added["content"] == unknown and not byte_level else kind
        pieces[added["id"]], kinds[added["id"]] = added["content"], kind
    return pieces, kinds


def _specials(folder: Path, config: Mapping[str, Any], rust: RustTokenizer, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The special tokens, and whether a text opens with the first of them."""
    named = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    generation = folder / "generation_config.json"
    own = {**config, **(read_json(generation) if generation.is_file() else {})}
    found: dict[str, Any] = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        written = named.get(f"{name}_token")
        written = written.get("content") if isinstance(written, dict) else written
        ids = own.get(f"{name}_token_id")
        ids = [i for i in (ids if isinstance(ids, list) else [ids]) if i is not None]
        if name != "eos" and isinstance(written, str) and rust.token_to_id(written) is not None:
            ids = [rust.token_to_id(written)]
        if ids:
            found[f"tokenizer.ggml.{key}_token_id"] = U32(ids[0])
        if name == "eos":
            found |= {f"tokenizer.ggml.{k}_token_id": U32(i) for k, i in zip(("eot", "eom"), ids[1:], strict=False)}
    text = rust.encode("a")
    mask = text.special_tokens_mask
    opening = text.ids[: mask.index(0)] if 0 in mask else []
    if len(opening) > 1:
        raise UnsupportedArchitecture(f"{folder}: a text opens with {len(opening)} special tokens, llama.cpp has one")
    if opening:
        found["tokenizer.ggml.bos_token_id"] = U32(opening[0])
    return found | {"tokenizer.ggml.add_bos_token": bool(opening), "tokenizer.ggml.add_eos_token": False}


def _template(folder: Path) -> dict[str, Any]:
    """The chat template, if the folder has one."""
    file, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    text = (
        file.read_text("utf-8")
        if file.is_file()
        else read_json(config).get("chat_template")
        if config.is_file()
        else None
    )
    if isinstance(text, list):
        text = next((t.get("template") for t in text if isinstance(t, dict) and t.get("name") == "default"), None)
    return {"tokenizer.chat_template": text} if isinstance(text, str) else {}
