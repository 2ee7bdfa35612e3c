"""Our server with more clients than it can serve, and with clients that hang up: over HTTP, on one machine.

    python bench/overload.py [--model NAME] [--clients N] [--hangups N] [--rounds N]

`palmette serve` runs as its own process. First many clients ask for streams at once, while /health is asked all the
time: only 200, 429 and 503 may be answered, and health's p99 counts. Then, round after round, clients begin streams and
hang up in the middle: measured is the time from the last hang-up until no answer runs any more, and memory afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections import Counter

from gateway import descriptors, free, process, resident, wait_for

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(port: int, model: str, tokens: int) -> bytes:
    """A streaming request of a client."""
    said = {"model": model, "stream": True, "max_tokens": tokens,
            "messages": [{"role": "user", "content": "Tell me a story about the sea."}]}  # fmt: skip
    body = json.dumps(said).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of an address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


async def running(port: int) -> int:
    """How many answers run or wait, as the metrics tell."""
    _, body = await get(port, "/metrics")
    rows = re.findall(r"^palmette_model_(?:running|waiting)\{[^}]*\} (\d+)", body, re.M)
    return sum(map(int, rows))


async def crowd(port: int, model: str, clients: int) -> None:
    """Ask all at once, and /health meanwhile."""
    told: Counter[str] = Counter()
    waits: list[float] = []
    ended = asyncio.Event()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(port, model, 64))
        data = await reader.read()
        status = data.split(b" ", 2)[1].decode() if data else "nothing"
        whole = status != "200" or b"data: [DONE]" in data
        told[status if whole else f"{status}, cut"] += 1
        writer.close()

    async def watch() -> None:
        while not ended.is_set():
            began = time.perf_counter()
            status, _ = await get(port, "/health")
            waits.append(time.perf_counter() - began)
            if status != 200:
                told[f"health {status}"] += 1
            await asyncio.sleep(0.01)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(ask() for _ in range(clients)))
    ended.set()
    await watching
    waits.sort()
    middle, late = waits[len(waits) // 2] * 1e3, waits[int(len(waits) * 0.99)] * 1e3
    print(
        f"{clients} clients: {dict(told)}; /health: p50 {middle:.1f} ms, p99 {late:.1f} ms of {len(waits)} (goal 100)"
    )


async def hangups(port: int, model: str, count: int) -> float:
    """Begin streams, hang up in the middle; seconds until nothing runs any more."""
    found = []
    for start in range(0, count, 20):
        made: list[Streams] = []
        for _ in range(min(20, count - start)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(port, model, 4000))
            made.append((reader, writer))
        for reader, _ in made:
            await reader.readuntil(b"data: ")
        for _, writer in made:
            writer.transport.abort()
        began = time.perf_counter()
        while await running(port):
            await asyncio.sleep(0.005)
        found.append(time.perf_counter() - began)
    return max(found)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zoo:seedling")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--hangups", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    port = free()
    with process([sys.executable, "-m", "palmette", "serve", given.model, "--port", str(port)]) as served:
        wait_for(f"http://127.0.0.1:{port}/health")
        asyncio.run(crowd(port, given.model, given.clients))
        asyncio.run(crowd(port, given.model, given.clients))
        asyncio.run(hangups(port, given.model, given.hangups))
        memory, files = resident(served.pid), descriptors(served.pid)
        freed = [asyncio.run(hangups(port, given.model, given.hangups)) for _ in range(given.rounds)]
        middle, late = statistics.median(freed) * 1e3, max(freed) * 1e3
        print(f"{given.hangups} hang-ups: all free after {middle:.0f} ms, at most {late:.0f} (goal 250)")
        print(f"memory {memory:.0f} -> {resident(served.pid):.0f} MB, open files {files} -> {descriptors(served.pid)}")


if __name__ == "__main__":
    main()
