"""Joining a Ray cluster, or starting one on this machine: in bounded time, one line if it fails."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

from ticodec.errors import TicodecError, UsageError


def join(address: str | None) -> bool:
    """Make this process a driver of a cluster; whether it was not one before.

    Args:
        address: "auto", "host:6379", "ray://host:10001"; None: that of $RAY_ADDRESS, which Ray
            gives the jobs of a cluster, and without it a new cluster of this machine.

    Raises UsageError without Ray, TicodecError when there is no cluster at the address.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as rows
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("Ray is missing; pip install 'ticodec[ray]'") from error
    if ray.is_initialized():
        return False
    # Not None: Ray would take that for "auto" once any cluster ran here, be it long gone.
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _reach(address)
    try:
        with _silence():
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, gRPC's own
        where = "this machine" if address == "local" else address
        text = " ".join(str(error).split())[:200]
        if address.startswith("ray://"):
            text += "; a cluster with tokens wants RAY_AUTH_MODE=token"
        raise TicodecError(f"no Ray cluster at {where}: {text}") from error
    return True


def leave() -> None:
    """End what `join` began."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


def outside() -> bool:
    """Whether this process speaks to the cluster through Ray's client (ray://)."""
    import ray

    return bool(ray.util.client.ray.is_connected())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on stderr: Ray's C++ greets there, whatever the level of its log."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _reach(address: str) -> None:
    """Raises TicodecError unless something answers there; Ray itself would try for minutes."""
    if address == "auto":
        address = _running()
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():  # "local"
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TicodecError(f"no Ray cluster at {address}: {error}") from error


def _running() -> str:
    """Where Ray thinks that the cluster is of which this machine is a node."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return os.environ.get("RAY_ADDRESS") or canonicalize_bootstrap_address("auto") or "auto"
    except ConnectionError as error:
        raise TicodecError("no Ray cluster runs on this machine; give its --address") from error
