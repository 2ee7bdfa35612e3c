"""GGUF files: what is written is read again, every format equals ggml's own, and no file can make the reader suffer."""

from __future__ import annotations

import ctypes
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import BadParameter, CorruptCheckpoint, ModelNotFound, OutputError, PalmetteError, Unsupported
from palmette.core.gguf import open_gguf, read_gguf_header
from palmette.core.gguf_types import FORMATS, READ, WRITTEN, from_float32, to_float32
from palmette.core.gguf_write import U32, Planned, write_gguf

numbers = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]).map(np.dtype)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(0, 2**32 - 1).map(U32),
    st.floats(width=32, allow_nan=False),
    st.text(),
    st.lists(st.text(), max_size=4),
    numbers.flatmap(lambda d: st.binary(max_size=6).map(lambda b: np.frombuffer(b * d.itemsize, d))),
    st.lists(st.booleans(), max_size=5).map(lambda b: np.array(b, bool)),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "x.gguf"


def text(raw: bytes | str) -> bytes:
    raw = raw.encode() if isinstance(raw, str) else raw
    return struct.pack("<Q", len(raw)) + raw


def crafted(
    tmp_path: Path,
    *,
    entries: bytes = b"",
    table: bytes = b"",
    data: bytes = bytes(64),
    counts: Any = None,
    version: int = 3,
) -> Path:
    """A file from its parts, with counts as they ought to be unless others are given."""
    tensors, keys = counts if counts is not None else (int(bool(table)), int(bool(entries)))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + entries + table
    path = tmp_path / "crafted.gguf"
    path.unlink(missing_ok=True)  # it may be mapped
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def row(name: bytes | str, dims: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


# -- what is written is read again -------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=20), values, max_size=6))
@settings(max_examples=100, deadline=None)
def test_metadata_is_read_as_it_was_written(place: Path, metadata: dict[str, Any]) -> None:
    metadata.pop("general.alignment", None)
    found = open_gguf(write_gguf(place, metadata, {})).metadata
    assert list(found) == list(metadata)
    for key, value in metadata.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[key], value)
        else:
            assert (list(found[key]) if isinstance(value, list) else found[key]) == value


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from(sorted(WRITTEN))), max_size=5), st.data()
)
@settings(max_examples=60, deadline=None)
def test_tensors_are_read_as_they_were_written(
    place: Path, shapes: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    arrays = {
        f"t{i}": rng.standard_normal((rows, 32 * width)).astype(np.float32) for i, (rows, width, _) in enumerate(shapes)
    }
    planned = {
        name: Planned(a.shape, shapes[i][2], lambda start, stop, a=a: a[start:stop])
        for i, (name, a) in enumerate(arrays.items())
    }
    file = open_gguf(write_gguf(place, {}, planned))
    assert list(file) == list(arrays)
    for i, (name, array) in enumerate(arrays.items()):
        kind = shapes[i][2]
        step = {"F32": 0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 220}[kind]
        assert np.abs(file[name] - array).max() <= step * np.abs(array).max()
        np.testing.assert_array_equal(file.rows(name, 1), file[name][1:])


def test_what_is_small_enough_to_be_exact_is_exact_in_every_written_format() -> None:
    rows = np.tile(np.float32([-127, 0, 64, 127]), (3, 8))
    for kind in WRITTEN:
        np.testing.assert_array_equal(to_float32(kind, from_float32(kind, rows).ravel()), rows.ravel())
    odd = np.float32([[np.nan, np.inf, -np.inf, 1e-45, 3.0e38, 0.1, -0.0, 65504] * 4])
    back = to_float32("BF16", from_float32("BF16", odd).ravel())
    assert np.isnan(back[0]) and back[1] == np.inf and back[2] == -np.inf and np.signbit(back[6])


def test_a_tensor_is_streamed_in_blocks_and_the_header_needs_none_of_it(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def rows(start: int, stop: int) -> np.ndarray:
        calls.append((start, stop))
        return np.full((stop - start, 1 << 16), start, np.float32)

    metadata = {"general.architecture": "llama", "general.name": "Toy", "llama.context_length": U32(384)}
    done: list[int] = []
    path = write_gguf(tmp_path / "x.gguf", metadata, {"w": Planned((200, 1 << 16), "Q8_0", rows)}, progress=done.append)
    assert calls == [(0, 64), (64, 128), (128, 192), (192, 200)]
    assert sum(done) == 200 * (1 << 16) // 32 * 34
    tracemalloc.start()
    header = read_gguf_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000
    assert (header.architecture, header.name, header.parameters) == ("llama", "Toy", 200 << 16)
    assert (header.quantisation, header.context_length, header.bytes) == ("Q8_0", 384, path.stat().st_size)
    assert not header.chat_template


def test_an_interrupted_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", {"a": "old"}, {})

    def fail(start: int, stop: int) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(path, {"a": "new"}, {"w": Planned((1, 32), "F32", fail)})
    assert open_gguf(path).metadata["a"] == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.gguf"]
    with pytest.raises(OutputError, match="no-such"):
        write_gguf(tmp_path / "no-such" / "x.gguf", {}, {})
    with pytest.raises(BadParameter, match="cannot be written as Q8_0"):
        write_gguf(path, {}, {"w": np.zeros((2, 31))}, "Q8_0")
    with pytest.raises(BadParameter, match="'Q4_K' is not written"):
        write_gguf(path, {}, {"w": np.zeros((2, 256))}, "Q4_K")
    with pytest.raises(BadParameter, match="no value that GGUF has"):
        write_gguf(path, {"x": {"a": 1}}, {})


# -- formats against ggml ----------------------------------------------------------------------------------------------


def ggml() -> ctypes.CDLL:
    module = pytest.importorskip("xllamacpp.xllamacpp", reason="the extra gguf is not installed")
    library = ctypes.CDLL(module.__file__)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    return library


@pytest.mark.parametrize("kind", [k for k in READ if k not in ("F32", "F16", "F64")])
def test_every_format_is_read_and_written_as_ggml_does_it(kind: str) -> None:
    library = ggml()
    number, (_, block, each) = next((n, f) for n, f in FORMATS.items() if f[0] == kind)
    rng = np.random.default_rng(0)
    wide = (rng.standard_normal((6, 512)) * rng.lognormal(0, 2, (6, 1))).astype(np.float32)
    wide[0] = 0
    packed = np.zeros(wide.size // block * each, np.uint8)
    pointer = ctypes.c_void_p
    done = library.ggml_quantize_chunk(
        number, wide.ctypes.data_as(pointer), packed.ctypes.data_as(pointer), ctypes.c_int64(0), ctypes.c_int64(6),
        ctypes.c_int64(512), None,
    )  # fmt: skip
    assert done == packed.size
    theirs = np.zeros(wide.size, np.float32)
    name = "dequantize_row_" + kind.replace("Q", "q").replace("_k", "_K")
    if kind == "BF16":
        library.ggml_bf16_to_fp32_row(
            packed.ctypes.data_as(pointer), theirs.ctypes.data_as(pointer), ctypes.c_int64(wide.size)
        )
    else:
        getattr(library, name)(
            packed.ctypes.data_as(pointer), theirs.ctypes.data_as(pointer), ctypes.c_int64(wide.size)
        )
    np.testing.assert_array_equal(to_float32(kind, packed), theirs)
    if kind in WRITTEN:
        np.testing.assert_array_equal(from_float32(kind, wide).ravel(), packed)


# -- files that mean harm ----------------------------------------------------------------------------------------------

HUGE = 2**60


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"counts": (HUGE, 0)}, "1152921504606846976 tensors"),
        ({"counts": (0, HUGE)}, "1152921504606846976 entries"),
        ({"counts": (0, 60_000)}, "60000 entries are declared in"),
        ({"entries": struct.pack("<Q", HUGE)}, "a key of 1152921504606846976 bytes"),
        ({"entries": struct.pack("<Q", 60_000)}, "60000 bytes are declared"),
        ({"entries": text("k") + struct.pack("<IQ", 8, HUGE)}, "the text of 'k' of 1152921504606846976 bytes"),
        ({"entries": text("k") + struct.pack("<IIQ", 9, 4, HUGE)}, "bytes are declared"),
        ({"entries": text("k") + struct.pack("<IIQ", 9, 8, HUGE)}, "declares 1152921504606846976 texts"),
        ({"entries": text("k") + struct.pack("<IIQQ", 9, 8, 2, HUGE)}, "end behind the file"),
        ({"entries": text("k") + struct.pack("<IIQIQ", 9, 9, 2, 9, 2)}, "array of arrays"),
        ({"entries": text("k") + struct.pack("<II", 99, 0)}, "unknown type 99"),
        ({"entries": text("k") + struct.pack("<IB", 7, 2)}, "truth value 2"),
        ({"entries": text(b"\xff\xfe") + struct.pack("<IB", 7, 1)}, "a key is not UTF-8"),
        ({"entries": (text("k") + struct.pack("<IB", 7, 1)) * 2, "counts": (0, 2)}, "'k' occurs twice"),
        ({"entries": text("general.alignment") + struct.pack("<II", 4, 3)}, "not a power of two"),
        ({"entries": text("general.alignment") + struct.pack("<II", 4, 0)}, "not a power of two"),
        ({"entries": text("general.alignment") + struct.pack("<IQ", 10, HUGE)}, "not a power of two"),
        ({"entries": text("general.alignment") + struct.pack("<IQ", 8, 0)}, "not a power of two"),
        ({"table": row("w", (HUGE,))}, "ends at byte"),
        ({"table": row("w", (2**40, 2**40, 2**40))}, "cannot be F32"),
        ({"table": row("w", (1,) * 5)}, "5 dimensions"),
        ({"table": row("w", (33,), 8)}, "cannot be Q8_0"),
        ({"table": row("w", (4,), 77)}, "unknown format 77"),
        ({"table": row("w", (4,), 4)}, "unknown format 4"),
        ({"table": row("w" * 65, (4,))}, "a tensor's name of 65 bytes"),
        ({"table": row(b"\xff", (4,))}, "a tensor's name is not UTF-8"),
        ({"table": row("w", (4,), 0, 3)}, "no multiple of 32"),
        ({"table": row("w", (4,), 0, HUGE)}, "ends at byte"),
        ({"table": row("a", (16,)) + row("b", (4,), 0, 32), "counts": (2, 0)}, "overlaps its neighbour"),
        ({"table": row("a", (16,)) * 2, "counts": (2, 0)}, "'a' occurs twice"),
        ({"table": row("w", (17,))}, "ends at byte"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(tmp_path: Path, parts: Any, says: str) -> None:
    path = crafted(tmp_path, **parts)
    with pytest.raises(CorruptCheckpoint, match=says):
        open_gguf(path)


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for raw in (b"", b"G", b"GGU", b"GGML" + bytes(40), b"GGUF", b"GGUF\3\0\0\0", b"PK\3\4" + bytes(100)):
        path.write_bytes(raw)
        with pytest.raises(CorruptCheckpoint):
            open_gguf(path)
    with pytest.raises(Unsupported, match="version 1;"):
        open_gguf(crafted(tmp_path, version=1))
    with pytest.raises(Unsupported, match="big-endian"):
        open_gguf(crafted(tmp_path, version=3 << 24))
    with pytest.raises(ModelNotFound):
        open_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelNotFound):
        open_gguf(tmp_path)


def test_a_tensor_in_a_format_that_is_not_read_is_named_and_does_not_hide_the_others(tmp_path: Path) -> None:
    file = open_gguf(crafted(tmp_path, table=row("iq", (32,), 20) + row("w", (8,), 0, 32), counts=(2, 0)))
    assert file["w"].shape == (8,)
    with pytest.raises(Unsupported, match="'iq' has the format IQ4_NL"):
        file["iq"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    metadata = {
        "general.architecture": "llama", "general.alignment": U32(32), "llama.context_length": U32(8), "b": True,
        "tokenizer.ggml.tokens": ["a", "bc", "ü"] * 5, "f": 0.5, "tokenizer.ggml.scores": np.zeros(15, np.float32),
    }  # fmt: skip
    tensors = {"a": np.ones((2, 32)), "b": np.zeros(7), "c": np.zeros((2, 2, 32))}
    return write_gguf(tmp_path_factory.mktemp("sound") / "x.gguf", metadata, tensors).read_bytes()


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_any_change_of_a_file_gives_an_error_or_a_file_within_bounds(
    place: Path, sound: bytes, data: st.DataObject
) -> None:
    raw = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(st.sampled_from(["byte", "word", "cut", "drop", "repeat"]))
        if change == "byte":
            raw[at] = data.draw(st.integers(0, 255))
        elif change == "word":
            word = data.draw(st.sampled_from([0, 1, 2**16, 2**31, 2**32 - 1, HUGE, 2**63, 2**64 - 1]))
            raw[at : at + 8] = struct.pack("<Q", word)
        elif change == "cut":
            del raw[max(at, 1) :]
        elif change == "drop":
            del raw[max(at, 1) : at + 4]
        else:
            raw[at:at] = raw[at : at + 16]
    path = place.with_name(f"{len(list(place.parent.iterdir()))}.gguf")  # a file that is mapped is not rewritten
    path.write_bytes(raw)
    try:
        file = open_gguf(path)
        for name in file:
            assert file[name].shape == file.tensors[name].shape
        assert all(len(list(value)) == len(value) for value in file.metadata.values() if hasattr(value, "raw"))
        assert file.header.bytes == len(raw)
    except PalmetteError:
        pass


def test_the_most_texts_that_are_read_take_no_memory_before_they_are_asked_for(tmp_path: Path) -> None:
    def evil(count: int) -> bytes:
        return text("k") + struct.pack("<IIQ", 9, 8, count) + bytes(8 * count)

    path = crafted(tmp_path, entries=evil(1 << 18))
    tracemalloc.start()
    assert len(open_gguf(path).metadata["k"]) == 1 << 18
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    most = evil((1 << 22) - 1)
    begun = time.monotonic()
    assert len(open_gguf(crafted(tmp_path, entries=most)).metadata["k"]) == (1 << 22) - 1
    assert time.monotonic() - begun < 20  # a second; a bound on loops, not a measurement
    with pytest.raises(CorruptCheckpoint, match="at most 4194304"):
        open_gguf(crafted(tmp_path, entries=evil(1 << 22) + bytes(8)))
