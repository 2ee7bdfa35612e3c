"""No test reaches the network, and none writes outside its temporary folder by accident."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import settings

# The same examples every time, so that a red run is about the change at hand; `make hunt` looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)  # a busy machine makes nothing wrong
settings.register_profile("hunt", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the official JSON Schema suite lies; its tests are skipped without it."""
    parser.addoption("--json-schema-suite", default=os.environ.get("JSON_SCHEMA_SUITE", ""), help="its folder")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address!r}")
        real(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
