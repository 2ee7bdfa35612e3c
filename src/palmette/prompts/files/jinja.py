"""Jinja in a sandbox that holds: the immutable sandbox against reaching out, a limited process against running on.

The sandbox alone lets two nested loops run for hours and `'a' * 3000000000` fill the memory; so templates are rendered
in a child with limits of time, memory and length, which lives as long as it behaves.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from palmette.core.errors import MissingExtra, UsageError
from palmette.prompts.reading import plain

__all__ = ["jinja_names", "render_jinja"]

SECONDS = 2.0  # of processor time
WAIT = 30.0  # of time, for a machine that is busy with other things
LONGEST = 1 << 20
_CHILD = r"""
import contextlib, json, signal, sys
def limited(seconds):  # by the processor's clock: at zero the process ends
    with contextlib.suppress(AttributeError):
        signal.setitimer(signal.ITIMER_PROF, seconds)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
except Exception:
    pass
import jinja2
from jinja2 import StrictUndefined, meta
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
place = ImmutableSandboxedEnvironment(undefined=StrictUndefined, extensions=[loopcontrols], keep_trailing_newline=True)
place.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
sys.stdout.write("ready\n"); sys.stdout.flush()
for line in sys.stdin:
    asked = json.loads(line)
    limited(asked["seconds"])
    try:
        if "names" in asked:
            reply = {"names": sorted(meta.find_undeclared_variables(place.parse(asked["names"])))}
        else:
            parts, size = [], 0
            for part in place.from_string(asked["template"]).generate(asked["values"]):
                parts.append(part); size += len(part)
                if size > asked["longest"]:
                    raise ValueError("it writes too much")
            reply = {"text": "".join(parts)}
    except MemoryError:
        reply = {"error": "it needs too much memory"}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"[:500]}
    limited(0)
    sys.stdout.write(json.dumps(reply) + "\n"); sys.stdout.flush()
"""


def render_jinja(template: str, values: Mapping[str, Any]) -> str:
    """The text that a template writes.

    Raises:
        UsageError: for a template that fails, reaches out, runs too long or writes too much.
        MissingExtra: without jinja2.

    >>> render_jinja("{% for x in xs %}{{ x }};{% endfor %}", {"xs": [1, 2]})
    '1;2;'
    """
    reply = _child.ask({"template": template, "values": plain(dict(values)), "longest": LONGEST})
    if "text" not in reply:
        raise UsageError(f"the template fails: {reply['error']}")
    return str(reply["text"])


def jinja_names(template: str) -> list[str]:
    """The variables that a template reads.

    Raises:
        UsageError: for a template that is none.
    """
    reply = _child.ask({"names": template})
    if "names" not in reply:
        raise UsageError(f"the template is none: {reply['error']}")
    return [str(name) for name in reply["names"]]


class _Child:
    """The process that renders; started when it is first needed, and again when it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            watch = threading.Timer(WAIT, process.kill)
            watch.start()
            try:
                process.stdin.write(json.dumps({**question, "seconds": SECONDS}).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            finally:
                watch.cancel()
            if not line:
                self._process = None
                self._ended(process)
                return {"error": f"it runs for more than {SECONDS:g} s, or needs too much memory"}
            reply: dict[str, Any] = json.loads(line)
            return reply

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        try:
            import jinja2  # noqa: F401 - whether the child can import it
        except ImportError as error:
            raise MissingExtra("a Jinja template", "prompts") from error
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={"PATH": ""},
        )  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            self._ended(process)
            raise UsageError("the process that renders templates does not start")
        self._process = process
        return process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._ended(self._process)
            self._process = None

    @staticmethod
    def _ended(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.wait()


_child = _Child()
atexit.register(_child.close)
