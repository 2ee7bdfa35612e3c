"""What a server counts, in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from palmette.models.batched import Load

__all__ = ["Metrics"]

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        place = next((i for i, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))
        self.counts[place] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> Iterable[str]:
        so_far = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {so_far}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {so_far}"


class Metrics:
    """Counters of one server; all are changed in its event loop."""

    def __init__(self) -> None:
        self.began = time.time()
        self.in_flight = 0
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self.left: Counter[str] = Counter()
        self._seconds: dict[str, _Histogram] = {}
        self._first: dict[str, _Histogram] = {}

    def done(self, api: str, model: str, status: int, seconds: float, first: float | None) -> None:
        """A request has ended."""
        self.requests[api, model, status] += 1
        self._seconds.setdefault(model, _Histogram()).add(seconds)
        if first is not None:
            self._first.setdefault(model, _Histogram()).add(first)

    def text(self, loads: Mapping[str, Load]) -> str:
        """All of it."""
        rows = ["# TYPE palmette_requests_total counter"]
        rows += [f'palmette_requests_total{{api="{a}",model="{_escaped(m)}",status="{s}"}} {n}'
                 for (a, m, s), n in sorted(self.requests.items())]  # fmt: skip
        rows.append("# TYPE palmette_tokens_total counter")
        rows += [
            f'palmette_tokens_total{{model="{_escaped(m)}",kind="{k}"}} {n}'
            for (m, k), n in sorted(self.tokens.items())
        ]
        rows.append("# TYPE palmette_disconnects_total counter")
        rows += [f'palmette_disconnects_total{{model="{_escaped(m)}"}} {n}' for m, n in sorted(self.left.items())]
        for name, table in (("request", self._seconds), ("first_token", self._first)):
            rows.append(f"# TYPE palmette_{name}_seconds histogram")
            for model, histogram in sorted(table.items()):
                rows += histogram.lines(f"palmette_{name}_seconds", f'model="{_escaped(model)}"')
        for name in ("running", "waiting", "kept", "passes"):
            rows.append(f"# TYPE palmette_model_{name} gauge")
            rows += [f'palmette_model_{name}{{model="{_escaped(m)}"}} {getattr(x, name)}' for m, x in loads.items()]
        rows += ["# TYPE palmette_in_flight gauge", f"palmette_in_flight {self.in_flight}",
                 "# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {self.began:.3f}"]  # fmt: skip
        memory = _resident()
        if memory:
            rows += ["# TYPE process_resident_memory_bytes gauge", f"process_resident_memory_bytes {memory}"]
        return "\n".join(rows) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
