"""Some files of a run, with a network that is loaded once: what every engine's workers do.

             ahead, in threads        one at a time         together         in threads
encode:   read ─► decode image ─────► g_a, h_a ───────────► wavefront ─────► write
decode:   read ─► parse ──────────────────────────────────► wavefront ─► g_s ─► PNG ─► write
classify: read ─► parse (or encode) ──────────────────────► wavefront ─► ViT ─► row
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ticodec import api, container, images, weights
from ticodec.codec import Codec
from ticodec.container import Container
from ticodec.entropy.wavefront import width_of_steps
from ticodec.errors import TicodecError
from ticodec.images import Picture
from ticodec.models.config import STRIDE_Y

from .png import note
from .storage import Place, place
from .tasks import Item, Job, Row

#: Files are coded together until a step of their wavefront has so many positions; measured
#: (tests/benchmarks/bench_batch.py groups): eight photos of 768×512 in 0.6 of the time.
GROUP_WIDTH = 64.0
#: Files read ahead of those being coded, and threads that read and write.
AHEAD, THREADS = 4, 4
#: A verified picture that is further from its source than that is no reason to delete the source.
VERIFIED_PSNR = 20.0
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

    def run(self, items: Sequence[Item]) -> Iterator[Row]:
        """Do these files; a row for each as soon as it is done, in about their order."""
        writing: list[Future[Row]] = []
        for group in self.groups(items):
            if isinstance(group, Row):
                yield group
                continue
            for outcome in self.attempt(group):
                if isinstance(outcome, Row):
                    yield outcome
                else:
                    writing.append(outcome)
            while len(writing) > 2 * THREADS:  # their pictures are in memory
                yield writing.pop(0).result()
        for future in writing:
            yield future.result()

    # -- reading ----------------------------------------------------------------------

    def groups(self, items: Sequence[Item]) -> Iterator[list[Loaded] | Row]:
        """Files read ahead and put together as far as that is faster; rows of those that fail."""
        waiting = list(items)
        reading: list[tuple[Item, Future[Loaded]]] = []
        group: list[Loaded] = []
        width = 0.0
        while waiting or reading:
            while waiting and len(reading) < AHEAD:
                item = waiting.pop(0)
                reading.append((item, self.threads.submit(self.load, item)))
            item, future = reading.pop(0)
            try:
                loaded = future.result()
            except Exception as error:
                yield self.failed(item, error)
                continue
            height, across = (-(-n // STRIDE_Y) for n in loaded.size)
            each = width_of_steps(height, across)
            if group and (width + each > GROUP_WIDTH or not self._alike(group[0], loaded)):
                yield group
                group, width = [], 0.0
            group.append(loaded)
            width += each
        if group:
            yield group

    def _alike(self, first: Loaded, other: Loaded) -> bool:
        """Whether two files are coded by the same network."""
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
            loaded.container = container.read(data, self.job.max_pixels)
        else:
            opened = images.open_image(data, self.job.max_pixels)
            loaded.picture = images.to_picture(opened)
        loaded.seconds = time.perf_counter() - started
        return loaded

    # -- coding -----------------------------------------------------------------------

    def attempt(self, group: list[Loaded]) -> Iterator[Row | Future[Row]]:
        """A group together; when that fails each file by itself, so that one spoils no other."""
        try:
            yield from self.together(group)
        except Exception as error:
            if len(group) == 1:
                yield self.failed(group[0].item, error)
                return
            for loaded in group:
                yield from self.attempt([loaded])

    def together(self, group: list[Loaded]) -> list[Row | Future[Row]]:
        """Rows of a group, or promises of them while outputs are written. Raises any error."""
        started = time.perf_counter()
        if self.job.action == "encode":
            assert self.encoder is not None
            pictures = [each.picture for each in group if each.picture is not None]
            files = self.encoder.encode_many(pictures, self.job.quality)
            share = (time.perf_counter() - started) / len(group)
            pairs = zip(group, files, strict=True)
            return [self._later(self.write_tic, each, data, share) for each, data in pairs]
        codec, files = self._as_files(group)
        containers = [codec.opened(data, self.job.max_pixels) for data in files]
        latents = codec.latents_many(containers)
        share = (time.perf_counter() - started) / len(group)
        found: list[Row | Future[Row]] = []
        for each, data, opened, y_hat in zip(group, files, containers, latents, strict=True):
            began = time.perf_counter()
            if self.job.action == "decode":
                picture = codec.picture(opened, y_hat)
                seconds = share + time.perf_counter() - began
                found.append(self._later(self.write_png, each, picture, codec.entry.name, seconds))
                continue
            labels = codec.labels(opened, y_hat, self.job.top, self.job.head)
            row = self.done(each, data, codec.entry.name, share + time.perf_counter() - began)
            row.labels = [(label.label, label.probability) for label in labels]
            row.bytes_out = 0
            found.append(row)
        return found

    def _as_files(self, group: list[Loaded]) -> tuple[Codec, list[bytes]]:
        """The `.tic` bytes of a group, encoded now if they are other images; and their codec."""
        opened = group[0].container
        if opened is None:
            codec = api.loaded(self.entry, self.job.device)
            pictures = [each.picture for each in group if each.picture is not None]
            return codec, codec.encode_many(pictures, self.job.quality)
        header = opened.header
        entry = weights.find_fingerprint(header.fingerprint, header.model_name)
        return api.loaded(entry, self.job.device), [each.data for each in group]

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
        row = self.done(loaded, data, self.entry.name, seconds)
        if self.job.delete_source:
            row.psnr = self.verified(loaded, data)
            self.source.delete(loaded.item.name)
            row.deleted = True
        return row

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
        decoded = self.encoder.decode(data, self.job.max_pixels)
        opaque = np.uint8(255)
        alphas = [
            np.asarray(opaque if each.alpha is None else each.alpha) for each in (decoded, source)
        ]
        if (
            decoded.pixels.shape != source.pixels.shape
            or decoded.metadata != source.metadata
            or not np.array_equal(alphas[0], alphas[1])
        ):
            raise TicodecError(f"{kept} {item.output} decodes to something else")
        error = np.square(np.subtract(decoded.pixels, source.pixels, dtype=np.float32)).mean()
        psnr = float(10 * np.log10(255**2 / max(float(error), 1e-9)))
        if psnr < VERIFIED_PSNR:
            raise TicodecError(
                f"{kept} the decoded picture is far from it: {psnr:.1f} dB; a higher -q may do"
            )
        now = self.source.look(item.name)
        if now is None or (now.size, now.modified) != (len(loaded.data), item.modified):
            raise TicodecError(f"{kept} it has changed in the meantime; run again")
        return psnr

    def write_png(self, loaded: Loaded, picture: Picture, model: str, seconds: float) -> Row:
        """Write what was decoded, with a note in it of which file that was."""
        assert self.target is not None
        data = images.png_bytes(picture.to_image(), note(loaded.data))
        self.target.write(loaded.item.output, data, loaded.item.modified)
        row = self.done(loaded, loaded.data, model, seconds)
        row.bytes_out = len(data)
        return row

    def done(self, loaded: Loaded, tic: bytes, model: str, seconds: float) -> Row:
        """The row of a file that was done; `tic` is its `.tic`, read or written."""
        height, width = loaded.size
        return Row.of(
            loaded.item,
            "done",
            width=width,
            height=height,
            bytes_in=len(loaded.data),
            bytes_out=len(tic),
            bpp=len(tic) * 8 / (height * width),
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
