"""Forked processes work like their parent, whatever the parent has done before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from ticodec.device import pick_device
from ticodec.errors import UsageError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

#: Seconds after which a process counts as hanging.
HANGS = 120
PROGRAM = """if True:
    import multiprocessing, os, signal, sys
    import numpy as np
    import torch
    import ticodec

    pixels = (np.arange(64 * 70 * 3) % 251).astype(np.uint8).reshape(64, 70, 3)

    def work(model):
        coded = ticodec.encode(pixels, model=model)
        labels = ticodec.classify(coded)
        return coded, ticodec.decode(coded).tobytes(), labels

    if __name__ == "__main__":
        os.register_at_fork(after_in_child=lambda: signal.alarm(60))  # ends one that hangs
        torch.set_num_threads(2)
        wanted = work("tiny-icat")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(work, ["tiny-icat"] * 3).get(timeout=60)
        assert found == [wanted] * 3
        child = os.fork()
        if not child:
            ticodec.encode(pixels, model="tiny")  # other weights, loaded in the child
            assert work("tiny-icat") == wanted
            grandchild = os.fork()
            if grandchild:
                assert os.waitpid(grandchild, 0)[1] == 0
            assert torch.get_num_threads() == 1
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.get_num_threads() == 2
        assert work("tiny-icat") == wanted
"""


@pytest.mark.parametrize("native", ["1", "0"], ids=["extension", "torch"])
def test_forks_of_a_process_that_has_encoded_and_decoded(native: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "OMP_NUM_THREADS": "2", "TICODEC_NATIVE": native},
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_after_use_of_a_gpu_the_error_in_a_fork_suggests_spawn(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("auto", "cuda", "cuda:1"):
        with pytest.raises(UsageError, match=r"spawn.*`device`"):
            pick_device(device)
    assert pick_device("cpu").type == "cpu"
