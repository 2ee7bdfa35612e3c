"""Machine code of the loops, compiled once per machine and kept as object files.

A numba function costs a second of start-up each time, even from numba's own cache: as long as a whole small merge. So
its machine code is kept as a plain object file, which llvmlite alone loads in milliseconds. A file is named by all that
it depends on (source, versions, processor) and carries its own checksum; what does not fit is compiled anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

__all__ = ["SIGNATURES", "loop"]

# Arrays are written with a star for each dimension: u2* is uint16[n].
SIGNATURES = {
    "widen": "u2* u4*", "narrow": "u4* u2*", "largest16": "u2* u2 u2*", "largest32": "u4* u4 u4*",
    "scale": "f4* f4 f4*", "add": "f4* f4 f4*", "blend": "f4* f8 f4*",
    "mix": "u2** u2* f4* i8 i8 f4 f4 f4 u2* u4* u4* u2*",
    "dots": "f4* f4* i8 f8* f8*", "sizes": "f4* i8 f8* f8*", "products": "u2** u2* i8 i8 f8** f8** f8**",
    "count": "u4* u4 u4 i8*",
    "count_under": "u4* u4 u4 u4 u4 i8*", "keep": "i4* i4 i8", "drop": "f4* u4 u4 i8 u4", "pack": "u4* u8**",
    "drop_ranked": "f4* u8** u4 u4 i8 i8* i8*", "variance": "f4** f4* f8* f8*", "erase": "f4* f4*",
    "fuse": "f4** f4* f4* f4* f4*", "elect": "f4** f4* i8 f4* f4* f4*",
    "fill": "f4* f4* f4* f4* f4* f4**", "fill_short": "f4* f4* f4* f4* f4* u2**",
}  # fmt: skip
_SOURCE = {"fill": "fills", "fill_short": "fills"}  # the others are in loops.py
_SCALARS = {"f4": ctypes.c_float, "f8": ctypes.c_double, "i4": ctypes.c_int32, "i8": ctypes.c_int64,
            "u2": ctypes.c_uint16, "u4": ctypes.c_uint32, "u8": ctypes.c_uint64}  # fmt: skip
_known: dict[str, Callable[..., None]] = {}
_alive: list[Any] = []  # engines that own the code
_lock = threading.Lock()


def loop(name: str) -> Callable[..., None]:
    """A compiled loop; it releases the interpreter lock while it runs.

    Args:
        name: of the table; arguments are contiguous arrays and numbers of the types there.
    """
    found = _known.get(name)
    if found is None:
        with _lock:
            found = _known.get(name) or _made(name)
            _known[name] = found
    return found


def _made(name: str) -> Callable[..., None]:
    path = _place(name)
    held = _read(path)
    if held is None:
        held = _compiled(name)
        _write(path, *held)
    symbol, code = held
    if not _alive:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.add_symbol("NRT_MemInfo_call_dtor", ctypes.cast(_unused, ctypes.c_void_p).value)
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _alive.append(engine)
    return _bound(engine.get_function_address(symbol), SIGNATURES[name].split())


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _unused(_: int) -> None:
    """Stands for numba's destructor of arrays, which no loop calls: none allocates."""


def _bound(address: int, kinds: list[str]) -> Callable[..., None]:
    """numba's calling convention: a place for the result, one for an exception, then the arguments.

    A one-dimensional array is (owner, parent, elements, bytes of one, data, length, stride).
    """
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    types: list[Any] = [pointer, pointer]
    for kind in kinds:
        stars = kind.count("*")
        types += [pointer, pointer, whole, whole, pointer, *[whole] * (2 * stars)] if stars else [_SCALARS[kind]]
    native = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(address)

    def call(*given: Any) -> None:
        result, failure = ctypes.c_int64(), ctypes.c_void_p()
        flat: list[Any] = [ctypes.addressof(result), ctypes.addressof(failure)]
        for value in given:
            if isinstance(value, np.ndarray):
                assert value.flags.c_contiguous
                data = value.__array_interface__["data"][0]
                flat += (None, None, value.size, value.itemsize, data, *value.shape, *value.strides)
            else:
                flat.append(value)
        native(*flat)

    return call


def _compiled(name: str) -> tuple[str, bytes]:
    """(symbol, object file) of a loop: numba makes LLVM's intermediate code, llvmlite the machine's."""
    from numba import types

    scalars = {"f4": types.float32, "f8": types.float64, "i4": types.int32, "i8": types.int64, "u2": types.uint16,
               "u4": types.uint32, "u8": types.uint64}  # fmt: skip
    kinds = [(kind.rstrip("*"), kind.count("*")) for kind in SIGNATURES[name].split()]
    signature = tuple(types.Array(scalars[k], n, "C") if n else scalars[k] for k, n in kinds)
    function = import_module(f"palmette.weights.fast.{_SOURCE.get(name, 'loops')}").LOOPS[name]
    function.compile(signature)
    symbol = function.overloads[signature].fndesc.llvm_func_name
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, reloc="pic", codemodel="jitdefault"  # noqa: E501
    )  # fmt: skip
    return symbol, machine.emit_object(llvm.parse_assembly(function.inspect_llvm(signature)))


def _place(name: str) -> Path:
    """Where a loop's object file is kept."""
    source = (Path(__file__).parent / f"{_SOURCE.get(name, 'loops')}.py").read_bytes() + SIGNATURES[name].encode()
    facts = [version("numba"), version("llvmlite"), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    mark = hashlib.sha256(source + "\n".join(facts).encode()).hexdigest()[:24]
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home) / "palmette" / "loops" / f"{name}-{mark}.o"


def _read(path: Path) -> tuple[str, bytes] | None:
    """A checksum, the symbol, and the object file, if they are whole and nobody else could have written them."""
    try:
        about = path.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o022:
            return None
        check, rest = path.read_bytes().split(b"\n", 1)
        symbol, code = rest.split(b"\n", 1)
    except (OSError, ValueError):
        return None
    return (symbol.decode(), code) if hashlib.sha256(rest).hexdigest().encode() == check else None


def _write(path: Path, symbol: str, code: bytes) -> None:
    """Keep an object file; where that is not possible, it is compiled again next time."""
    rest = symbol.encode() + b"\n" + code
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        os.replace(file.name, path)
    except OSError:
        return
