"""Python in a process of its own, with limits of time, memory, files and processes, and nothing of our environment.

A fence, not a wall: it keeps honest mistakes and clumsy attacks away, but whoever must run the code of an enemy
needs a virtual machine. On Linux the process is put where there is no network, if the system lets us.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from typing import Any

from palmette.prompts.tools.interpreter import CodeError

__all__ = ["run_python"]

MEMORY = 512 << 20
LONGEST = 1 << 20  # bytes of an answer
_DRIVER = r"""
import json, sys
def limits(seconds, memory):
    try:
        import resource
    except ImportError:
        return
    for name, most in (("RLIMIT_CPU", seconds), ("RLIMIT_AS", memory), ("RLIMIT_FSIZE", 0), ("RLIMIT_NOFILE", 16),
                       ("RLIMIT_CORE", 0), ("RLIMIT_NPROC", 0)):
        try:
            resource.setrlimit(getattr(resource, name), (most, most))
        except (ValueError, OSError, AttributeError):
            pass
def alone():
    try:
        import ctypes
        ctypes.CDLL(None).unshare(0x40000000 | 0x10000000)  # CLONE_NEWNET | CLONE_NEWUSER
    except Exception:
        pass
import os
code, seconds, memory, name = json.loads(sys.stdin.read())
channel = os.dup(1)  # what the program prints goes nowhere
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
alone()
limits(max(1, int(seconds)), memory)
space = {"__name__": "__main__"}
try:
    exec(compile(code, "program", "exec"), space)
    if name not in space:
        reply = {"error": f"the program assigns nothing to {name!r}"}
    else:
        reply = {"answer": space[name]}
    text = json.dumps(reply)
except BaseException as error:
    text = json.dumps({"error": f"{type(error).__name__}: {error}"[:500]})
os.write(channel, text.encode())
"""


def run_python(code: str, seconds: float = 5.0, name: str = "answer") -> Any:
    """What a program assigns to `answer`, which must have a JSON form.

    Raises:
        CodeError: if it fails, takes too long or assigns nothing.

    >>> run_python("import math\\nanswer = math.comb(5, 2)")
    10
    """
    with tempfile.TemporaryDirectory(prefix="palmette-code-") as home:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, cwd=home, env={"PATH": "", "HOME": home, "LANG": "C.UTF-8"},
            start_new_session=os.name == "posix",
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        late: list[bool] = []

        def stop() -> None:
            late.append(True)
            process.kill()

        watch = threading.Timer(seconds + 0.5, stop)
        watch.start()
        try:
            process.stdin.write(json.dumps([code, seconds, MEMORY, name]).encode())
            process.stdin.close()
            said = process.stdout.read(LONGEST + 1)
        except BrokenPipeError:
            said = b""
        finally:
            watch.cancel()
            process.kill()
            process.stdout.close()
            process.wait()
    if late:
        raise CodeError(f"the program took longer than {seconds:g} s")
    if len(said) > LONGEST:
        raise CodeError(f"the answer has more than {LONGEST} bytes")
    try:
        reply = json.loads(said.decode("utf-8", "replace"))
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise CodeError("the program was stopped at a limit of time, memory or files")
    if "error" in reply:
        raise CodeError(str(reply["error"]))
    return reply.get("answer")
