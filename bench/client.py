"""What our client adds to a bare httpx2 call, beside the openai SDK and litellm where they are installed.

    python bench/client.py [--calls N] [--rounds N]

A server on this machine answers at once; calls alternate between the clients, which keep their connections. Numbers are
medians, in microseconds above the bare call (for a call) and above the bare stream (for each event of a stream).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2

from palmette.models.remote.model import connect

EVENTS = 64
WHOLE = {"id": "r", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}  # fmt: skip
SERVER = """
import http.server, json, sys
whole, stream = sys.argv[1].encode(), sys.argv[2].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        data = stream if b'"stream":true' in body.replace(b" ", b"") else whole
        kind = "text/event-stream" if data is stream else "application/json"
        head = f"HTTP/1.1 200 OK\\r\\ncontent-type: {kind}\\r\\ncontent-length: {len(data)}\\r\\n\\r\\n"
        self.wfile.write(head.encode() + data)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def stream_bytes() -> str:
    """A stream of EVENTS pieces."""
    rows = [
        {"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    ] * EVENTS  # fmt: skip
    rows.append({**rows[0], "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {json.dumps(row)}\n\n" for row in rows) + "data: [DONE]\n\n"


def bare(url: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """httpx2 alone, with the JSON read."""
    pool = httpx2.Client()
    said = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

    def call() -> Any:
        return json.loads(pool.post(f"{url}/chat/completions", json=said).content)

    def stream() -> Any:
        with pool.stream("POST", f"{url}/chat/completions", json={**said, "stream": True}) as answer:
            return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]

    return call, stream


def ours(url: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Palmette."""
    model = connect("openai:m", key="k", base_url=url)
    return lambda: model("Hi"), lambda: list(model.stream("Hi"))


def openai(url: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The official SDK."""
    from openai import OpenAI

    client = OpenAI(api_key="k", base_url=url)
    said: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    return (
        lambda: client.chat.completions.create(**said),
        lambda: list(client.chat.completions.create(**said, stream=True)),
    )


def litellm(url: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """litellm."""
    import litellm as peer

    said: Any = {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}], "api_base": url, "api_key": "k"}
    return lambda: peer.completion(**said), lambda: list(peer.completion(**said, stream=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
    command = [sys.executable, "-c", SERVER, json.dumps(WHOLE), stream_bytes()]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        makers = {"httpx2 alone": bare, "palmette": ours, "openai": openai, "litellm": litellm}
        always = ("httpx2 alone", "palmette")
        clients = {n: m(url) for n, m in makers.items() if n in always or importlib.util.find_spec(n)}
        found = {name: ([], []) for name in clients}  # type: dict[str, tuple[list[float], list[float]]]
        for _ in range(given.rounds):
            for kind, count in ((0, given.calls), (1, max(1, given.calls // 5))):
                for name, pair in clients.items():
                    for _ in range(3):
                        pair[kind]()
                    for _ in range(count):
                        began = time.perf_counter()
                        pair[kind]()
                        found[name][kind].append(time.perf_counter() - began)
        base = [statistics.median(found["httpx2 alone"][kind]) for kind in (0, 1)]
        print(f"{'client':<14} {'call ms':>8} {'+µs':>8}   {f'{EVENTS} events ms':>13} {'+µs an event':>13}")
        for name, rows in found.items():
            call, stream = (statistics.median(row) for row in rows)
            more = (call - base[0]) * 1e6, (stream - base[1]) * 1e6 / EVENTS
            print(f"{name:<14} {call * 1e3:>8.3f} {more[0]:>8.0f}   {stream * 1e3:>13.3f} {more[1]:>13.1f}")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
