"""Encodes, decodes or classifies files of a run with a network that is loaded once.

Every engine runs such workers.

             ahead, in threads        one at a time         together         in threads
encode:   read ─► decode image ─────► g_a, h_a ───────────► wavefront ─────► write
decode:   read ─► parse ──────────────────────────────────► wavefront ─► g_s ─► image ─► write
classify: read ─► parse (or encode) ──────────────────────► wavefront ─► ViT ─► row
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from ticodec import api, container, memory, weights
from ticodec.codec import Codec
from ticodec.container import Container
from ticodec.effort import USUAL_EFFORT
from ticodec.entropy.wavefront import width_of_steps
from ticodec.errors import TicodecError, is_memory_short
from ticodec.models.config import STRIDE_Y
from ticodec.notes import Note
from ticodec.rate_control import reach
from ticodec.reading.read import read_picture
from ticodec.targets import Target
from ticodec.writers import writer_of

from .loaded import Loaded, pictures_of
from .messages import Item, Job, Row
from .outputs import Outputs
from .parts import parts_for
from .provenance import payload_of
from .storage import Place, place
from .verification import SAME_PSNR, why_kept

#: Files are coded together until a step of their wavefronts has this many positions on average.
#: Without the C extension eight photos of 768×512 then take 0.6 of the time
#: (`tests/benchmarks/bench_batch.py groups`).
GROUP_WIDTH = 64.0
#: Number of files that are read ahead while others are coded, and of threads that read and write.
AHEAD, THREADS = 4, 4
#: The most pixels that wait to be coded, and the most that wait to be written. A pixel has 3 bytes.
MANY_PIXELS = 48_000_000
#: The field of a row that holds the PSNR or MS-SSIM that a file reaches, by the target's measure.
MEASURED = {"psnr": "psnr", "ms-ssim": "ms_ssim"}
#: System errors after which every other file would fail too (disk full, quota, read-only).
USELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Worker:
    """Does items of a job and yields a row for each.

    Args:
        job: what to do. `plan.check` must have accepted it.
        ask: waits until the worker has this many parts of the machine, see `parts`.
    """

    def __init__(self, job: Job, ask: Callable[[int], None] = lambda parts: None) -> None:
        torch.set_num_threads(job.threads)
        if job.memory is not None:
            memory.set_memory(job.memory)
        self.job, self.ask, self.has = job, ask, 1
        #: Whether each photo is coded alone, because it takes long or a target may be out of reach.
        self.alone = isinstance(job.quality, Target) or job.effort > USUAL_EFFORT
        self.source = place(job.source, job.follow_links)
        self.target: Place | None = None if job.target is None else place(job.target)
        self.encoder: Codec | None = None
        if job.action != "decode":
            self.entry = job.entry()
            if job.weights and self.entry.fingerprint.hex() != job.weights:
                raise TicodecError(
                    f"the weights {self.entry.name} differ on this machine "
                    f"({self.entry.fingerprint.hex()}, not {job.weights}); install the same ticodec"
                )
        if job.action == "encode":
            self.encoder = api.loaded(self.entry, job.device)
        self.threads = ThreadPoolExecutor(THREADS)
        self.outputs: Outputs | None = None
        if self.target is not None:
            self.outputs = Outputs(job, self.source, self.target, self.encoder)

    def run(self, items: Sequence[Item]) -> Iterator[Row]:
        """Do these files. Yields a row as soon as a file is done, roughly in their order."""
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
                # Pictures stay in memory until they are written, so their pixels are limited.
                while writing[0][1].done() or sum(pixels for pixels, _ in writing) > MANY_PIXELS:
                    yield writing.popleft()[1].result()
                    if not writing:
                        break
        for _, future in writing:
            yield future.result()

    # -- reading ----------------------------------------------------------------------

    def groups(self, items: Sequence[Item]) -> Iterator[list[Loaded] | Row]:
        """Read files ahead and yield groups to be coded together, and rows of files that fail."""
        waiting = deque(items)
        reading: deque[tuple[Item, Future[Loaded]]] = deque()
        group: list[Loaded] = []
        width, pixels = 0.0, 0
        while waiting or reading:
            # Photos of one folder have similar sizes. The last size decides how many are read
            # ahead.
            while waiting and len(reading) < (AHEAD if pixels * AHEAD < MANY_PIXELS else 1):
                item = waiting.popleft()
                reading.append((item, self.threads.submit(self.load, item)))
            item, future = reading.popleft()
            try:
                loaded = future.result()
            except Exception as error:
                gone = None if self.outputs is None else self.outputs.gone(item)
                yield gone or self.failed(item, error)
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
        """Whether two files can be coded together, by the same network."""
        if self.alone or first.item.verify or other.item.verify:
            return False
        if first.container is None or other.container is None:
            return first.container is other.container
        return first.container.header.fingerprint == other.container.header.fingerprint

    def load(self, item: Item) -> Loaded:
        """Read a file, and parse or decode it. Raises TicodecError when the job cannot use it."""
        started = time.perf_counter()
        data = self.source.read(item.name)
        loaded = Loaded(item, data, 0.0)
        if self.job.action == "decode" or (
            self.job.action == "classify"
            and (container.is_tic(data) or item.name.lower().endswith(".tic"))
        ):
            file = loaded.container = container.read(data, self.job.max_pixels)
            if self.job.action == "decode":  # refuse before any work
                alpha = file.section("alpha") is not None
                writer_of(self.job.format).check(file.header.width, file.header.height, alpha)
        else:
            # Other workers may use memory now that will be free when this photo is coded.
            have = None if self.job.part is None else self.job.part * self.job.parts
            check = api.room_for(self.entry, self.job.device, have, self.job.effort)
            loaded.picture = read_picture(data, self.job.max_pixels, check, self.job.reading)
            if self.outputs is not None:  # a target for the size includes the origin
                kept = why_kept(loaded.picture.notes)
                loaded.picture.origin = payload_of(self.outputs.origin(loaded, kept))
        loaded.seconds = time.perf_counter() - started
        return loaded

    # -- coding -----------------------------------------------------------------------

    def attempt(self, group: list[Loaded]) -> Iterator[Row | Future[Row]]:
        """Code a group together. If that fails, code its files one by one: only bad ones fail."""
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
        # This is outside the except block, in which the error keeps the group's tensors in memory.
        for loaded in group:
            if loaded.item.name not in ended:
                yield from self.attempt([loaded])

    def together(self, group: list[Loaded]) -> Iterator[tuple[Loaded, Row | Future[Row]]]:
        """Code a group. Yields rows, or futures of rows while threads write the outputs.

        Raises any error of coding.
        """
        codec = self._codec_of(group[0])
        self._make_room(codec, group)
        started = time.perf_counter()
        if self.job.action == "encode":
            assert self.outputs is not None
            files = self._encoded(codec, group)
            if group[0].item.verify:
                yield group[0], self._later(self.outputs.verify_tic, group[0], *files)
                return
            share = (time.perf_counter() - started) / len(group)
            for loaded, data in zip(group, files, strict=True):
                yield loaded, self._later(self.outputs.write_tic, loaded, data, share)
            return
        containers = self._as_files(codec, group)
        latents = codec.latents_many([codec.checked(file) for file in containers])
        share = (time.perf_counter() - started) / len(group)
        for loaded, opened, y_hat in zip(group, containers, latents, strict=True):
            began = time.perf_counter()
            if self.outputs is not None:
                picture = codec.picture(opened, y_hat)
                seconds = share + time.perf_counter() - began
                name = codec.entry.name
                yield loaded, self._later(self.outputs.write_image, loaded, picture, name, seconds)
                continue
            labels = codec.labels(opened, y_hat, self.job.top, self.job.head)
            seconds = share + time.perf_counter() - began
            row = loaded.done(opened.size, opened.header, codec.entry.name, seconds)
            row.notes = []  # they are about encoding, which is not the job here
            row.labels = [(label.label, label.probability) for label in labels]
            row.bytes_out = 0
            yield loaded, row

    def _codec_of(self, file: Loaded) -> Codec:
        """The codec that a file is coded with."""
        entry = self.entry if file.container is None else weights.of(file.container.header)
        return api.loaded(entry, self.job.device)

    def _make_room(self, codec: Codec, group: list[Loaded]) -> None:
        """Wait for memory for the largest photo of a group, and use the cores that come with it."""
        parts = 1
        if codec.device.type == "cpu":
            needs = (
                memory.needed(codec.config, *loaded.size, effort=self.job.effort)
                for loaded in group
            )
            parts = parts_for(self.job, max(needs))
        if max(parts, self.has) > 1:  # a worker that keeps its one part does not have to ask
            self.ask(parts)
            self.has = parts
            torch.set_num_threads(parts * self.job.threads)

    def _encoded(self, codec: Codec, group: list[Loaded]) -> list[bytes]:
        """The group as bytes of `.tic` files.

        Empty if the group is a file that is only verified, and needs no new file to compare with.
        """
        assert self.target is not None
        first, pictures = group[0].item, pictures_of(group)
        sure = self.target.exact_times or why_kept(pictures[0].notes)
        if first.verify and sure:
            return []
        if isinstance(self.job.quality, Target):
            (loaded,) = group
            return [self._for_target(codec, loaded, self.job.quality)]
        return codec.encode_many(pictures, self.job.quality, self.job.effort)

    def _for_target(self, codec: Codec, loaded: Loaded, target: Target) -> bytes:
        """The bytes of a photo's `.tic` file that reaches a target, or comes nearest to it.

        Stores in `loaded` the PSNR or MS-SSIM that the file reaches, for its row.
        """
        assert loaded.picture is not None
        codec.check_picture(*loaded.size, self.job.effort)
        found = reach(codec, loaded.picture, target, self.job.effort)
        if target.measure in MEASURED:
            loaded.measured[MEASURED[target.measure]] = min(found.value, SAME_PSNR)
        if found.out_of_reach:
            text = f"asked for {target}, got {target.said(found.value)}"
            loaded.picture.notes.append(Note("target", text))
        return container.write(found.container)

    def _as_files(self, codec: Codec, group: list[Loaded]) -> list[Container]:
        """The group as `.tic` files. Images are encoded here."""
        if group[0].container is None:
            return codec.containers(pictures_of(group), self.job.quality)
        return [loaded.container for loaded in group if loaded.container is not None]

    def _later(self, write: Callable[..., Row], loaded: Loaded, *more: Any) -> Future[Row]:
        """Let a thread write an output. Returns a future of its row."""

        def attempt() -> Row:
            started = time.perf_counter()
            try:
                row = write(loaded, *more)
            except Exception as error:
                return self.failed(loaded.item, error)
            row.seconds += time.perf_counter() - started
            return row

        return self.threads.submit(attempt)

    def failed(self, item: Item, error: Exception) -> Row:
        """The row of a file that failed, with its error in one line."""
        text = " ".join(str(error).split())
        shown = self.source.shown(item.name)
        cause = error.__cause__ if isinstance(error, TicodecError) else error
        fatal = isinstance(cause, OSError) and cause.errno in USELESS
        if is_memory_short(error):
            text = "not enough memory for this image"
        elif not isinstance(error, TicodecError | OSError):
            text = f"internal error, please report it: {type(error).__name__}: {text}"
        text = text.removeprefix(f"{shown}: ")
        return Row.of(item, "failed", error=text, fatal=fatal)
