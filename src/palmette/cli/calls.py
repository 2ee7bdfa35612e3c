"""A run of a model on this machine as a call in the log, whether it succeeds, fails or is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from palmette.cli.shared import Generation
from palmette.core.message import Finish, Message, Request, Response, Text, Usage
from palmette.models.keep.logs import Logs, call_of, content_wanted, wanted
from palmette.tokens.decode import Decoding

__all__ = ["logged_run"]

_ENDED: dict[str, Finish] = {"eos": "stop", "stop": "stop", "length": "length"}


@contextmanager
def logged_run(flag: bool, model: str, prompt: str, generation: Generation, decoding: Decoding) -> Iterator[None]:
    """Write what happens within into the log, if --log or PALMETTE_LOG asks for it."""
    if not wanted(flag):
        yield
        return
    log = Logs()  # what is wrong with it is said before anything runs
    begun, start = time.time(), time.monotonic()
    error: BaseException | None = None
    left = False
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit, BrokenPipeError):
        left = True
        raise
    except Exception as failure:
        error = failure
        raise
    finally:
        request = Request(
            (Message.of("user", prompt),), max_tokens=generation.max_tokens, seed=generation.seed, stop=generation.stop
        )
        tokens = sum(len(answer.tokens) for answers in decoding.all_answers for answer in answers)
        usage = Usage(decoding.prompt_tokens, tokens) if decoding.answers else None
        finish = _ENDED[decoding.answers[0].finish] if decoding.answers else "other"
        text = decoding.text
        response = Response((Text(text),) if text else (), finish, usage, model=model)
        log.add(
            call_of(
                model,
                request,
                response,
                begun,
                time.monotonic() - start,
                error=error,
                left=left,
                content=content_wanted(),
            )
        )
