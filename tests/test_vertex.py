"""Vertex: where a project's models are, which header lets one in, and a login whose tokens run out."""

from __future__ import annotations

import datetime
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loopback import answer, served
from test_wires import ANSWERS

import palmette
from palmette.core.errors import KeyRefused, MissingKey, UsageError
from palmette.models.remote import vertex
from palmette.models.remote.client import Limits

KEY = "ya29.very-secret"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = (*vertex.KEYS, "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.mark.parametrize(
    ("project", "place", "wanted"),
    [
        ("", "", "aiplatform.googleapis.com/v1beta1/publishers/google"),
        ("p-1", "", "aiplatform.googleapis.com/v1beta1/projects/p-1/locations/global/publishers/google"),
        ("p-1", "eu", "aiplatform.eu.rep.googleapis.com/v1beta1/projects/p-1/locations/eu/publishers/google"),
        ("example.com:p", "europe-west4", "europe-west4-aiplatform.googleapis.com/v1beta1/projects/example.com:p"
         "/locations/europe-west4/publishers/google"),
    ],
)  # fmt: skip
def test_a_place_has_its_own_host(project: str, place: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", place)
    assert palmette.connect("vertex:gemini-3-pro", key=KEY).client.base == f"https://{wanted}"


@pytest.mark.parametrize("place", ["evil.example/", "a b", "../x", "EU", "x@y"])
def test_a_place_that_is_no_name_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", place)
    with pytest.raises(UsageError, match="GOOGLE_CLOUD_LOCATION"):
        palmette.connect("vertex:m", key=KEY)


def test_keys_and_tokens_go_in_their_own_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingKey, match="GOOGLE_API_KEY or CLOUDSDK_AUTH_ACCESS_TOKEN"):
        palmette.connect("vertex:m")
    for key, header in (("AIzaX", "x-goog-api-key"), ("AQ.x", "x-goog-api-key"), (KEY, "authorization")):
        with served([answer(200, ANSWERS["gemini"][0])]) as server:
            palmette.connect("vertex:m", key=key, base_url=server.url)("Hi")
            assert server.requests[0][0] == "/models/m:generateContent"
            assert server.requests[0][1][header].removeprefix("Bearer ") == key
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaY")
    assert vertex.credential(None)[0] == "x-goog-api-key"
    monkeypatch.setenv("CLOUDSDK_AUTH_ACCESS_TOKEN", KEY)
    assert vertex.credential(None)[0] == "authorization"


def test_a_project_without_a_login_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google.auth")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    with pytest.raises(MissingKey, match="gcloud auth application-default login"):
        palmette.connect("vertex:m")


@contextmanager
def tokens(lifetimes: list[int]) -> Iterator[tuple[str, list[str]]]:
    """A server of tokens that live so many seconds; after the last it refuses."""
    given: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status = 200 if len(given) < len(lifetimes) else 400
            body = {"error": "invalid_grant"}
            if status == 200:
                given.append(f"ya29.{len(given)}")
                body = {"access_token": given[-1], "expires_in": lifetimes[len(given) - 1]}  # type: ignore[dict-item]
            said = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token", given
        finally:
            server.shutdown()
            thread.join()


def test_a_login_makes_tokens_anew_when_they_run_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("google.auth")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with tokens([3600, 3600]) as (url, given), served([answer(200, ANSWERS["gemini"][0])]) as server:
        account = {"type": "service_account", "client_email": "a@b", "token_uri": url, "private_key": key.decode()}
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        model = palmette.connect("vertex:m", base_url=server.url, limits=Limits(retries=0))
        model("Hi")
        model("Hi")
        assert [headers["authorization"] for _, headers, _ in server.requests] == ["Bearer ya29.0"] * 2
        assert "ya29" not in repr(model) + repr(model.client)
        login = model.client._key[1]._login
        login.expiry = datetime.datetime(2020, 1, 1)
        model("Hi")
        assert server.requests[2][1]["authorization"] == "Bearer ya29.1" and len(given) == 2
        login.expiry = datetime.datetime(2020, 1, 1)
        with pytest.raises(KeyRefused, match="log in again"):
            model("Hi")
