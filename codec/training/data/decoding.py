"""Decodes photos in other processes, while this process does other work.

            ┌─► process ─┐
    paths ──┼─► process ─┼─► pixels, in the order of the paths ─► `Photos`
            └─► process ─┘

Compiling a network keeps one core busy for minutes. The other cores decode photos meanwhile. The
order of the pixels does not depend on the number of processes, so that a seed always draws the same
crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Self

from ticodec.picture import Pixels
from ticodec.processes import cores, start_helper, without_ctrl_c
from ticodec.reading.read import to_picture

from .unusable import open_photo, why_unusable

#: Starting a process takes as long as decoding this many photos.
WORTH_A_PROCESS = 16


def read_photo(path: Path) -> Pixels | str:
    """The image of a file as the encoder reads it: (H, W, 3) uint8, RGB, upright.

    If it cannot be read, returns a text that says why.
    """
    try:
        with open_photo(path) as image:
            return to_picture(image).pixels
    except Exception as error:  # Pillow's plugins raise many kinds of errors on damaged files
        return why_unusable(error)


def useful_processes(photos: int, here: int = 1) -> int:
    """How many processes to start for decoding. 0 means that this process should decode.

    Args:
        photos: how many photos there are.
        here: how many processes train on this machine. Each of them needs a core for itself.
    """
    count = min(cores() // here - 1, photos // WORTH_A_PROCESS)
    return count if count > 1 else 0


class Decoding:
    """Photos that are being decoded. Iterating yields the `read_photo` of each path, in order.

    It can be iterated only once.

    Args:
        paths: image files.
        processes: how many processes to start now for decoding. With 0 this process decodes each
            photo when the iteration reaches it.
    """

    def __init__(self, paths: Sequence[Path], processes: int) -> None:
        self.paths = list(paths)
        self.pool: ProcessPoolExecutor | None = None
        self.futures: list[Future[Pixels | str]] = []
        if not processes:
            return
        # The processes are spawned. A forked one would inherit the locks of this process's threads,
        # and the context of a GPU, which works only in the process that made it.
        self.pool = ProcessPoolExecutor(processes, get_context("spawn"), start_helper)
        with without_ctrl_c():
            self.futures = [self.pool.submit(read_photo, path) for path in self.paths]
        self.futures.reverse()  # the iteration pops from the end, which frees the pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Pixels | str]:
        try:
            for path in self.paths:
                if self.pool is None:
                    yield read_photo(path)
                    continue
                try:
                    pixels = self.futures.pop().result()
                except BrokenProcessPool:  # a process was killed, perhaps for lack of memory
                    pixels = read_photo(path)
                yield pixels
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop decoding. Each process still finishes its current photo and then ends."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
