"""llama.cpp's C functions, called through ctypes: the one file that knows the binding.

The wheel xllamacpp wraps llama.cpp's server only, but its shared object exports the functions of llama.h. Structures
are passed by value there, so their layout matters: it is that of one version, is compared with the library's own
default values when it is loaded, and a library that differs is refused before a model is touched.
(Measured: a row of 32,000 scores is a numpy array after 0.013 ms here; through cyllama, by Python floats, 2.7 ms.)
"""

from __future__ import annotations

import ctypes as c
import functools
import importlib.util
import os
import weakref
from collections import deque
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.errors import MissingExtra, ModelError, Unsupported, UnsupportedArchitecture

__all__ = ["Context", "Model", "library", "threads"]

KNOWN = "2026.10.11549"
F32, F16 = 0, 1
ATTRIBUTES = {"unknown": 1, "unused": 2, "normal": 4, "control": 8, "user": 16, "byte": 32}
LOG_LIMIT = 4096  # characters of one of llama.cpp's messages that are kept
EMBEDDED = (
    b"inpL",
    b"inp_scaled",
    b"inp_embd",
    b"embd",
)  # names of what enters the first layer, the latest in a graph first

Floats = NDArray[np.float32]
_Eval = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_bool, c.c_void_p)
_Log = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)


class _Override(c.Structure):
    """One replaced metadata value; a list of them ends with an empty key."""

    _fields_ = (("kind", c.c_int32), ("key", c.c_char * 128), ("value", c.c_int64), ("rest", c.c_char * 120))


class _ModelParameters(c.Structure):
    """llama_model_params up to what is used here; the tail is room for what may follow."""

    _fields_ = (
        ("devices", c.c_void_p), ("buffer_types", c.c_void_p), ("gpu_layers", c.c_int32), ("split_mode", c.c_int32),
        ("load_mode", c.c_int32), ("lazy_mode", c.c_int32), ("main_gpu", c.c_int32), ("tensor_split", c.c_void_p),
        ("progress", c.c_void_p), ("progress_data", c.c_void_p), ("overrides", c.c_void_p), ("vocab_only", c.c_bool),
        ("check_tensors", c.c_bool), ("extra_buffers", c.c_bool), ("no_host", c.c_bool), ("no_alloc", c.c_bool),
        ("tail", c.c_uint8 * 64),
    )  # fmt: skip


class _ContextParameters(c.Structure):
    """llama_context_params up to what is used here; the tail is room for what may follow."""

    _fields_ = (
        ("cells", c.c_uint32), ("batch", c.c_uint32), ("micro_batch", c.c_uint32), ("sequences", c.c_uint32),
        ("snapshots", c.c_uint32), ("outputs", c.c_uint32), ("outputs_each", c.c_uint32), ("threads", c.c_int32),
        ("threads_batch", c.c_int32), ("kind", c.c_int32), ("rope", c.c_int32), ("pooling", c.c_int32),
        ("attention", c.c_int32), ("flash", c.c_int32), ("rope_numbers", c.c_float * 6), ("yarn_context", c.c_uint32),
        ("defragment", c.c_float), ("evaluated", c.c_void_p), ("evaluated_data", c.c_void_p), ("keys", c.c_int32),
        ("values", c.c_int32), ("abort", c.c_void_p), ("abort_data", c.c_void_p), ("unknown", c.c_void_p),
        ("embeddings", c.c_bool), ("offload", c.c_bool), ("no_timings", c.c_bool), ("offload_ops", c.c_bool),
        ("whole_windows", c.c_bool), ("unified", c.c_bool), ("tail", c.c_uint8 * 64),
    )  # fmt: skip


class _Batch(c.Structure):
    """llama_batch: arrays of n tokens."""

    _fields_ = (
        ("n", c.c_int32), ("token", c.c_void_p), ("embedding", c.c_void_p), ("position", c.c_void_p),
        ("counts", c.c_void_p), ("sequences", c.c_void_p), ("output", c.c_void_p),
    )  # fmt: skip


# What the library itself says its defaults are, at the places where this file expects them.
_MODEL_DEFAULTS = {"gpu_layers": -1, "split_mode": 1, "main_gpu": 0, "vocab_only": False, "check_tensors": False,
                   "extra_buffers": True, "no_host": False, "no_alloc": False}  # fmt: skip
