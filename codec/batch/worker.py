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
from pathlib import PurePosixPath
from typing import Any

import torch

from ticodec import api, container, memory, weights
from ticodec.codec import Codec
from ticodec.container import Container
from ticodec.entropy.wavefront import width_of_steps
from ticodec.errors import TicodecError, is_memory_short
from ticodec.models.config import STRIDE_Y
from ticodec.picture import Picture
from ticodec.reading.read import read_picture
from ticodec.writers import writer_of

from .loaded import Loaded, pictures_of
from .messages import Item, Job, Row
from .parts import parts_for
from .provenance import NO_LIMIT, Origin, mark_of, with_origin
from .storage import Place, place
from .verification import Verdict, verify, why_kept

#: Files are coded together until a step of their wavefronts has this many positions on average.
#: Eight photos of 768×512 then take 0.6 of the time (tests/benchmarks/bench_batch.py groups).
GROUP_WIDTH = 64.0
#: How many files are read ahead of those being coded; how many threads read and write.
AHEAD, THREADS = 4, 4
#: The most pixels that wait to be coded, and the most that wait to be written; 3 bytes a pixel.
MANY_PIXELS = 48_000_000
#: System errors after which every other file would fail too.
USELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Worker:
    """Does items of a job and yields a row for each.

    Args:
        job: what to do. `plan.check` must have accepted it.
        ask: waits for so many parts of the machine, see `parts`.
    """

    def __init__(self, job: Job, ask: Callable[[int], None] = lambda parts: None) -> None:
        torch.set_num_threads(job.threads)
        if job.memory is not None:
            memory.set_memory(job.memory)
        self.job, self.ask, self.has = job, ask, 1
        self.source = place(job.source, job.follow_links)
        self.target: Place | None = None if job.target is None else place(job.target)
        self.encoder: Codec | None = None
        if job.action != "decode":
            self.entry = job.entry()
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
        """Do these files; yields a row as soon as a file is done, roughly in their order."""
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
                # Pictures stay in memory until they are written: bound their pixels.
                while writing[0][1].done() or sum(pixels for pixels, _ in writing) > MANY_PIXELS:
                    yield writing.popleft()[1].result()
                    if not writing:
                        break
        for _, future in writing:
            yield future.result()

    # -- reading ----------------------------------------------------------------------

    def groups(self, items: Sequence[Item]) -> Iterator[list[Loaded] | Row]:
        """Read files ahead, in groups to be coded together; yields the row of a file that fails."""
        waiting = deque(items)
        reading: deque[tuple[Item, Future[Loaded]]] = deque()
        group: list[Loaded] = []
        width, pixels = 0.0, 0
        while waiting or reading:
            # Photos of one tree are alike: the size of the last decides how many are read ahead.
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
        """Whether two files can be coded together, by the same network."""
        if first.item.verify or other.item.verify:
            return False
        if first.container is None or other.container is None:
            return first.container is other.container
        return first.container.header.fingerprint == other.container.header.fingerprint

    def load(self, item: Item) -> Loaded:
        """Read a file and parse or decode it. Raises TicodecError when the job cannot use it."""
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
            # Now others may be at work: what they have is free when this is coded.
            have = None if self.job.part is None else self.job.part * self.job.parts
            check = api.room_for(self.entry, self.job.device, have)
            loaded.picture = read_picture(data, self.job.max_pixels, check, self.job.reading)
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
        # Not inside the except block, where the error keeps the group's tensors in memory.
        for loaded in group:
            if loaded.item.name not in ended:
                yield from self.attempt([loaded])

    def together(self, group: list[Loaded]) -> Iterator[tuple[Loaded, Row | Future[Row]]]:
        """Code a group; yields rows, or futures of rows while threads write the outputs.

        Raises any error.
        """
        codec = self._codec_of(group[0])
        self._make_room(codec, group)
        started = time.perf_counter()
        if self.job.action == "encode":
            files = self._encoded(codec, group)
            if group[0].item.verify:
                yield group[0], self._later(self.verify_tic, group[0], *files)
                return
            share = (time.perf_counter() - started) / len(group)
            for loaded, data in zip(group, files, strict=True):
                yield loaded, self._later(self.write_tic, loaded, data, share)
            return
        containers = self._as_files(codec, group)
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
            row.notes = []  # of encoding, which nobody asked for here
            row.labels = [(label.label, label.probability) for label in labels]
            row.bytes_out = 0
            yield loaded, row

    def _codec_of(self, file: Loaded) -> Codec:
        """The codec that a file is coded with."""
        entry = self.entry if file.container is None else weights.of(file.container.header)
        return api.loaded(entry, self.job.device)

    def _make_room(self, codec: Codec, group: list[Loaded]) -> None:
        """Wait until there is memory for the largest photo of a group; take its cores too."""
        parts = 1
        if codec.device.type == "cpu":
            needs = (memory.needed(codec.config, *loaded.size) for loaded in group)
            parts = parts_for(self.job, max(needs))
        if max(parts, self.has) > 1:  # with one, others do not have to wait
            self.ask(parts)
            self.has = parts
            torch.set_num_threads(parts * self.job.threads)

    def _encoded(self, codec: Codec, group: list[Loaded]) -> list[bytes]:
        """A group as bytes of `.tic` files; none for one that is there and has its photo's time."""
        assert self.target is not None
        first, pictures = group[0].item, pictures_of(group)
        sure = self.target.exact_times or why_kept(pictures[0].notes)
        return [] if first.verify and sure else codec.encode_many(pictures, self.job.quality)

    def _as_files(self, codec: Codec, group: list[Loaded]) -> list[Container]:
        """A group as `.tic` files; other images are encoded here."""
        if group[0].container is None:
            return codec.containers(pictures_of(group), self.job.quality)
        return [loaded.container for loaded in group if loaded.container is not None]

    def _later(self, write: Callable[..., Row], loaded: Loaded, *more: Any) -> Future[Row]:
        """Let a thread write an output; the future gives its row."""

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
        data = with_origin(data, self._origin(loaded))
        self._write(loaded.item, data)
        row = self.done(loaded, len(data), self.entry.name, seconds)
        if self.job.delete_source:
            self._verify_and_delete(loaded, data, row)
        return row

    def verify_tic(self, loaded: Loaded, again: bytes | None = None) -> Row:
        """Verify an output that was up to date already, and delete its source.

        Before that, the output is marked as one that may soon be all that is left of the photo.
        `again`: the photo encoded anew, where the next of a series could look up to date.
        """
        assert self.target is not None
        before = self.target.read(loaded.item.output)
        data = with_origin(before, self._origin(loaded))
        if again is not None and data != with_origin(again, self._origin(loaded)):
            what = f"{loaded.item.output} may be of another photo of its name and size"
            raise TicodecError(f"{what}; rename the photo")
        if data != before:
            self._write(loaded.item, data)
        row = self.done(loaded, len(data), self.entry.name, 0.0)
        self._verify_and_delete(loaded, data, row)
        if not row.deleted:
            row.status = "skipped"  # it is up to date, and its source is still there
        return row

    def _origin(self, loaded: Loaded) -> Origin:
        """What a `.tic` says of its photo."""
        assert loaded.picture is not None
        deleted = self.job.delete_source and not why_kept(loaded.picture.notes)
        suffix, left_out = PurePosixPath(loaded.item.name).suffix, self.job.reading.left_out
        return Origin(suffix, len(loaded.data), deleted, left_out)

    def _write(self, item: Item, data: bytes) -> None:
        """Write an output, with the time and the permissions of its source.

        Raises TicodecError when another file is in its place than when the run began: of a run at
        the same time, or of a folder that is a link to the same. Its photo may be deleted already.
        """
        assert self.target is not None
        now = self.target.look(item.output)
        if now is not None and not self.target.same(now, item.there):
            if self.target.read(item.output) != data:
                text = f"{item.output} was made by something else meanwhile, and stays; run again"
                raise TicodecError(text)
        else:
            self.target.write(item.output, data, item.modified, item.permissions, new=now is None)

    def _verify_and_delete(self, loaded: Loaded, data: bytes, row: Row) -> None:
        """Delete the source, unless something of it would be lost; the row says what."""
        row.kept = why_kept(row.notes)
        if row.kept:
            return
        with self.verifying:  # one at a time, since each needs the memory of a decoder
            row.kept, row.psnr = self.verified(loaded, data)
        if row.kept:
            return
        self.source.delete(loaded.item.name)
        row.deleted = True

    def _gone(self, item: Item) -> Row | None:
        """The row of a file that a worker finished just before it died.

        That worker checked the output and deleted the source. None for any other missing file.
        """
        if not self.job.delete_source or self.target is None:
            return None
        try:
            output = self.target.look(item.output)
            if self.source.look(item.name) is not None or output is None:
                return None
            header = container.read(self.target.read(item.output), NO_LIMIT).header
        except TicodecError:
            return None
        ours = header.fingerprint == self.entry.fingerprint and output.modified == item.modified
        if not ours:
            return None
        pixels = header.width * header.height
        size = {"width": header.width, "height": header.height, "bytes_out": output.size}
        bpp = output.size * 8 / pixels
        return Row.of(item, "done", deleted=True, bpp=bpp, model=self.entry.name, **size)

    def verified(self, loaded: Loaded, data: bytes) -> Verdict:
        """Read a written file back, decode it, and compare it with the source, read anew.

        Raises TicodecError when the bytes are not those written, or the source has changed.
        """
        assert self.target is not None
        assert self.encoder is not None
        assert loaded.picture is not None
        item, job = loaded.item, self.job
        kept = f"{self.source.shown(item.name)}: kept, since"
        if self.target.read(item.output) != data:
            raise TicodecError(f"{kept} {item.output} does not read back as it was written")
        photo, now = self.source.read(item.name), self.source.look(item.name)
        if photo != loaded.data or now is None or now.modified != item.modified:
            raise TicodecError(f"{kept} it has changed in the meantime; run again")
        decoded = self.encoder.decode(data, max_pixels=job.max_pixels)
        verdict = verify(photo, loaded.picture, decoded, job.reading, job.max_pixels)
        if self.source.look(item.name) != now:
            raise TicodecError(f"{kept} it has changed in the meantime; run again")
        return verdict

    def write_image(self, loaded: Loaded, picture: Picture, model: str, seconds: float) -> Row:
        """Write a decoded picture, with a mark in it that names its `.tic` file's checksum."""
        writer, quality = writer_of(self.job.format), self.job.output_quality
        mark = mark_of(loaded.data, writer.checked_quality(quality))
        data = writer.write(picture.to_image(), quality, mark)
        self._write(loaded.item, data)
        row = self.done(loaded, len(loaded.data), model, seconds)
        row.bytes_out = len(data)
        return row

    def done(self, loaded: Loaded, tic: int, model: str, seconds: float) -> Row:
        """The row of a file that was done; `tic`: size of its `.tic` in bytes, read or written."""
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
            notes=[] if loaded.picture is None else loaded.picture.notes_with(tic),
        )

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
