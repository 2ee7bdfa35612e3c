"""Fields that OpenAI's APIs for conversations and for texts share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palmette.core.errors import RequestRefused
from palmette.models.remote.wires.reading import asked_table, inner, real, shown

__all__ = ["bias_of", "said_bias", "wants_usage"]


def said_bias(bias: Mapping[int, float]) -> dict[str, float] | None:
    """The field logit_bias."""
    return {str(token): value for token, value in bias.items()} or None


def bias_of(body: Mapping[str, Any]) -> dict[int, float]:
    """What the field logit_bias says.

    Raises:
        RequestRefused: for keys that are no token ids.
    """
    bias = asked_table(body.get("logit_bias") or {}, "logit_bias")
    wrong = next((key for key in bias if not (key.isdecimal() and len(key) < 10)), None)
    if wrong is not None:
        raise RequestRefused(f"logit_bias: its keys are token ids, not {shown(wrong)}")
    return {int(key): real(value, "logit_bias") or 0.0 for key, value in bias.items()}


def wants_usage(body: Mapping[str, Any], stream: bool) -> dict[str, Any]:
    """What the writer must know of a client that streams and asks for no usage: a chunk without choices confuses it."""
    asked = inner(body.get("stream_options")).get("include_usage")
    return {"stream_options": {"include_usage": False}} if stream and not asked else {}