_CONTEXT_DEFAULTS = {
    "cells": 512, "batch": 2048, "micro_batch": 512, "sequences": 1, "threads": 4, "threads_batch": 4, "rope": -1,
    "pooling": -1, "attention": -1, "flash": -1, "keys": F16, "values": F16, "embeddings": False, "offload": True,
    "no_timings": True, "offload_ops": True, "whole_windows": True, "unified": False,
}  # fmt: skip

_P, _I, _B, _S = c.c_void_p, c.c_int32, c.c_bool, c.c_char_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_model_default_params": (_ModelParameters, []),
    "llama_context_default_params": (_ContextParameters, []),
    "llama_model_load_from_file": (_P, [_S, _ModelParameters]),
    "llama_model_free": (None, [_P]),
    "llama_init_from_model": (_P, [_P, _ContextParameters]),
    "llama_free": (None, [_P]),
    "llama_log_set": (None, [_Log, _P]),
    "llama_model_get_vocab": (_P, [_P]),
    "llama_model_n_ctx_train": (_I, [_P]),
    "llama_model_n_embd": (_I, [_P]),
    "llama_model_n_layer": (_I, [_P]),
    "llama_model_is_recurrent": (_B, [_P]),
    "llama_model_is_hybrid": (_B, [_P]),
    "llama_model_is_diffusion": (_B, [_P]),
    "llama_model_has_encoder": (_B, [_P]),
    "llama_vocab_n_tokens": (_I, [_P]),
    "llama_vocab_type": (_I, [_P]),
    "llama_vocab_bos": (_I, [_P]),
    "llama_vocab_eos": (_I, [_P]),
    "llama_vocab_get_add_bos": (_B, [_P]),
    "llama_vocab_get_attr": (_I, [_P, _I]),
    "llama_vocab_get_text": (_S, [_P, _I]),
    "llama_vocab_is_eog": (_B, [_P, _I]),
    "llama_tokenize": (_I, [_P, _S, _I, _P, _I, _B, _B]),
    "llama_token_to_piece": (_I, [_P, _I, _P, _I, _I, _B]),
    "llama_n_ctx": (c.c_uint32, [_P]),
    "llama_n_ctx_seq": (c.c_uint32, [_P]),
    "llama_n_seq_max": (c.c_uint32, [_P]),
    "llama_n_batch": (c.c_uint32, [_P]),
    "llama_get_memory": (_P, [_P]),
    "llama_memory_seq_cp": (None, [_P, _I, _I, _I, _I]),
    "llama_memory_seq_rm": (_B, [_P, _I, _I, _I]),
    "llama_decode": (_I, [_P, _Batch]),
    "llama_synchronize": (None, [_P]),
    "llama_get_logits": (_P, [_P]),
    "llama_get_embeddings": (_P, [_P]),
    "llama_state_get_size": (c.c_size_t, [_P]),
    "llama_state_get_data": (c.c_size_t, [_P, _P, c.c_size_t]),
    "llama_state_set_data": (c.c_size_t, [_P, _P, c.c_size_t]),
    "ggml_get_name": (_S, [_P]),
    "ggml_nbytes": (c.c_size_t, [_P]),
    "ggml_backend_tensor_get": (None, [_P, _P, c.c_size_t, c.c_size_t]),
}

_said: deque[str] = deque(maxlen=20)  # llama.cpp's latest warnings and errors


def _listen(level: int, text: bytes, data: Any) -> None:
    if level in (3, 4):
        _said.append(text.decode("utf-8", errors="replace").strip()[:LOG_LIMIT])


_listener = _Log(_listen)


@functools.cache
def library() -> Any:
    """llama.cpp, with its functions declared.

    Raises:
        MissingExtra: if xllamacpp is not installed.
        ModelError: if it is a version that is laid out otherwise.
    """
    found = importlib.util.find_spec("xllamacpp")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("the gguf engine", "gguf")
    version = metadata.version("xllamacpp")
    files = sorted(f for place in found.submodule_search_locations for f in Path(place).glob("xllamacpp*.so"))
    advice = f"pip install 'xllamacpp=={KNOWN}'"
    if not files:
        raise ModelError(
            f"xllamacpp {version} has no shared object on this system; the gguf engine needs Linux or macOS"
        )
    loaded = c.CDLL(str(files[0]))
    for name, (gives, takes) in _FUNCTIONS.items():
        function = getattr(loaded, name, None)
        if function is None:
            raise ModelError(f"xllamacpp {version} exports no {name}; the version that is known here does: {advice}")
        function.restype, function.argtypes = gives, takes
    for given, wanted in (
        (loaded.llama_model_default_params(), _MODEL_DEFAULTS),
        (loaded.llama_context_default_params(), _CONTEXT_DEFAULTS),
    ):
        for name, value in wanted.items():
            if getattr(given, name) != value:
                raise ModelError(
                    f"xllamacpp {version} lays its parameters out otherwise than {KNOWN} ({name} is "
                    f"{getattr(given, name)}, not {value}): {advice}"
                )
    loaded.llama_log_set(_listener, None)
    loaded.llama_backend_init()
    return loaded


