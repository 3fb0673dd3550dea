"""Joins a Ray cluster, or starts one on this machine, in bounded time. Errors have one line."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator

from ticodec.errors import TicodecError
from ticodec.extras import of_extra

#: How many times a cluster is asked to start a server for Ray's client. This sometimes fails.
ATTEMPTS = 3
#: Seconds that leaving over ray:// may take.
LEAVE_SECONDS = 15.0


def named(address: str | None) -> str:
    """The address to give to Ray.

    This is `address`, or else $RAY_ADDRESS, which Ray sets for the jobs of a cluster, or else
    "local", which means a new cluster on this machine. It is never None: with None Ray would try to
    rejoin the last cluster on this machine, even a dead one.
    """
    return address or os.environ.get("RAY_ADDRESS") or "local"


def join(address: str) -> bool:
    """Make this process a driver of a cluster. Returns False when it was a driver already.

    Args:
        address: "auto", "host:6379", "ray://host:10001", "local".

    Raises UsageError without Ray, TicodecError when there is no cluster at the address.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # rows report what matters
    with of_extra("ray", "a Ray cluster"):
        import ray
        import ray.data
    if ray.is_initialized():
        return False
    _reach(address)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    attempts = 0
    while True:
        attempts += 1
        try:
            with _silence():
                ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False)
            return True
        except Exception as error:  # ConnectionError, RuntimeError, ValueError, gRPC's own
            text = " ".join(str(error).split())
            # The server for Ray's client did not start; another attempt often works.
            if "Starting Ray client server failed" in text and attempts < ATTEMPTS:
                continue
            if address == "local":
                raise TicodecError(f"Ray does not start here: {text[:200]}") from error
            tokens = "a cluster with tokens needs RAY_AUTH_MODE=token"
            raise TicodecError(f"no Ray cluster at {address}: {text[:200]}; {tokens}") from error


def leave() -> None:
    """Leave the cluster, in bounded time."""
    import ray

    if not ray.is_initialized():
        return
    if not outside():
        ray.shutdown()
        return
    worker = ray.util.client.ray.get_context().client_worker
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(LEAVE_SECONDS)
    if thread.is_alive():  # it waits for an answer over a connection that may be dead
        worker.channel.close()
        thread.join(LEAVE_SECONDS)


def outside() -> bool:
    """Whether this process talks to the cluster through Ray's client (ray://)."""
    import ray

    return bool(ray.util.client.ray.is_connected())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard stderr: Ray's C++ code prints a greeting there at any log level."""
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
    """Check that something answers at the address, because Ray would try for minutes.

    Raises TicodecError when nothing answers.
    """
    if address == "auto":
        address = _running()
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():  # "local"
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError, ValueError) as error:
        raise TicodecError(f"no Ray cluster at {address}: {error}") from error


def _running() -> str:
    """The address of the cluster that this machine is a node of, according to Ray."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return os.environ.get("RAY_ADDRESS") or str(canonicalize_bootstrap_address("auto"))
    except (OSError, ValueError) as error:
        raise TicodecError("no Ray cluster runs on this machine; give its `address`") from error
