"""Where things are kept: the folders of the platform, or those that the environment names (XDG)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

__all__ = ["folder"]

_USUAL = {
    "linux": {"data": "~/.local/share", "cache": "~/.cache", "config": "~/.config"},
    "darwin": {"data": "~/Library/Application Support", "cache": "~/Library/Caches",
               "config": "~/Library/Application Support"},
    "win32": {"data": "~/AppData/Local", "cache": "~/AppData/Local/Cache", "config": "~/AppData/Roaming"},
}  # fmt: skip


def folder(kind: Literal["data", "cache", "config"]) -> Path:
    """Palmette's folder for data, caches or configuration; it need not exist.

    >>> folder("data").name
    'palmette'
    """
    named = os.environ.get(f"XDG_{kind.upper()}_HOME", "")
    if named and os.path.isabs(named):  # a relative one is to be ignored, says the specification
        return Path(named) / "palmette"
    return Path(_USUAL.get(sys.platform, _USUAL["linux"])[kind]).expanduser() / "palmette"
