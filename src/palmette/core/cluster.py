"""A Ray cluster (extra `ray`): reached, given back, and its errors told as ours. Ray is imported here and nowhere else.

Whatever is measured, merged or asked past one machine goes through `cluster`; what is computed there is named by plain
values, so a worker does exactly what this process would do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from palmette.core.errors import ClusterError, MissingExtra, PalmetteError

__all__ = ["cluster", "gathered"]


@contextmanager
def cluster(address: str, what: str) -> Iterator[Any]:
    """Inside, Ray is there and connected; what was started for it is stopped, a cluster that was there is left alone.

    Args:
        address: "local" to start workers on this machine, "auto" for the cluster this machine belongs to, or a
            cluster's address.
        what: for what, as the error says where Ray is not installed.

    Raises:
        MissingExtra: without Ray.
        ClusterError: if the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(what, "ray") from error
    own = not ray.is_initialized()
    if own:
        where: dict[str, Any] = {"address": address}
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
            where |= {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="error", **where)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ClusterError(
                f"no Ray cluster at {address!r}: {_first_line(error)}; 'local' starts one on this machine"
            ) from error
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def gathered(ray: Any, wanted: Any) -> Any:
    """What the cluster made, waiting for it.

    Args:
        ray: what `cluster` gave.
        wanted: one of its references, or several.

    Raises:
        PalmetteError: the one that a worker raised, as it is.
        OSError: likewise.
        ClusterError: for a worker that was lost, or that failed otherwise.
    """
    try:
        return ray.get(list(wanted) if isinstance(wanted, Sequence) else wanted)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, (PalmetteError, OSError)):
            raise cause from None
        raise ClusterError(f"a worker of the Ray cluster failed: {cause!r}") from error
    except ray.exceptions.RayError as error:
        raise ClusterError(f"a worker of the Ray cluster was lost: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
