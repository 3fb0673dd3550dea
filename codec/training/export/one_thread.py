"""Lets export use one thread only, so that the same checkpoint always gives the same bytes.

The last bit of a sum of floats depends on how the sum is divided among threads. Export sums floats
in two places: in the mean of checkpoints, and in the latents of the calibration images. The latents
decide only the number of fractional bits of the integers, through the largest output of a layer. A
last bit matters only if this output is next to a power of two. But then it would change the file.

It is guaranteed that a checkpoint gives the same bytes on the same kind of CPU with the same
version of torch, whatever OMP_NUM_THREADS says. It is likely, but not guaranteed, that it gives the
same bytes on another CPU or with another version of torch, which may add in another order. All of
this can only change the fingerprint of a weights file. What a given weights file decodes never
depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch computes with one thread. Afterwards the old number is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
