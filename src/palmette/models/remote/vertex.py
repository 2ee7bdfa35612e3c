"""Where a Vertex project's models are and who may ask them: the one file that knows google-auth (extra `vertex`).

A key of Google's (GOOGLE_API_KEY) or a token that somebody made (CLOUDSDK_AUTH_ACCESS_TOKEN) needs no library; without
them the machine's own login is asked for tokens (`gcloud auth application-default login`, a service account, a
machine's identity), which run out after an hour and are then made anew.
"""

from __future__ import annotations

import os
import re
import threading
from typing import Any

from palmette.core.errors import KeyRefused, MissingExtra, MissingKey, UsageError
from palmette.models.remote.client import Secret

__all__ = ["KEYS", "base", "credential"]

KEYS = ("GOOGLE_API_KEY", "CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN")
_NAME = re.compile(r"[a-z0-9][a-z0-9.:-]*\Z")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
Header = tuple[str, Secret]


def base() -> str:
    """The address of Google's models in the project GOOGLE_CLOUD_PROJECT, at GOOGLE_CLOUD_LOCATION (global).

    Raises:
        UsageError: for a project or place that cannot be part of an address.
    """
    project = os.environ.get("GOOGLE_CLOUD_PROJECT", "")
    place = os.environ.get("GOOGLE_CLOUD_LOCATION", "") or "global"
    for variable, value in (("GOOGLE_CLOUD_PROJECT", project or "x"), ("GOOGLE_CLOUD_LOCATION", place)):
        if not _NAME.match(value):
            raise UsageError(
                f"{variable} is {value!r}, which is no name; it has lower-case letters, digits and hyphens"
            )
    if not project or place == "global":
        host = "aiplatform.googleapis.com"
    elif place in ("us", "eu"):
        host = f"aiplatform.{place}.rep.googleapis.com"
    else:
        host = f"{place}-aiplatform.googleapis.com"
    where = f"/projects/{project}/locations/{place}" if project else ""
    return f"https://{host}/v1beta1{where}/publishers/google"


def credential(key: str | None) -> Header:
    """The header that lets us in: from a key or token, from the environment, or from the machine's login.

    Raises:
        MissingKey: if there is none.
        MissingExtra: if there is a project, but nothing to make tokens with.
    """
    token = next((os.environ[name] for name in KEYS[1:] if os.environ.get(name)), None)
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    if key is not None:
        return _spelled(key)
    if token is not None:
        return "authorization", Secret(f"Bearer {token}")
    if os.environ.get(KEYS[0]):
        return _spelled(os.environ[KEYS[0]])
    if not project:
        raise MissingKey(f"vertex needs a key: set {' or '.join(KEYS)}, or GOOGLE_CLOUD_PROJECT to use this login")
    return "authorization", Fresh()


def _spelled(key: str) -> Header:
    """Google's keys and its tokens go in different headers."""
    if key.startswith(("AIza", "AQ.")):
        return "x-goog-api-key", Secret(key)
    return "authorization", Secret(f"Bearer {key}")


class Fresh(Secret):
    """A token of this machine's login, made anew when it runs out."""

    __slots__ = ("_lock", "_login")

    def __init__(self) -> None:
        super().__init__("")
        self._lock = threading.Lock()
        self._login = _login()

    def reveal(self) -> str:
        """The header's value.

        Raises:
            KeyRefused: if the login gives no token any more.
        """
        with self._lock:
            if not self._login.valid:
                import google.auth.exceptions
                import google.auth.transport.requests

                try:
                    self._login.refresh(google.auth.transport.requests.Request())
                except google.auth.exceptions.GoogleAuthError as error:
                    raise KeyRefused(f"Google's login gives no token: {error}; log in again") from None
            return f"Bearer {self._login.token}"


def _login() -> Any:
    try:
        import google.auth
        import google.auth.exceptions
    except ImportError:
        raise MissingExtra("Google's login (no GOOGLE_API_KEY is set)", "vertex") from None
    try:
        found, _ = google.auth.default(scopes=[_SCOPE])
    except google.auth.exceptions.DefaultCredentialsError:
        raise MissingKey(
            f"vertex needs a key: set {' or '.join(KEYS)}, or log in: gcloud auth application-default login"
        ) from None
    return found
