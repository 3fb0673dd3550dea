"""Some files of a run, with a network that is loaded once: what every engine's workers do.

             ahead, in threads        one at a time         together         in threads
encode:   read ─► decode image ─────► g_a, h_a ───────────► wavefront ─────► write
decode:   read ─► parse ──────────────────────────────────► wavefront ─► g_s ─► image ─► write
classify: read ─► parse (or encode) ──────────────────────► wavefront ─► ViT ─► row
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ticodec import api, container, weights
from ticodec.codec import Codec
from ticodec.container import Container
from ticodec.entropy.wavefront import width_of_steps
from ticodec.errors import TicodecError
from ticodec.image_files import read_picture
from ticodec.models.config import STRIDE_Y
from ticodec.picture import Picture
from ticodec.psnr import psnr
from ticodec.writers import writer_of

from .messages import Item, Job, Row
from .provenance import note_of
from .storage import Place, place

#: Files are coded together until a step of their wavefront has so many positions; measured
#: (tests/benchmarks/bench_batch.py groups): eight photos of 768×512 in 0.6 of the time.
GROUP_WIDTH = 64.0
#: Files read ahead of those being coded, and threads that read and write.
AHEAD, THREADS = 4, 4
#: Pixels of pictures that may wait to be coded, and as many to be written: 3 bytes each.
MANY_PIXELS = 48_000_000
#: A verified picture that is further from its source than that is no reason to delete the source.
VERIFIED_PSNR = 20.0
#: dB of equal pictures: reports in JSON know no infinity.
SAME_PSNR = 100.0
#: After these the next file will fail as well.
USELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass
class Loaded:
    """A file that was read: its bytes, and what they are."""

    item: Item
    data: bytes
    seconds: float
    picture: Picture | None = None
    container: Container | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        if self.picture is not None:
            return self.picture.pixels.shape[0], self.picture.pixels.shape[1]
        assert self.container is not None
        return self.container.header.height, self.container.header.width

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.size[0] * self.size[1]


class Worker:
    """Does items of a job, and tells of each by a row.

    Args:
        job: what to do; it must have been checked, see `plan.check`.
    """

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.source = place(job.source, job.follow_links)
        self.target: Place | None = None if job.target is None else place(job.target)
        self.encoder: Codec | None = None
        if job.action != "decode":
            self.entry = weights.find(job.model)
            if job.weights and self.entry.fingerprint.hex() != job.weights:
                raise TicodecError(
                    f"the weights {self.entry.name} are others on this machine "
                    f"({self.entry.fingerprint.hex()}, not {job.weights}); install the same ticodec"
                )
        if job.action == "encode":
            self.encoder = api.loaded(self.entry, job.device)
        self.threads = ThreadPoolExecutor(THREADS)
        self.verifying = threading.Lock()

    def run(self, items: Sequence[Item]) -> Iterator[Row]:
        """Do these files; a row for each as soon as it is done, in about their order."""
        writing: deque[tuple[int, Future[Row]]] = deque()
        for group in self.groups(items):
            if isinstance(group, Row):
                yield group
                continue
            for outcome in self.attempt(group):
                if isinstance(outcome, Row):
                    yield outcome
                    continue
                writing.append((group[0].pixels, outcome))
                # What is being written is in memory: not too much of it.
                while writing[0][1].done() or sum(pixels for pixels, _ in writing) > MANY_PIXELS:
                    yield writing.popleft()[1].result()
                    if not writing:
                        break
        for _, future in writing:
            yield future.result()

    # -- reading ----------------------------------------------------------------------

    def groups(self, items: Sequence[Item]) -> Iterator[list[Loaded] | Row]:
        """Files read ahead and put together as far as that is faster; rows of those that fail."""
        waiting = deque(items)
        reading: deque[tuple[Item, Future[Loaded]]] = deque()
        group: list[Loaded] = []
        width, pixels = 0.0, 0
        while waiting or reading:
            # Photos of one tree are alike: the last one says how many may be in memory.
            while waiting and len(reading) < (AHEAD if pixels * AHEAD < MANY_PIXELS else 1):
                item = waiting.popleft()
                reading.append((item, self.threads.submit(self.load, item)))
            item, future = reading.popleft()
            try:
                loaded = future.result()
            except Exception as error:
                yield self._gone(item) or self.failed(item, error)
                continue
            pixels = loaded.pixels
            height, across = (-(-n // STRIDE_Y) for n in loaded.size)
            of_steps = width_of_steps(height, across)
            if group and (width + of_steps > GROUP_WIDTH or not self._alike(group[0], loaded)):
                yield group
                group, width = [], 0.0
            group.append(loaded)
            width += of_steps
        if group:
            yield group

    def _alike(self, first: Loaded, other: Loaded) -> bool:
        """Whether two files are coded by the same network."""
        if first.item.verify or other.item.verify:
            return False
        if first.container is None or other.container is None:
            return first.container is other.container
        return first.container.header.fingerprint == other.container.header.fingerprint

    def load(self, item: Item) -> Loaded:
        """Read a file and see what it is. Raises TicodecError when that is nothing for the job."""
        started = time.perf_counter()
        data = self.source.read(item.name)
        loaded = Loaded(item, data, 0.0)
        if self.job.action == "decode" or (
            self.job.action == "classify"
            and (container.is_tic(data) or item.name.lower().endswith(".tic"))
        ):
            file = loaded.container = container.read(data, self.job.max_pixels)
            if self.job.action == "decode":  # before any work on it
                alpha = file.section("alpha") is not None
                writer_of(self.job.format).check(file.header.width, file.header.height, alpha)
        else:
            loaded.picture = read_picture(data, self.job.max_pixels)
        loaded.seconds = time.perf_counter() - started
        return loaded

    # -- coding -----------------------------------------------------------------------

    def attempt(self, group: list[Loaded]) -> Iterator[Row | Future[Row]]:
        """A group together; when that fails each file by itself, so that one spoils no other."""
        ended: set[str] = set()
        try:
            for loaded, outcome in self.together(group):
                ended.add(loaded.item.name)
                yield outcome
            return
        except Exception as error:
            if len(group) == 1:
                yield self.failed(group[0].item, error)
                return
        # Outside of the except: its error holds what the group had in memory.
        for loaded in group:
            if loaded.item.name not in ended:
                yield from self.attempt([loaded])

    def together(self, group: list[Loaded]) -> Iterator[tuple[Loaded, Row | Future[Row]]]:
        """Rows of a group, or promises of them while outputs are written. Raises any error."""
        started = time.perf_counter()
        if self.job.action == "encode":
            if group[0].item.verify:
                yield group[0], self._later(self.verify_tic, group[0])
                return
            assert self.encoder is not None
            pictures = [loaded.picture for loaded in group if loaded.picture is not None]
            files = self.encoder.encode_many(pictures, self.job.quality)
            share = (time.perf_counter() - started) / len(group)
            for loaded, data in zip(group, files, strict=True):
                yield loaded, self._later(self.write_tic, loaded, data, share)
            return
        codec, containers = self._as_files(group)
        latents = codec.latents_many([codec.checked(file) for file in containers])
        share = (time.perf_counter() - started) / len(group)
        for loaded, opened, y_hat in zip(group, containers, latents, strict=True):
            began = time.perf_counter()
            if self.job.action == "decode":
                picture = codec.picture(opened, y_hat)
                seconds = share + time.perf_counter() - began
                name = codec.entry.name
                yield loaded, self._later(self.write_image, loaded, picture, name, seconds)
                continue
            labels = codec.labels(opened, y_hat, self.job.top, self.job.head)
            seconds = share + time.perf_counter() - began
            row = self.done(loaded, opened.size, codec.entry.name, seconds)
            row.labels = [(label.label, label.probability) for label in labels]
            row.bytes_out = 0
            yield loaded, row

    def _as_files(self, group: list[Loaded]) -> tuple[Codec, list[Container]]:
        """The codec of a group and its `.tic` files, encoded now if they are other images."""
        opened = group[0].container
        if opened is None:
            codec = api.loaded(self.entry, self.job.device)
            pictures = [loaded.picture for loaded in group if loaded.picture is not None]
            return codec, codec.containers(pictures, self.job.quality)
        codec = api.loaded(weights.of(opened.header), self.job.device)
        return codec, [loaded.container for loaded in group if loaded.container is not None]

    def _later(self, write: Callable[..., Row], loaded: Loaded, *more: Any) -> Future[Row]:
        """Let a thread write an output; its row comes from there."""

        def attempt() -> Row:
            started = time.perf_counter()
            try:
                row = write(loaded, *more)
            except Exception as error:
                return self.failed(loaded.item, error)
            row.seconds += time.perf_counter() - started
            return row

        return self.threads.submit(attempt)

    # -- writing ----------------------------------------------------------------------

    def write_tic(self, loaded: Loaded, data: bytes, seconds: float) -> Row:
        """Write what was encoded; verify it and delete the source if the job says so."""
        assert self.target is not None
        self.target.write(loaded.item.output, data, loaded.item.modified)
        row = self.done(loaded, len(data), self.entry.name, seconds)
        if self.job.delete_source:
            self._verify_and_delete(loaded, data, row)
        return row

    def verify_tic(self, loaded: Loaded) -> Row:
        """What is left to do for an output that is up to date: verify it, delete the source."""
        assert self.target is not None
        data = self.target.read(loaded.item.output)
        row = self.done(loaded, len(data), self.entry.name, 0.0)
        self._verify_and_delete(loaded, data, row)
        return row

    def _verify_and_delete(self, loaded: Loaded, data: bytes, row: Row) -> None:
        with self.verifying:  # each takes the memory of a decoder
            row.psnr = self.verified(loaded, data)
        self.source.delete(loaded.item.name)
        row.deleted = True

    def _gone(self, item: Item) -> Row | None:
        """The row of a file whose source was deleted, after its check, by a worker that died then.

        None for any other file that cannot be read.
        """
        if not self.job.delete_source or self.target is None:
            return None
        try:
            output = self.target.look(item.output)
            if self.source.look(item.name) is not None or output is None:
                return None
            header = container.read(self.target.read(item.output), 2**62).header
        except TicodecError:
            return None
        ours = header.fingerprint == self.entry.fingerprint and output.modified == item.modified
        if not ours:
            return None
        pixels = header.width * header.height
        size = {"width": header.width, "height": header.height, "bytes_out": output.size}
        bpp = output.size * 8 / pixels
        return Row.of(item, "done", deleted=True, bpp=bpp, model=self.entry.name, **size)

    def verified(self, loaded: Loaded, data: bytes) -> float:
        """PSNR of a written file, read back and decoded, in dB.

        Raises TicodecError, which keeps the source, unless it is what was written, decodes to a
        picture of the same size and metadata that is near the source, and the source is unchanged.
        """
        assert self.target is not None
        assert self.encoder is not None
        assert loaded.picture is not None
        item, source = loaded.item, loaded.picture
        kept = f"{self.source.shown(item.name)}: kept, since"
        if self.target.read(item.output) != data:
            raise TicodecError(f"{kept} {item.output} does not read back as it was written")
        decoded = self.encoder.decode(data, max_pixels=self.job.max_pixels)
        opaque = np.uint8(255)
        alphas = [
            np.asarray(opaque if picture.alpha is None else picture.alpha)
            for picture in (decoded, source)
        ]
        if (
            decoded.pixels.shape != source.pixels.shape
            or decoded.metadata != source.metadata
            or not np.array_equal(alphas[0], alphas[1])
        ):
            raise TicodecError(f"{kept} {item.output} decodes to something else")
        distance = min(psnr(decoded.pixels, source.pixels), SAME_PSNR)
        if distance < VERIFIED_PSNR:
            raise TicodecError(
                f"{kept} the decoded picture is far from it: {distance:.1f} dB; "
                "a higher `quality` may do"
            )
        now = self.source.look(item.name)
        if now is None or (now.size, now.modified) != (len(loaded.data), item.modified):
            raise TicodecError(f"{kept} it has changed in the meantime; run again")
        return distance

    def write_image(self, loaded: Loaded, picture: Picture, model: str, seconds: float) -> Row:
        """Write what was decoded, with a note in it of which file that was."""
        assert self.target is not None
        writer, quality = writer_of(self.job.format), self.job.output_quality
        note = note_of(loaded.data, writer.checked_quality(quality))
        data = writer.write(picture.to_image(), quality, note)
        self.target.write(loaded.item.output, data, loaded.item.modified)
        row = self.done(loaded, len(loaded.data), model, seconds)
        row.bytes_out = len(data)
        return row

    def done(self, loaded: Loaded, tic: int, model: str, seconds: float) -> Row:
        """The row of a file that was done; `tic`: bytes of its `.tic`, read or written."""
        height, width = loaded.size
        return Row.of(
            loaded.item,
            "done",
            width=width,
            height=height,
            bytes_in=len(loaded.data),
            bytes_out=tic,
            bpp=tic * 8 / (height * width),
            seconds=loaded.seconds + seconds,
            model=model,
        )

    def failed(self, item: Item, error: Exception) -> Row:
        """The row of a file that failed; its error is one line."""
        text = " ".join(str(error).split())
        shown = self.source.shown(item.name)
        cause = error.__cause__ if isinstance(error, TicodecError) else error
        fatal = isinstance(cause, OSError) and cause.errno in USELESS
        if isinstance(error, MemoryError) or "out of memory" in text or "not enough mem" in text:
            text = "not enough memory for this image"
        elif not isinstance(error, TicodecError | OSError):
            text = f"internal error, please report it: {type(error).__name__}: {text}"
        text = text.removeprefix(f"{shown}: ")
        return Row.of(item, "failed", error=text, fatal=fatal)