def threads() -> int:
    """How many threads to compute with: OMP_NUM_THREADS, else every core this process may use."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named):
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason() -> str:
    return _said[-1] if _said else "llama.cpp does not say why"


class Model:
    """A loaded file: its vocabulary and its facts. Freed when it is forgotten."""

    def __init__(self, path: Path) -> None:
        self._library = library()
        parameters = self._library.llama_model_default_params()
        overrides = (_Override * 2)(_Override(2, b"tokenizer.ggml.add_space_prefix", 0))  # the tokenizer here adds it
        parameters.overrides = c.cast(overrides, c.c_void_p)
        _said.clear()
        self.pointer = self._library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.pointer:
            first = _said[0] if _said else _reason()
            raise UnsupportedArchitecture(f"llama.cpp does not load {path}: {first}")
        self._free = weakref.finalize(self, self._library.llama_model_free, self.pointer)
        self.vocab = self._library.llama_model_get_vocab(self.pointer)

    def fact(self, name: str) -> int:
        """What llama_model_NAME says."""
        return int(getattr(self._library, f"llama_model_{name}")(self.pointer))

    def token(self, name: str, *arguments: int) -> Any:
        """What llama_vocab_NAME says."""
        return getattr(self._library, f"llama_vocab_{name}")(self.vocab, *arguments)

    def tokenize(self, text: bytes) -> list[int]:
        """The tokens of a text, none of them special unless the vocabulary spells it."""
        room = len(text) + 16
        while True:
            found = np.empty(room, np.int32)
            count = self._library.llama_tokenize(self.vocab, text, len(text), found.ctypes.data, room, False, False)
            if count >= 0:
                return found[:count].tolist()  # type: ignore[no-any-return]
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes of a token; none for a special one."""
        room = 128
        while True:
            found = c.create_string_buffer(room)
            count = self._library.llama_token_to_piece(self.vocab, token, found, room, 0, False)
            if count >= 0:
                return found.raw[:count]
            room = -count


