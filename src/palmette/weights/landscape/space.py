"""A model's parameters as one flat vector that can be moved, and put back bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from palmette.core.errors import BadParameter, MissingExtra

try:
    import torch
except ImportError as error:
    raise MissingExtra("the loss landscape", "landscape") from error

__all__ = ["MANY", "Part", "Space", "compiled"]

_IN_OUT = ("Conv1D", "GptOssExperts")  # modules that store a matrix as [in, out]
MANY = 10_000_000  # parameters from which on compiled loops pay
_LOOPS = {torch.float32: "fill", torch.bfloat16: "fill_short"}
_BLOCK = 1 << 17  # numbers of a block: what is added up stays in the cache, and calls cost nothing beside it


@dataclass(frozen=True)
class Part:
    """One parameter's place in the flat vector; `units_last` if its units (filters) are along the last axis."""

    name: str
    start: int
    shape: tuple[int, ...]
    units_last: bool

    @property
    def size(self) -> int:
        """Numbers in it."""
        count = 1
        for n in self.shape:
            count *= n
        return count


class Space:
    """The selected parameters of a model, each once though it may be tied, as views of one flat buffer.

    Inside `with space:` the model computes with the buffer; afterwards, or after an error, its own tensors are back.
    A position is computed from the origin every time, so a point's value does not depend on those before it.

    Args:
        model: a torch module in float32.
        select: a regular expression; parameters whose names it is found in are moved, the others stay.
        dtype: what the model computes in; a position is computed in float32 and rounded to it once.

    `tied` names parameters that occur twice in the model; they are moved once.

    Raises:
        BadParameter: if no floating parameter is selected, or by no regular expression.
    """

    def __init__(self, model: Any, select: str = "", dtype: Any = torch.float32) -> None:
        self.model = model
        self.dtype = dtype
        self.select = select
        self.kept: dict[Any, Any] = {}  # what directions found out once, for the next of them
        owners = {id(p): module for module in model.modules() for p in module.parameters(recurse=False)}
        self._own = [(name, p) for name, p in model.named_parameters() if p.is_floating_point()]
        try:
            wanted = re.compile(select)
        except re.error as error:
            raise BadParameter(f"select={select!r} is no regular expression: {error}") from error
        chosen = [(name, p) for name, p in self._own if wanted.search(name)]
        if not chosen:
            names = ", ".join(name for name, _ in self._own[:3])
            raise BadParameter(f"select={select!r} is found in no parameter's name (there are {names} …)")
        self.parts: list[Part] = []
        at = 0
        for name, p in chosen:
            last = type(owners[id(p)]).__name__ in _IN_OUT and p.dim() > 1
            self.parts.append(Part(name, at, tuple(p.shape), last))
            at += p.numel()
        self.size = at
        self.names = [name for name, _ in self._own]
        self.device = chosen[0][1].device
        with torch.no_grad():
            self.origin = torch.cat([p.detach().reshape(-1).float() for _, p in chosen])
        self.moved = [p for _, p in chosen]
        self.tied = _tied(model, {id(p) for p in self.moved})
        self._kept: list[tuple[Any, Any]] = []
        self._working = torch.empty(0)
        self._fill = compiled(dtype) if self.device.type == "cpu" and at >= MANY else None

    def view(self, flat: Any, part: Part) -> Any:
        """A parameter's part of a flat vector, in its own shape."""
        return flat[part.start : part.start + part.size].view(part.shape)

    def __enter__(self) -> Space:
        self._kept = [(p, p.data) for _, p in self._own]
        self._working = self.origin.to(self.dtype, copy=True)
        moved = {id(p) for p in self.moved}
        for part, p in zip(self.parts, self.moved, strict=True):
            p.data = self.view(self._working, part)
        for _, p in self._own:
            if id(p) not in moved and p.dtype != self.dtype:
                p.data = p.data.to(self.dtype)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for p, data in self._kept:
            p.data = data
        self._kept = []

    def move(self, at: Sequence[float], directions: Sequence[Any]) -> None:
        """Put the model at origin + Σ at[i] · directions[i]; the same numbers give the same bits every time.

        The sum is made in float32, in pieces that stay in the cache, and rounded to the model's precision once.

        Raises:
            BadParameter: outside `with space:`, or with other than one or two directions.
        """
        if not self._kept:
            raise BadParameter("move works inside `with space:` only")
        if len(at) not in (1, 2) or len(at) != len(directions):
            raise BadParameter(f"{len(at)} coordinates and {len(directions)} directions; one or two are possible")
        with torch.no_grad():
            if self._fill is None:
                self._sum(at, directions)
            else:
                self._sum_compiled(self._fill, at, directions)

    def _sum_compiled(self, fill: Callable[..., None], at: Sequence[float], directions: Sequence[Any]) -> None:
        """The sum in one pass, by as many threads as torch has."""
        vectors = [v.float().contiguous().numpy() for v in (self.origin, directions[0], directions[-1])]
        made = (self._working.view(torch.uint16) if self.dtype == torch.bfloat16 else self._working).numpy()
        a, b = (np.array([x], np.float32) for x in (at[0] if len(at) == 2 else 0.0, at[-1]))
        threads = torch.get_num_threads()
        ends = [self.size * i // threads for i in range(threads + 1)]

        def part(start: int, stop: int) -> None:
            fill(*(v[start:stop] for v in vectors), a, b, made[None, start:stop])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, ends, ends[1:]))

    def _sum(self, at: Sequence[float], directions: Sequence[Any]) -> None:
        """The same in torch's words, block by block."""
        block = _BLOCK if self.device.type == "cpu" else _BLOCK * 512
        spare = torch.empty(min(block, self.size) if self.dtype != torch.float32 else 0, device=self.device)
        for start in range(0, self.size, block):
            stop = min(start + block, self.size)
            made, out = self.origin[start:stop], self._working[start:stop]
            room = out if self.dtype == torch.float32 else spare[: stop - start]
            for x, direction in zip(at, directions, strict=True):
                made = torch.add(made, direction[start:stop].float(), alpha=x, out=room)
            if made is not out:
                out.copy_(made)


def compiled(dtype: Any) -> Callable[..., None] | None:
    """The compiled loop that makes weights of a type (see `palmette.weights.fast.fills`); None where there is none."""
    try:
        from palmette.weights.fast.native import loop

        return loop(_LOOPS[dtype])
    except Exception:  # no numba, or one that cannot compile here: slower, the same bits
        return None


def _tied(model: Any, moved: set[int]) -> tuple[str, ...]:
    """Names under which a moved parameter occurs once more."""
    seen: dict[int, str] = {}
    again = []
    for name, p in model.named_parameters(remove_duplicate=False):
        if id(p) in seen and id(p) in moved:
            again.append(f"{name} = {seen[id(p)]}")
        seen.setdefault(id(p), name)
    return tuple(again)
