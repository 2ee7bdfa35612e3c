"""Files that clients name by URL: fetched from where it was allowed, and never from an inner network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest
from loopback import answer, served
from serving import running

from palmette.core.errors import RequestRefused, UsageError
from palmette.core.message import Audio, Document, Image, Message, Request, Text
from palmette.models.wrap.scripted import scripted
from palmette.serve.fetch import Fetcher, _Pinned
from palmette.serve.settings import Settings, read_settings

PNG = b"\x89PNG and more"
HERE = ["127.0.0.0/8", "::1/128"]


def about(*parts: Any) -> Request:
    return Request((Message("user", (Text("What?"), *parts)),))


def fetched(fetcher: Fetcher, *parts: Any) -> Request:
    return asyncio.run(fetcher.filled(about(*parts)))


def test_files_stand_in_the_place_of_their_urls_and_nothing_is_sent_along() -> None:
    with served([answer(200, PNG, "image/webp; q=1")]) as server:
        url = f"http://127.0.0.1:{server.port}/a.webp?x=1"
        found = fetched(Fetcher(["127.0.0.1"], HERE), Image(url=url, name="a"), Image(PNG))
        assert found.messages[0].parts[1:] == (Image(PNG, "image/webp", name="a"), Image(PNG))
        ((path, headers, _),) = server.requests
        assert path == "/a.webp?x=1"
        assert set(headers) <= {"host", "accept"} and headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("part", "status", "kind", "said"),
    [
        (Image, 200, "text/html", "where image/ is expected"),
        (Audio, 200, "image/png", "where audio/ is expected"),
        (Document, 200, "image/png", "application/pdf or text/"),
        (Image, 404, "image/png", "answered 404"),
        (Image, 302, "image/png", "redirects are not followed"),
    ],
)
def test_what_is_no_such_file_is_refused(part: Any, status: int, kind: str, said: str) -> None:
    with served([answer(status, PNG, kind, location="http://127.0.0.1:1/")]) as server:
        with pytest.raises(RequestRefused, match=said):
            fetched(Fetcher(["127.0.0.1"], HERE), part(url=f"{server.url}/x"))
        assert len(server.requests) == 1


def test_a_file_is_bounded_in_bytes_and_time() -> None:
    large = answer(200, PNG * 100, "image/png")
    with served([large]) as server, pytest.raises(RequestRefused, match="more than the 99 bytes"):
        fetched(Fetcher(["127.0.0.1"], HERE, most=99), Image(url=f"{server.url}/x"))
    silent = served(lambda state, peer, number: peer.recv(1))  # type: ignore[arg-type,return-value]
    with silent as server, pytest.raises(RequestRefused, match=r"longer than 0\.2 s"):
        fetched(Fetcher(["127.0.0.1"], HERE, seconds=0.2), Image(url=f"{server.url}/x"))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://localhost/x", "gopher://localhost/", "http://user@localhost/", "//localhost/x",
        "http://user:pw@localhost/", "http://elsewhere.org/", "http://localhost.evil.org/", "http://", "x",
        "http://localhost:22/", "data:text/plain,x", "http://local\nhost/",
    ],
)  # fmt: skip
def test_only_what_was_allowed_is_asked(url: str) -> None:
    with pytest.raises(RequestRefused, match=r"fetch|URL|port"):
        fetched(Fetcher(["localhost"], []), Image(url=url))


INSIDE = [
    "127.0.0.1", "127.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "2002:7f00:1::", "2130706433", "0x7f000001", "017700000001",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_no_spelling_of_an_inner_address_is_reached(address: str) -> None:
    name = f"[{address}]" if ":" in address else address
    with pytest.raises(RequestRefused, match=r"inner network|cannot be fetched|no URL"):
        fetched(Fetcher(["*"], [], seconds=2), Image(url=f"http://{name}/x"))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "1.1.1.1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_outside(address: str) -> None:
    assert _Pinned([])._outside(address) or address == "::ffff:8.8.8.8"
    assert not _Pinned([])._outside("10.1.2.3") and _Pinned([ipaddress.ip_network("10.1.0.0/16")])._outside("10.1.2.3")


def test_a_name_that_means_another_machine_a_moment_later_is_asked_at_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(["127.0.0.1", "10.0.0.1"])
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *more: Any, **others: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *more, **others)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with served([answer(200, PNG, "image/png")]) as server:
        url = f"http://rebind.example:{server.port}/x"
        fetched(Fetcher(["rebind.example"], ["127.0.0.1/32"]), Image(url=url))
        assert asked == ["rebind.example"] and server.requests[0][1]["host"] == f"rebind.example:{server.port}"
        with pytest.raises(RequestRefused, match="an address of an inner network"):
            fetched(Fetcher(["rebind.example"], ["127.0.0.1/32"]), Image(url=url))
        assert len(server.requests) == 1


def test_a_name_with_one_inner_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: Any, port: Any, *more: Any, **others: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(RequestRefused, match=r"is 10\.0\.0\.1, an address of an inner network"):
        fetched(Fetcher(["*"], []), Image(url="http://both.example/x"))


def test_a_served_model_sees_a_picture_that_was_fetched(tmp_path: Path) -> None:
    path, toy = tmp_path / "p.toml", '[models.x]\nmodel = "zoo:seedling"\n'
    path.write_text(f'[server]\nfetch = ["localhost"]\nnetworks = ["127.0.0.0/8", "::1/128"]\n{toy}')
    model = scripted(lambda request: str(len(request.messages[0].parts[1].data)))  # type: ignore[union-attr]
    with served([answer(200, PNG, "image/png")]) as files:
        for settings, status in ((read_settings(path), 200), (Settings(()), 400)):
            with running(settings, {"m": model}) as server:
                picture = {"type": "image_url", "image_url": {"url": f"http://localhost:{files.port}/a.png"}}
                talk = [{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}]
                said = server.post("/v1/chat/completions", {"model": "m", "messages": talk})
                assert said.status_code == status, said.text
                if status == 200:
                    assert said.json()["choices"][0]["message"]["content"] == str(len(PNG))
    path.write_text(f'[server]\nfetch = ["x"]\nnetworks = ["10.0.0.1/8"]\n{toy}')
    with pytest.raises(UsageError, match=r"10\.1\.0\.0/16"):
        read_settings(path).checked()