class Context:
    """A cache of `cells` tokens that up to `sequences` sequences share, and what decodes into it.

    Args:
        model: the weights.
        cells: tokens that it holds; rounded up by llama.cpp.
        sequences: the most sequences at once.
        outputs: the most tokens with scores of one decoding.
        exact: keep keys and values in float32 and compute attention in it, else in llama.cpp's own way.
        hidden: also give the states of all layers; every token of a batch then has scores.
    """

    def __init__(
        self, model: Model, cells: int, sequences: int, outputs: int, exact: bool, hidden: bool = False
    ) -> None:
        self._library = library()
        self._model = model
        self.vocabulary = int(model.token("n_tokens"))
        self.width = model.fact("n_embd")
        self.hidden = hidden
        self.batch_size = outputs if hidden else 512  # what Ctrl-C waits for
        self._layers = model.fact("n_layer")
        self._seen: dict[bytes, Floats] = {}
        p = self._library.llama_context_default_params()
        p.cells, p.sequences, p.batch, p.micro_batch = cells, sequences, self.batch_size, min(self.batch_size, 512)
        p.outputs, p.outputs_each = outputs, outputs
        p.threads = p.threads_batch = threads()
        p.pooling, p.unified, p.whole_windows, p.embeddings = 0, True, True, hidden
        if exact:
            p.flash, p.keys, p.values = 0, F32, F32
        watch = _watching(self._library, self._seen, self.width) if hidden else None
        p.evaluated = c.cast(watch, c.c_void_p) if watch is not None else None
        _said.clear()
        self.pointer = self._library.llama_init_from_model(model.pointer, p)
        if not self.pointer:
            raise ModelError(f"llama.cpp makes no cache of {cells} tokens: {_reason()}")
        self._free = weakref.finalize(self, _free, self._library, self.pointer, model, watch)
        self.cells = int(self._library.llama_n_ctx(self.pointer))
        read = (self._library.llama_n_seq_max(self.pointer), self._library.llama_n_batch(self.pointer))
        if self.cells < cells or self._library.llama_n_ctx_seq(self.pointer) != self.cells or read[0] != sequences:
            raise ModelError(f"llama.cpp made another cache than it was asked for; pip install 'xllamacpp=={KNOWN}'")
        self._memory = self._library.llama_get_memory(self.pointer)
        self._arrays()

    def _arrays(self) -> None:
        """The batch, whose arrays are numpy's."""
        size = self.batch_size
        self.token, self.position = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self.sequence, self.output = np.zeros(size, np.int32), np.zeros(size, np.int8)
        self._counts = np.ones(size, np.int32)
        self._places = self.sequence.ctypes.data + 4 * np.arange(size, dtype=np.uint64)
        self._batch = _Batch(
            0, self.token.ctypes.data, None, self.position.ctypes.data, self._counts.ctypes.data,
            self._places.ctypes.data, self.output.ctypes.data,
        )  # fmt: skip

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a sequence share the first tokens of another."""
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Forget what a sequence holds behind its first tokens."""
        if not self._library.llama_memory_seq_rm(self._memory, sequence, length, -1):
            raise ModelError("llama.cpp cannot take tokens back from this model's cache")

    def decode(self, count: int) -> bool:
        """Run the first `count` tokens of the batch; False if the cache has no room for them (nothing has changed)."""
        self._batch.n = count
        self._seen.clear()
        _said.clear()
        code = self._library.llama_decode(self.pointer, self._batch)
        if code not in (0, 1):
            raise ModelError(f"llama.cpp failed with {code}: {_reason()}")
        return bool(code == 0)

    def results(self, count: int) -> tuple[Floats, Floats | None]:
        """Of the batch's tokens with outputs, in order: scores float32[count, vocabulary], and the states of all
        layers, the last one after the final norm, float32[count, layers + 1, width]. Copies.
        """
        scores = self._copied(self._library.llama_get_logits(self.pointer), (count, self.vocabulary))
        if not self.hidden:
            return scores, None
        last = self._copied(self._library.llama_get_embeddings(self.pointer), (count, self.width))
        names = [
            next((n for n in EMBEDDED if n in self._seen), b""),
            *(f"l_out-{i}".encode() for i in range(self._layers - 1)),
        ]
        if any(name not in self._seen or len(self._seen[name]) != count for name in names):
            raise Unsupported(
                "llama.cpp does not show the layers of this architecture; DoLa and contrastive search need them"
            )
        return scores, np.stack([*(self._seen[name] for name in names), last], axis=1)

    def _copied(self, address: int | None, shape: tuple[int, int]) -> Floats:
        if not address:
            raise ModelError("llama.cpp gives no scores")
        held = (c.c_float * (shape[0] * shape[1])).from_address(address)  # written anew by the next decoding
        return np.frombuffer(memoryview(held).cast("B"), np.float32).reshape(shape).copy()

    def moved_to(self, other: Context) -> None:
        """Copy all sequences, as they are, into a larger cache."""
        size = self._library.llama_state_get_size(self.pointer)
        held = np.empty(size, np.uint8)
        size = self._library.llama_state_get_data(self.pointer, held.ctypes.data, size)
        if not self._library.llama_state_set_data(other.pointer, held.ctypes.data, size):
            raise ModelError(f"llama.cpp cannot move its cache: {_reason()}")


def _watching(loaded: Any, seen: dict[bytes, Floats], width: int) -> Any:
    """A callback that keeps what enters the first layer and what leaves each; it must not hold its context."""

    def call(tensor: int, asks: bool, data: Any) -> bool:
        name = loaded.ggml_get_name(tensor)
        if asks:
            return name.startswith(b"l_out-") or name in EMBEDDED
        found = np.empty(loaded.ggml_nbytes(tensor) // 4, np.float32)
        loaded.ggml_backend_tensor_get(tensor, found.ctypes.data, 0, found.nbytes)
        seen[name] = found.reshape(-1, width)
        return True

    return _Eval(call)


def _free(loaded: Any, pointer: int, model: Model, watch: Any) -> None:
    """Free a context; its model and callback live until then."""
    loaded.llama_free(pointer)
