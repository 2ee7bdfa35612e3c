"""What our server adds in front of another API, beside the litellm proxy, on one machine and in one run.

    python bench/gateway.py [--seconds S] [--callers 1 32] [--soak N] [--litellm PATH/TO/litellm]

A fake provider answers at once. Each way is asked at concurrency 1 and 32 for some seconds, in turns: straight, through
`palmette serve`, through the litellm proxy where its command is given. Printed are requests a second, latency, what is
added to the straight call's median, and idle memory; `--soak` asks so many times and shows the memory's slope.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ANSWER = {"id": "r", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}  # fmt: skip
UPSTREAM = """
import asyncio, sys
body = sys.argv[1].encode()
answer = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body
class Fake(asyncio.Protocol):
    def connection_made(self, transport): self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        while b"\\r\\n\\r\\n" in self.data:
            head, _, rest = self.data.partition(b"\\r\\n\\r\\n")
            lengths = [int(l.split(b":")[1]) for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length")]
            length = lengths[0] if lengths else 0
            if len(rest) < length: return
            self.data = rest[length:]
            self.transport.write(answer)
async def main():
    server = await asyncio.get_running_loop().create_server(Fake, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, end: float, times: list[float], failed: list[bytes]) -> None:
        self.request, self.end, self.times, self.failed = request, end, times, failed
        self.done = asyncio.get_running_loop().create_future()
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Send the request."""
        self.began = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count a whole answer."""
        self.data += data
        head, blank, rest = self.data.partition(b"\r\n\r\n")
        lowered = head.lower()
        if not blank:
            return
        at = lowered.find(b"content-length:")
        whole = len(rest) >= int(lowered[at + 15 :].split(b"\r\n")[0]) if at >= 0 else rest.endswith(b"0\r\n\r\n")
        if not whole:
            return
        now = time.perf_counter()
        if b" 200 " not in head[:16]:
            self.failed.append(self.data[:200])
        self.times.append(now - self.began)
        self.data = b""
        if now < self.end and self.transport is not None:
            self.ask()
        elif not self.done.done():
            self.transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """The other side hung up."""
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, path: str, model: str, callers: int, seconds: float) -> tuple[list[float], float]:
    """Latencies, and requests a second."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer sk-1234567890abcdef\r\ncontent-length: {len(body)}\r\n\r\n")  # fmt: skip
    times: list[float] = []
    failed: list[bytes] = []
    began = time.perf_counter()
    end = began + seconds
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Caller(head.encode() + body, end, times, failed), "127.0.0.1", port)
            for _ in range(callers)]  # fmt: skip
    await asyncio.gather(*(caller.done for _, caller in made))
    if failed:
        print(f"  {len(failed)} failed: {failed[0]!r}", file=sys.stderr)
    return times, len(times) / (time.perf_counter() - began)


@contextmanager
def process(command: list[str], *, tells: bool = False, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended; unless it tells something its words are thrown away: a full pipe would stop it."""
    said = subprocess.PIPE if tells else subprocess.DEVNULL
    made = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL, text=True,
                            env={**os.environ, **environment})  # fmt: skip
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


def free() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def resident(pid: int) -> float:
    """MB of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def wait_for(url: str, seconds: float = 120) -> None:
    """Until a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--litellm", default="", help="the litellm command of another environment")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(process([sys.executable, "-c", UPSTREAM, json.dumps(ANSWER)], tells=True))
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        ways = {"straight": (port, "/v1/chat/completions", "m", upstream.pid)}
        ours = free()
        (folder / "p.toml").write_text(f'[models.m]\nmodel = "openai:m"\nbase_url = "http://127.0.0.1:{port}/v1"\n')
        served = stack.enter_context(process(
            [sys.executable, "-m", "palmette", "serve", "--config", str(folder / "p.toml"), "--port", str(ours)],
            OPENAI_API_KEY="k"))  # fmt: skip
        wait_for(f"http://127.0.0.1:{ours}/health")
        ways["palmette"] = (ours, "/v1/chat/completions", "m", served.pid)
        if given.litellm:
            theirs = free()
            (folder / "l.yaml").write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": {
                "model": "openai/m", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "k"}}]}))  # fmt: skip
            proxy = stack.enter_context(process(
                [given.litellm, "--config", str(folder / "l.yaml"), "--port", str(theirs), "--host", "127.0.0.1"],
                LITELLM_MASTER_KEY="sk-1234567890abcdef", LITELLM_LOCAL_MODEL_COST_MAP="true"))  # fmt: skip
            wait_for(f"http://127.0.0.1:{theirs}/health/liveliness", 300)
            ways["litellm"] = (theirs, "/v1/chat/completions", "m", proxy.pid)
        memory = {}
        for name, (at, path, model, pid) in ways.items():
            asyncio.run(load(at, path, model, 1, 1))
            memory[name] = resident(pid)
        report(ways, memory, given.callers, given.seconds, given.rounds)
        if given.soak:
            soak(ways["palmette"], given.soak)


def report(
    ways: dict[str, tuple[int, str, str, int]], memory: dict[str, float], counts: list[int], seconds: float, rounds: int
) -> None:
    """Measure in turns, print medians."""
    for callers in counts:
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (at, path, model, _) in ways.items():
                times, rate = asyncio.run(load(at, path, model, callers, seconds))
                times.sort()
                rows[name].append((rate, times[len(times) // 2], times[int(len(times) * 0.99)]))
        found = {name: [statistics.median(column) for column in zip(*row, strict=True)] for name, row in rows.items()}
        print(
            f"\nconcurrency {callers:<3} {'requests/s':>11} {'p50 ms':>9} {'p99 ms':>9} {'+p50 ms':>9} {'idle MB':>9}"
        )
        for name, (rate, p50, p99) in found.items():
            added = (p50 - found["straight"][1]) * 1e3
            print(f"{name:<15} {rate:>11.0f} {p50 * 1e3:>9.3f} {p99 * 1e3:>9.3f} {added:>9.3f} {memory[name]:>9.0f}")
        if "litellm" in found:
            ours, theirs, base = found["palmette"], found["litellm"], found["straight"]
            print(
                f"palmette / litellm: requests {ours[0] / theirs[0]:.1f} x, added p50 "
                f"{(ours[1] - base[1]) / (theirs[1] - base[1]):.3f}, memory "
                f"{memory['palmette'] / memory['litellm']:.2f}"
            )


def soak(way: tuple[int, str, str, int], count: int) -> None:
    """Memory and open files over many requests."""
    at, path, model, pid = way
    asyncio.run(load(at, path, model, 8, 2))
    began, files, asked = resident(pid), descriptors(pid), 0
    while asked < count:
        times, _ = asyncio.run(load(at, path, model, 8, 2))
        asked += len(times)
    slope = (resident(pid) - began) / asked * 1000
    print(f"\nsoak: {asked} requests, {slope:+.3f} MB per 1,000, open files {files} -> {descriptors(pid)}")


if __name__ == "__main__":
    main()
