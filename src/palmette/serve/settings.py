"""What a server is told: by flags, or by a TOML file with a table `server` and one `models.NAME` for each model."""

from __future__ import annotations

import hashlib
import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from palmette.core.errors import UsageError, near_miss

__all__ = ["ModelSettings", "Settings", "fingerprint", "is_loopback", "read_settings"]

_NAME = "a name is made of letters, digits, '.', '_', '-', ':' and '/'"


@dataclass(frozen=True)
class ModelSettings:
    """A model that is served.

    Args:
        name: what clients call it.
        model: a reference, as `palmette run` takes it.
        strategy: how tokens are chosen, such as beam:4 (models on this machine).
        views: what the model is seen through, the first nearest to it.
        schema: a JSON schema that every answer is a document of: the path of a file.
        system: what every conversation begins with.
        engine, dtype, device: see `palmette.model`.
        base_url: another address of the same API (models behind an API, such as a vLLM or llama-server).
        api: which of a provider's APIs is spoken.
        options: defaults of every request, such as temperature and max_tokens.
        keep: seconds after which an idle model is unloaded; 0 keeps it.
        running: answers that run at once.
        waiting: requests that may wait for a place.
        memory: tokens of prompts and answers that are kept for requests that begin alike.
    """

    name: str
    model: str
    strategy: str = ""
    views: tuple[str, ...] = ()
    schema: str = ""
    system: str = ""
    engine: str = "auto"
    dtype: str = "float32"
    device: str = "cpu"
    base_url: str = ""
    api: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    keep: float = 0.0
    running: int = 32
    waiting: int = 64
    memory: int = 65_536


@dataclass(frozen=True)
class Settings:
    """A server.

    Args:
        models: what is served; the first answers for names that no client can choose.
        host, port: where it listens.
        keys: SHA-256 of the keys that open it, in hexadecimal; none is asked for without any.
        hosts: names in the Host header that are answered, beside those of this machine.
        origins: web pages that may call it, as https://HOST.
        body: bytes of a request.
        depth: levels of a request's JSON.
        seconds: from a request's first byte to its last.
        drain: seconds that running answers have when the server is told to stop.
        log: the file of the run store, or empty.
        content: whether the run store keeps what was said.
        budget: bytes of weights that are loaded at once; the least lately used are unloaded. 0 is no limit.
        fetch: hosts from which files are fetched that a client names by URL, "*" for every public one; none, usually.
        networks: inner networks that may be fetched from, such as 10.1.0.0/16; public addresses alone, usually.
    """

    models: tuple[ModelSettings, ...]
    host: str = "127.0.0.1"
    port: int = 8040
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body: int = 16 << 20
    depth: int = 64
    seconds: float = 30.0
    drain: float = 20.0
    log: str = ""
    content: bool = True
    budget: int = 0
    fetch: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def checked(self) -> Settings:
        """Itself, if it is safe.

        Raises:
            UsageError: for an address that others reach without a key, and for a server without models.
        """
        if not self.models:
            raise UsageError("nothing to serve: name a model, or a --config file with [models.NAME] tables")
        for network in self.networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise UsageError(f"[server] networks: {error}; write it as 10.1.0.0/16") from None
        if not is_loopback(self.host) and not self.keys:
            raise UsageError(
                f"--host {self.host} can be reached from other machines, and no key protects it; "
                "set PALMETTE_API_KEY, or keys in the configuration"
            )
        return self


def fingerprint(key: str) -> str:
    """How a key is kept: its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("example.org")
    (True, True, False, False)
    """
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def read_settings(path: Path) -> Settings:
    """The settings of a TOML file.

    Raises:
        UsageError: for what cannot be read, with the place in it and the near miss.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from None
    _known(document, ("server", "models"), str(path))
    server = _table(document.get("server", {}), "[server]")
    models = _table(document.get("models", {}), "[models]")
    keys = [_text(key, "[server] keys") for key in server.pop("keys", [])]
    made: Settings = _made(Settings, server, "[server]", models=tuple(_model(n, row) for n, row in models.items()))
    kept = (key.removeprefix("sha256:") if key.startswith("sha256:") else fingerprint(key) for key in keys)
    return replace(made, keys=tuple(kept))


def _model(name: str, row: Any) -> ModelSettings:
    where = f"[models.{name}]"
    if not name or not all(c.isalnum() or c in "._-:/" for c in name) or ".." in name:
        raise UsageError(f"{where}: {name!r} is no name of a model; {_NAME}")
    made: ModelSettings = _made(ModelSettings, _table(row, where), where, name=name)
    return made


def _made(kind: Any, row: Mapping[str, Any], where: str, **more: Any) -> Any:
    """A settings object from a table, each value of the type that its default has."""
    names = {f.name: f for f in fields(kind)}
    _known(row, [n for n in names if n not in more], where)
    values: dict[str, Any] = {}
    for key, value in row.items():
        wanted = names[key].type
        if wanted == "tuple[str, ...]":
            values[key] = tuple(_text(one, f"{where} {key}") for one in (value if isinstance(value, list) else [value]))
        elif wanted == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = float(value)
        elif wanted == {str: "str", int: "int", bool: "bool"}.get(type(value), "Mapping[str, Any]"):
            values[key] = value
        else:
            raise UsageError(f"{where} {key} must be of the type {wanted}, not {value!r}")
    if kind is ModelSettings and "model" not in values:
        raise UsageError(f'{where} names no model; write model = "zoo:seedling"')
    return kind(**values, **more)


def _known(row: Mapping[str, Any], names: Any, where: str) -> None:
    unknown = next((key for key in row if key not in names), None)
    if unknown is not None:
        raise UsageError(f"{where} has no {unknown!r}.{near_miss(unknown, names)} Known: {', '.join(names)}")


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table, not {value!r}")
    return dict(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where}: a text is expected, not {value!r}")
    return value
