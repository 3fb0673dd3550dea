"""Worker processes end with the process that started them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_support import PATIENCE, wait_until
from support import ROOT

from ticodec import processes
from ticodec.evaluation.workers import outcomes

if __name__ != "evaluation.test_workers":  # in the starting process and its workers
    processes.GRACE = 0.5  # the whole time is waited for


def who(seconds: float) -> int:
    """A task that takes `seconds`, and returns the id of the process that did it."""
    time.sleep(seconds)
    return os.getpid()


def gone(pid: int) -> bool:
    """Whether a process has ended. It may be a zombie, which nobody has waited for."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")  # only Linux shows zombies
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_their_starter_is_killed(number: int, tmp_path: Path) -> None:
    """Idle workers end too, although the process that started them cannot end them."""
    listed = tmp_path / "workers"
    places = [str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    process = subprocess.Popen([sys.executable, __file__, str(listed)], env=environment)
    try:
        wait_until(listed.exists, process)
        workers = [int(pid) for pid in listed.read_text().split()]
        assert len(workers) == 2
        assert not any(map(gone, workers))
    finally:  # even if a check has failed
        process.send_signal(number)
    assert process.wait(PATIENCE / 2) == -number
    wait_until(lambda: all(map(gone, workers)))


if __name__ == "__main__":
    tasks, found = outcomes(who, [0.05] * 10_000, 2), set()
    while len(found) < 2:  # the second worker may take long to start
        found.add(next(tasks))
    part = Path(sys.argv[1] + ".part")
    part.write_text(" ".join(map(str, found)))
    part.rename(sys.argv[1])
    time.sleep(2 * PATIENCE)  # the test kills this process before the time is over
