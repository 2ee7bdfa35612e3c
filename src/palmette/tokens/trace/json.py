"""The trace as JSON, format `palmette.trace/1`: everything, exactly, both ways. Token bytes are written in hex."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from palmette.core.errors import UsageError
from palmette.tokens.trace.values import Answer, Candidate, Expansion, Look, Run, Stage, Trace, TraceNode, Visit

__all__ = ["FORMAT", "from_json", "to_json"]

FORMAT = "palmette.trace/1"


def to_json(trace: Trace, indent: int | None = None) -> str:
    """Write a trace."""
    return json.dumps({"format": FORMAT, **_plain(trace)}, ensure_ascii=False, indent=indent, allow_nan=False)


def from_json(text: str) -> Trace:
    """Read a trace back; `from_json(to_json(trace)) == trace`."""
    raw = json.loads(text)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        shown = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise UsageError(f"not a trace: format is {shown!r}, expected {FORMAT!r}")
    return Trace(
        raw["model"],
        raw["prompt"],
        tuple(raw["tokens"]),
        tuple(_run(r) for r in raw["runs"]),
        tuple(_node(n) for n in raw["nodes"]),
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value


def _run(raw: dict[str, Any]) -> Run:
    answers = tuple(Answer(**{**a, "score": float(a["score"]), "logprob": float(a["logprob"])}) for a in raw["answers"])
    return Run(raw["label"], tuple(raw["views"]), raw["seed"], answers)


def _node(raw: dict[str, Any]) -> TraceNode:
    visits = tuple(Visit(**{**v, "score": float(v["score"])}) for v in raw["visits"])
    expansion = None if raw["expansion"] is None else _expansion(raw["expansion"])
    return TraceNode(
        **{
            **raw,
            "bytes": bytes.fromhex(raw["bytes"]),
            "logprob": float(raw["logprob"]),
            "visits": visits,
            "expansion": expansion,
        }
    )


def _expansion(raw: dict[str, Any]) -> Expansion:
    candidates = tuple(Candidate(**{**c, "bytes": bytes.fromhex(c["bytes"])}) for c in raw["candidates"])
    looks = tuple(
        Look(
            look["run"],
            look["entropy"],
            tuple(Stage(**{**s, "removed": tuple(s["removed"])}) for s in look["stages"]),
            tuple(look["logprobs"]),
        )
        for look in raw["looks"]
    )
    return Expansion(raw["entropy"], candidates, raw["rest"], looks)
