"""One thread while something is exported, so that the same checkpoint gives the same bytes.

A sum of floats depends in its last bit on how it is divided among threads. Exporting sums floats
in two places: the mean of checkpoints, and the latents of the calibration images. The latents set
only the fractional bits of the integers, by the largest value that a layer shows: a last bit
matters only where that value is next to a power of two, but there it would change the file.

Guaranteed: the same bytes from the same checkpoint on the same kind of CPU with the same version of
torch, whatever OMP_NUM_THREADS says. Likely, but not guaranteed: the same bytes on another CPU or
with another torch, whose sums may have another order. What a weights file decodes never depends on
any of this; only its fingerprint does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside the block, and with as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
