"""The output: safetensors shards laid out before anything is computed, a journal, and a folder that appears whole.

Shards are written at fixed offsets into a hidden folder beside the target, in any order. A finished tensor is a line in
the journal. When all is there, the folder is renamed: a reader sees nothing or everything, a restart continues.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from palmette.core.errors import OutputError
from palmette.weights.dtypes import SIZES

__all__ = ["Output", "Spot", "layout"]


@dataclass(frozen=True)
class Spot:
    """Where a tensor of the output lies: file, first byte, number of bytes."""

    file: str
    start: int
    size: int


@dataclass(frozen=True)
class Shard:
    """One file: its header, and how long it is."""

    file: str
    header: bytes
    size: int


def layout(
    tensors: Sequence[tuple[str, str, tuple[int, ...]]], shard_size: int
) -> tuple[list[Shard], dict[str, Spot], dict[str, object]]:
    """Divide tensors (name, dtype, shape) over shards; returns shards, places, and the index of a sharded model.

    >>> shards, spots, index = layout([("a", "F32", (2,)), ("b", "F32", (2,))], 8)
    >>> [shard.file for shard in shards]
    ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    """
    groups: list[list[tuple[str, str, tuple[int, ...], int]]] = [[]]
    filled = 0
    for name, dtype, shape in tensors:
        size = SIZES[dtype]
        for n in shape:
            size *= n
        if groups[-1] and filled + size > shard_size:
            groups.append([])
            filled = 0
        groups[-1].append((name, dtype, shape, size))
        filled += size
    shards, spots = [], {}
    for number, group in enumerate(groups, 1):
        file = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        group.sort(key=lambda row: -SIZES[row[1]])  # wide types first, so that every tensor is aligned
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name, dtype, shape, size in group:
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        first = 8 + len(text)
        for name, _, _, size in group:
            spots[name] = Spot(file, first, size)
            first += size
        shards.append(Shard(file, struct.pack("<Q", len(text)) + text, first))
    whole = sum(spot.size for spot in spots.values())
    index = {"metadata": {"total_size": whole}, "weight_map": {name: spots[name].file for name in spots}}
    return shards, spots, index


def boot() -> str:
    """What tells one start of the machine from another: after a crash of it, pages may be lost that a journal names."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class Output:
    """A folder in the making.

    Args:
        target: the folder that will appear.
        digest: of the plan; a half-done folder of another plan is begun anew.
    """

    def __init__(self, target: Path, digest: str) -> None:
        self.target = target
        self.digest = digest
        self.work = target.parent / f".{target.name}.partial"
        self.log = target.parent / f".{target.name}.journal"
        self.done: set[str] = set()
        self._files: dict[str, int] = {}
        self._journal = -1

    @contextmanager
    def opened(self, shards: Sequence[Shard]) -> Iterator[None]:
        """Lay out the shards, or take up what an interrupted run has left; removes everything if the merge fails."""
        self._lock()
        try:
            self._resume(shards)
            yield
        except (KeyboardInterrupt, SystemExit):
            self._close()
            raise
        except OSError as error:
            self._discard()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "the disk is full; nothing was left behind" if full else str(error)
            raise OutputError(f"{self.target} cannot be written: {hint}") from error
        except BaseException:
            self._discard()
            raise

    def _lock(self) -> None:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._journal = os.open(self.log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._journal)
            raise OutputError(f"another merge is writing {self.target}") from error
        except OSError as error:
            raise OutputError(f"{self.target} cannot be written: {error}") from error

    def _resume(self, shards: Sequence[Shard]) -> None:
        head = f"{self.digest} {boot()}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # a torn last line is dropped
        sound = all((self.work / s.file).is_file() and (self.work / s.file).stat().st_size == s.size for s in shards)
        if lines and lines[0] == head and sound:
            self.done = {json.loads(line) for line in lines[1:] if line.startswith('"')}
            os.write(self._journal, b"\n")  # ends a torn line
        else:
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
            os.ftruncate(self._journal, 0)
        for shard in shards:
            self._files[shard.file] = os.open(self.work / shard.file, os.O_RDWR | os.O_CREAT, 0o644)
            if not (lines and lines[0] == head and sound):
                os.posix_fallocate(self._files[shard.file], 0, shard.size)
                os.pwrite(self._files[shard.file], shard.header, 0)
        if not (lines and lines[0] == head and sound):
            os.write(self._journal, f"{head}\n".encode())

    def write(self, spot: Spot, offset: int, data: memoryview) -> None:
        """Write bytes of a tensor at an offset into it."""
        at = spot.start + offset
        while len(data):
            count = os.pwrite(self._files[spot.file], data, at)
            data, at = data[count:], at + count

    def finish(self, name: str) -> None:
        """Note that a tensor is complete."""
        os.write(self._journal, f"{json.dumps(name)}\n".encode())

    def commit(self, sync: bool = False) -> None:
        """Let the folder appear, once everything is on the disk if `sync`."""
        if sync:
            for file in self._files.values():
                os.fsync(file)
        if self.target.is_dir():
            os.rmdir(self.target)  # checked to be empty before
        os.rename(self.work, self.target)
        self.log.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        os.close(self._journal)

    def _discard(self) -> None:
        self._close()
        shutil.rmtree(self.work, ignore_errors=True)
        self.log.unlink(missing_ok=True)
