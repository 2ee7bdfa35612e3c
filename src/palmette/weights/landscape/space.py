"""A model's parameters as one flat vector that can be moved, and put back bit for bit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from palmette.core.errors import BadParameter, MissingExtra

try:
    import torch
except ImportError as error:
    raise MissingExtra("the loss landscape", "landscape") from error

__all__ = ["Part", "Space"]

_IN_OUT = ("Conv1D", "GptOssExperts")  # modules that store a matrix as [in, out]


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
        dtype: what the model computes in; a position is rounded to it once.

    Raises:
        BadParameter: if no floating parameter is selected.
    """

    def __init__(self, model: Any, select: str = "", dtype: Any = torch.float32) -> None:
        self.model = model
        self.dtype = dtype
        owners = {id(p): module for module in model.modules() for p in module.parameters(recurse=False)}
        self._own = [(name, p) for name, p in model.named_parameters() if p.is_floating_point()]
        chosen = [(name, p) for name, p in self._own if re.search(select, name)]
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
        self.device = chosen[0][1].device
        with torch.no_grad():
            self.origin = torch.cat([p.detach().reshape(-1).float() for _, p in chosen])
        self.moved = [p for _, p in chosen]
        self._kept: list[tuple[Any, Any]] = []
        self._row: tuple[float, Any] | None = None
        self._current = torch.empty(0)
        self._working = torch.empty(0)

    def view(self, flat: Any, part: Part) -> Any:
        """A parameter's part of a flat vector, in its own shape."""
        return flat[part.start : part.start + part.size].view(part.shape)

    def __enter__(self) -> Space:
        self._kept = [(p, p.data) for _, p in self._own]
        self._current = self.origin.clone()
        self._working = self._current if self.dtype == torch.float32 else self._current.to(self.dtype)
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
        self._row = None

    def move(self, at: Sequence[float], directions: Sequence[Any]) -> None:
        """Put the model at origin + Σ at[i] · directions[i]; the same numbers give the same bits every time."""
        if not self._kept:
            raise BadParameter("move works inside `with space:` only")
        with torch.no_grad():
            base = self.origin
            if len(at) > 1:
                if self._row is None or self._row[0] != at[0]:
                    held = None if self._row is None else self._row[1]
                    self._row = (at[0], torch.add(base, directions[0], alpha=at[0], out=held))
                base = self._row[1]
            torch.add(base, directions[min(1, len(at) - 1)], alpha=at[min(1, len(at) - 1)], out=self._current)
            if self._working is not self._current:
                self._working.copy_(self._current)
