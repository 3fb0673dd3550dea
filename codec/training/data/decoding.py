"""Photos decoded by processes of their own, while this one does something else.

            ┌─► process ─┐
    paths ──┼─► process ─┼─► pixels, in the order of the paths ─► `Photos`
            └─► process ─┘

Compiling a network keeps one core busy for minutes and leaves the others to the photos. Their order
is that of the paths however many processes there are, so that a seed draws the same crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Self

from PIL import Image

from ticodec.picture import Pixels
from ticodec.processes import cores, start_helper, without_ctrl_c
from ticodec.reading.read import to_picture

#: Photos for which a process is worth its start: that takes as long as decoding so many.
WORTH_A_PROCESS = 16


def read_photo(path: Path) -> Pixels | None:
    """A file's image as the encoder takes it: (H, W, 3) uint8, RGB, upright; None if unreadable."""
    try:
        with Image.open(path) as image:  # its own limit on pixels holds
            return to_picture(image).pixels
    except Exception:  # Pillow's plugins raise many kinds on damaged files
        return None


def useful_processes(photos: int, here: int = 1) -> int:
    """How many processes to decode photos with; 0: decode them in this one.

    Args:
        here: how many processes train on this machine; each keeps a core for itself.
    """
    count = min(cores() // here - 1, photos // WORTH_A_PROCESS)
    return count if count > 1 else 0


class Decoding:
    """Photos that are being decoded. Iterate over it once: `read_photo` of each, in order.

    Args:
        paths: image files.
        processes: how many decode, from now on; 0: this one decodes, as it iterates.
    """

    def __init__(self, paths: Sequence[Path], processes: int) -> None:
        self.paths = list(paths)
        self.pool: ProcessPoolExecutor | None = None
        self.futures: list[Future[Pixels | None]] = []
        if not processes:
            return
        # Spawned: a forked process would inherit the locks of this one's threads, and a GPU's
        # context, which works only in the process that made it.
        self.pool = ProcessPoolExecutor(processes, get_context("spawn"), start_helper)
        with without_ctrl_c():
            self.futures = [self.pool.submit(read_photo, path) for path in self.paths]
        self.futures.reverse()  # taken from the end, and freed

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Pixels | None]:
        try:
            for path in self.paths:
                if self.pool is None:
                    yield read_photo(path)
                    continue
                try:
                    pixels = self.futures.pop().result()
                except BrokenProcessPool:  # killed, perhaps for lack of memory
                    pixels = read_photo(path)
                yield pixels
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Decode nothing more; its processes end after the photo that they have."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
