"""A real PostgreSQL for the tests: Debian's, or the one in the `pgserver` package. Without either, tests skip and say
so.

PostgreSQL refuses root, so a root's tests run it as another user; it listens on a socket in a temporary folder alone.
"""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def programs() -> Path | None:
    """The folder with initdb and postgres."""
    found = shutil.which("initdb")
    folders = [str(Path(found).resolve().parent)] if found else []
    folders += sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    spec = importlib.util.find_spec("pgserver")
    if spec is not None and spec.origin:
        folders.append(str(Path(spec.origin).parent / "pginstall" / "bin"))
    return next((Path(f) for f in folders if (Path(f) / "initdb").exists() and (Path(f) / "postgres").exists()), None)


class Server:
    """A server in a temporary folder; use it as a context."""

    def __enter__(self) -> str:
        bin_ = programs()
        assert bin_ is not None
        self._folder = tempfile.mkdtemp(prefix="palmette-pg-", dir="/tmp")
        self._user = {"user": "nobody"} if os.getuid() == 0 else {}
        name = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self._folder, "nobody")
        env = {**os.environ, "LC_ALL": "C", "HOME": self._folder}
        data = f"{self._folder}/data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env, "cwd": self._folder}
        subprocess.run(
            [bin_ / "initdb", "-D", data, "-U", name, "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, **quiet, **self._user,
        )  # fmt: skip
        options = ["-c", "listen_addresses=", "-k", self._folder, "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        self._process = subprocess.Popen([bin_ / "postgres", "-D", data, *options], **quiet, **self._user)
        address = f"postgresql://{name}@/postgres?host={self._folder}"
        import psycopg

        for _ in range(200):
            try:
                psycopg.connect(address).close()
                return address
            except psycopg.OperationalError:
                assert self._process.poll() is None, "PostgreSQL did not start"
                __import__("time").sleep(0.05)
        raise AssertionError("PostgreSQL did not answer")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)  # fast: it waits for nobody
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
