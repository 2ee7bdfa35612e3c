"""Many streams on one model: our server's batching beside the same requests one after another, in one run.

    python bench/batching.py [--rounds N] [--threads N] [--quick] [--transformers PATH/TO/transformers] [--only-serve]

A random-weight Llama of about 125 million parameters on the torch engine. Three measures: tokens a second of 16 streams
together against one after another; the time to the first token of a short request while a prompt of 2,000 tokens is
being read, against its idle value; requests of 200 clients at once, with the event loop's latency meanwhile. With the
`transformers` command (of an environment with transformers[serving]), it and `palmette serve` then get the same 16
requests over HTTP for a folder of these weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from engines import big
from gateway import free, process, wait_for

from palmette.core.errors import Busy
from palmette.core.message import Message, Request
from palmette.models.batched import Batched
from palmette.models.engines.torch_engine import TorchEngine
from palmette.models.local import local_model
from palmette.tokens.matrix import LetterTokenizer
from palmette.tokens.strategies import greedy

STREAMS, NEW = 16, 48


def question(i: int, words: int = 24, new: int = NEW) -> Request:
    """A request whose prompt differs from the others' from the beginning."""
    text = "".join(chr(97 + (i * 7 + k * k) % 26) for k in range(words))
    return Request((Message.of("user", text),), max_tokens=new)


async def together(model: Batched, requests: list[Request]) -> tuple[int, float]:
    """Tokens and seconds of requests at once."""
    began = time.perf_counter()
    found = await asyncio.gather(*(model.arespond(request) for request in requests))
    return sum(r.usage.output for r in found if r.usage), time.perf_counter() - began


async def first_token(model: Batched, request: Request) -> float:
    """Seconds to the first text."""
    began = time.perf_counter()
    events = model.aevents(request)
    async for event in events:
        if event.text:
            await events.aclose()  # type: ignore[attr-defined]
            return time.perf_counter() - began
    return float("nan")


async def while_reading(model: Batched, i: int) -> float:
    """Seconds to the first token of a short request, begun just after a long prompt."""
    long = asyncio.ensure_future(model.arespond(question(i, 1990, 1)))
    await asyncio.sleep(0.05)
    found = await first_token(model, question(i + 1, 8, 4))
    await long
    return found


async def crowd(model: Batched, clients: int) -> tuple[Counter[str], list[float]]:
    """What many clients at once are told, and how long a coroutine waits for its turn meanwhile."""
    told: Counter[str] = Counter()
    waits: list[float] = []
    ended = asyncio.Event()

    async def ask(i: int) -> None:
        try:
            await model.arespond(question(i, 16, 4))
            told["answered"] += 1
        except Busy:
            told["busy"] += 1

    async def watch() -> None:
        while not ended.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            waits.append(time.perf_counter() - began - 0.005)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(ask(i) for i in range(clients)))
    ended.set()
    await watching
    return told, sorted(waits)


def through_http(url: str, model: str) -> tuple[int, float]:
    """Tokens and seconds of the same requests against a server."""
    import httpx2

    async def go() -> tuple[int, float]:
        async with httpx2.AsyncClient(timeout=600) as client:

            async def ask(i: int) -> int:
                talk = [{"role": "user", "content": question(i).messages[0].text}]
                body: dict[str, Any] = {"model": model, "max_tokens": NEW, "temperature": 0, "messages": talk}
                answer = await client.post(f"{url}/v1/chat/completions", json=body)
                answer.raise_for_status()
                return int(answer.json()["usage"]["completion_tokens"])

            began = time.perf_counter()
            counts = await asyncio.gather(*(ask(i) for i in range(STREAMS)))
            return sum(counts), time.perf_counter() - began

    return asyncio.run(go())


def written(folder: Path, weights: Any) -> None:
    """The weights as a folder that both servers read: with a tokenizer, a chat template, and no end of text."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import tiny

    weights.generation_config.eos_token_id = None
    weights.save_pretrained(folder)
    tiny.byte_level(folder)
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|pad|>",
            "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def servers(folder: str, transformers: str, threads: int, rounds: int) -> None:
    """The servers on the same work, one after another."""
    environment = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    ours, plain, paged = free(), free(), free()
    theirs = [transformers, "serve", folder, "--host", "127.0.0.1", "--dtype", "float32", "--port"]
    mine = [sys.executable, "-m", "palmette", "serve", folder]
    commands = {
        "palmette serve": (ours, [*mine, "--engine", "torch", "--port", str(ours)]),
        "transformers serve": (plain, [*theirs, str(plain)]),
        "  --continuous-batching": (paged, [*theirs, str(paged), "--continuous-batching"]),
    }  # fmt: skip
    rates: dict[str, float] = {}
    for name, (port, command) in commands.items():
        with process(command, **environment):
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/v1/models")
            try:
                through_http(url, folder)
                found = [through_http(url, folder) for _ in range(rounds)]
            except Exception as error:
                print(f"{name}: failed, {type(error).__name__}: {error}")
                continue
            rates[name] = statistics.median(tokens / seconds for tokens, seconds in found)
            print(f"{name}: {rates[name]:.0f} tokens/s", flush=True)
    best = max((rate for name, rate in rates.items() if name != "palmette serve"), default=0.0)
    if best:
        print(f"palmette serve / the better of theirs: {rates['palmette serve'] / best:.2f} x (goal 1.5)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--transformers", default="", help="the transformers command of another environment")
    parser.add_argument("--only-serve", action="store_true", help="compare the servers alone")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    weights = big(given.quick)
    if not given.only_serve:
        library(weights, given.rounds)
    if given.transformers:
        with tempfile.TemporaryDirectory() as folder:
            written(Path(folder), weights)
            servers(folder, given.transformers, given.threads, given.rounds)


def library(weights: Any, rounds: int) -> None:
    """The three measures without HTTP."""
    engine = TorchEngine(weights, LetterTokenizer([chr(0x4E00 + i) if i > 25 else chr(97 + i) for i in range(32_000)]))
    alone = local_model(engine, strategy=greedy())
    model = Batched(alone, most=STREAMS, waiting=48, memory=0)
    requests = [question(i) for i in range(STREAMS)]
    gains, idle, busy = [], [], []
    for i in range(rounds):
        began = time.perf_counter()
        tokens = sum(r.usage.output for r in map(alone.respond, requests) if r.usage)
        one = tokens / (time.perf_counter() - began)
        count, seconds = asyncio.run(together(model, requests))
        gains.append((count / seconds) / one)
        print(f"{STREAMS} streams: {count / seconds:.0f} tokens/s, one after another {one:.0f}: {gains[-1]:.2f} x")
        idle.append(asyncio.run(first_token(model, question(100 + i, 8, 4))))
        busy.append(asyncio.run(while_reading(model, 200 + 2 * i)))
    print(f"median gain {statistics.median(gains):.2f} x (goal 4)")
    rest, read = statistics.median(idle), statistics.median(busy)
    print(f"first token: {rest * 1e3:.0f} ms, while 2,000 are read {read * 1e3:.0f} ms: {read / rest:.2f} x (goal 3)")
    told, waits = asyncio.run(crowd(model, 200))
    print(f"200 clients: {dict(told)}; the loop waits {waits[int(len(waits) * 0.99)] * 1e3:.1f} ms at p99 (goal 100)")
    model.close()


if __name__ == "__main__":
    main()
