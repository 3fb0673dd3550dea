"""Threads that work together on one job of the extension: if one fails, the job ends."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ticodec.codec import Codec
from ticodec.entropy import native
from ticodec.entropy.native.team import run_team

pytestmark = pytest.mark.skipif(not native.active(), reason="the C extension is not built here")


class LazyEvent(threading.Event):
    """An event that raises MemoryError when a helper thread waits for it."""

    def wait(self, timeout: float | None = None) -> bool:
        if threading.current_thread().name not in ("MainThread", "caller"):
            raise MemoryError
        return super().wait(timeout)


@pytest.mark.parametrize("when", ["before the job", "in the job"])
def test_a_thread_that_fails_ends_the_job(
    tiny: Codec, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Otherwise the other threads would wait for it for ever."""
    exact: Any = native.module()
    network = tiny.entropy.latents.native.network  # type: ignore[attr-defined]

    def run(job: object, thread: int) -> None:
        if thread == 1:
            raise MemoryError
        exact.run(job, thread)

    module: Any = SimpleNamespace(run=exact.run if "before" in when else run, disband=exact.disband)
    outcome: list[BaseException | None] = []

    def call() -> None:
        try:
            run_team(module, lambda count: exact.wavefront(network, (), count))
            outcome.append(None)
        except MemoryError as error:
            outcome.append(error)

    kept = torch.get_num_threads()
    torch.set_num_threads(3)
    if "before" in when:
        monkeypatch.setattr(threading, "Event", LazyEvent)
    try:
        caller = threading.Thread(target=call, name="caller", daemon=True)
        caller.start()
        caller.join(20)
    finally:
        torch.set_num_threads(kept)
    assert not caller.is_alive()
    assert [type(error) for error in outcome] == [MemoryError]
