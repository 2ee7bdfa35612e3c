"""Log-probabilities in the shapes that OpenAI's APIs and the hosts after them have.

A list of rows; the parallel lists of the old Completions API; the bare number of a Together stream; the prompt's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palmette.core.message import TokenScore
from palmette.models.remote.wires.reading import inner, items, logprob, said_logprob, scores_of, text

__all__ = ["legacy_scores", "prompt_scores", "said_legacy", "said_prompt", "scored", "scores"]


def scores(choice: Mapping[str, Any]) -> tuple[TokenScore, ...]:
    """The log-probabilities of a choice, whole or a piece of one.

    >>> scores({"logprobs": -0.5, "delta": {"content": "a"}})
    (TokenScore(text='a', logprob=-0.5, top=()),)
    """
    found = choice.get("logprobs")
    if found is None:
        return ()
    if isinstance(found, (int, float)) and not isinstance(found, bool):  # a Together stream: one token a chunk
        token = text(inner(choice.get("delta")).get("content")) or text(choice.get("text"))
        return (TokenScore(token, float(found), _ranked(choice.get("top_logprobs"))),)
    rows = inner(found)
    if isinstance(rows.get("token_logprobs"), list):
        return legacy_scores(rows)
    return scores_of(rows.get("content")) + scores_of(rows.get("refusal"))


def scored(score: TokenScore) -> dict[str, Any]:
    """A token with its log-probabilities."""
    top = [{"token": t, "logprob": said_logprob(p), "bytes": list(t.encode())} for t, p in score.top]
    data = list(score.text.encode())
    return {"token": score.text, "logprob": said_logprob(score.logprob), "bytes": data, "top_logprobs": top}


def legacy_scores(rows: Mapping[str, Any]) -> tuple[TokenScore, ...]:
    """Parallel lists of tokens, log-probabilities and likeliest tokens.

    >>> legacy_scores({"tokens": ["a"], "token_logprobs": [None]})[0].logprob
    -inf
    """
    tokens, values, tops = (_list(rows.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    tops = tops if len(tops) == len(values) else [None] * len(values)
    return tuple(
        TokenScore(text(token), logprob(value), _ranked(top))
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def said_legacy(found: Sequence[TokenScore], offset: int = 0) -> dict[str, Any]:
    """Scores as parallel lists; `offset` is where in the text the first token begins."""
    places = []
    for score in found:
        places.append(offset)
        offset += len(score.text)
    finite = [None if score.logprob == float("-inf") else score.logprob for score in found]
    tops = [{t: said_logprob(p) for t, p in score.top} or None for score in found]
    return {
        "tokens": [score.text for score in found], "token_logprobs": finite,
        "top_logprobs": tops if any(tops) else None, "text_offset": places,
    }  # fmt: skip


def prompt_scores(body: Mapping[str, Any]) -> tuple[TokenScore, ...]:
    """The prompt's log-probabilities in an answer: as Together echoes them, or as vLLM lists them.

    >>> prompt_scores({"prompt_logprobs": [None, {"5": {"logprob": -1.0, "decoded_token": "b"}}]})[1].text
    'b'
    """
    echoed = next(iter(items(body.get("prompt"))), None)
    if echoed is not None:
        return legacy_scores(inner(echoed.get("logprobs")))
    made = []
    for row in _list(body.get("prompt_logprobs")):
        if not isinstance(row, Mapping) or not row:  # the first token follows nothing
            made.append(TokenScore("", float("-inf")))
            continue
        ranked = [(text(inner(one).get("decoded_token")), logprob(inner(one).get("logprob"))) for one in row.values()]
        made.append(TokenScore(*ranked[0], tuple(sorted(ranked, key=lambda one: -one[1]))))
    return tuple(made)


def said_prompt(found: Sequence[TokenScore]) -> list[dict[str, Any]]:
    """The prompt's log-probabilities, as Together echoes them."""
    return [{"text": "".join(score.text for score in found), "logprobs": said_legacy(found)}]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _ranked(top: Any) -> tuple[tuple[str, float], ...]:
    """Tokens to log-probabilities, likeliest first."""
    rows = [(text(token), logprob(value)) for token, value in inner(top).items()]
    return tuple(sorted(rows, key=lambda row: -row[1]))
