"""Writes the outputs of a run, and deletes photos that their outputs can replace.

`.tic` bytes ─► with the photo's origin ─► written ─┬─► row
                                                    └─► read back, verified ─► photo deleted ─► row
picture ─► image file with its mark ─► written ─► row
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import PurePosixPath

from ticodec import container
from ticodec.codec import Codec
from ticodec.errors import TicodecError
from ticodec.files import Attributes
from ticodec.picture import Picture
from ticodec.writers import writer_of

from .loaded import Loaded, quality_of
from .messages import Item, Job, Row
from .provenance import NO_LIMIT, Origin, mark_of, origin_of, target_text, with_origin
from .storage import Place
from .verification import Verdict, verify, why_kept


class Outputs:
    """Writes the outputs of a job. Several threads may do this at once.

    Args:
        source, target: the places of the job.
        encoder: the codec that encodes photos, or None if the job encodes none.
    """

    def __init__(self, job: Job, source: Place, target: Place, encoder: Codec | None) -> None:
        self.job, self.source, self.target, self.encoder = job, source, target, encoder
        self.verifying = threading.Lock()

    @property
    def codec(self) -> Codec:
        """The codec of a job that encodes."""
        assert self.encoder is not None
        return self.encoder

    def write_tic(self, loaded: Loaded, data: bytes, seconds: float) -> Row:
        """Write an encoded photo. Verify it and delete the source if the job asks for it."""
        assert loaded.picture is not None
        # Whether the photo may be deleted depends on the size of the file. The origin stores this
        # decision and so changes the size. It is decided once, from the size without the origin.
        kept = why_kept(loaded.picture.notes_with(len(data)))
        data = with_origin(data, self.origin(loaded, kept))
        self._write(loaded.item, data)
        header, _ = container.read_header(data, NO_LIMIT)
        row = loaded.done(len(data), header, self.codec.entry.name, seconds)
        if self.job.delete_source:
            self._verify_and_delete(loaded, data, row, kept)
        return row

    def verify_tic(self, loaded: Loaded, again: bytes | None = None) -> Row:
        """Verify an output that was already up to date, and delete its source.

        Before the source is deleted, the output is marked as possibly all that is left of the
        photo.

        Args:
            again: the photo encoded again, or None. It is given if the target does not keep exact
                times, because the file of another photo of a series could then look up to date. The
                output must be equal to it.

        Raises TicodecError when the output may belong to another photo.
        """
        before = self.target.read(loaded.item.output)
        assert loaded.picture is not None
        kept = why_kept(loaded.picture.notes_with(len(before)))
        file, origin = container.read(before, NO_LIMIT), self.origin(loaded, kept)
        if stored := origin_of(file):  # it stays as it was encoded, perhaps with more effort
            origin = replace(origin, target=stored.target, effort=stored.effort)
        data = with_origin(before, origin)
        if again is not None and data != with_origin(again, origin):
            what = f"{loaded.item.output} may belong to another photo of the same name and size"
            raise TicodecError(f"{what}; rename the photo")
        if data != before:
            self._write(loaded.item, data)
        row = loaded.done(len(data), file.header, self.codec.entry.name, 0.0)
        self._verify_and_delete(loaded, data, row, kept)
        if not row.deleted:
            row.status = "skipped"  # it is up to date, and its source still exists
        return row

    def origin(self, loaded: Loaded, kept: str) -> Origin:
        """What a `.tic` file of the job stores about its photo.

        Args:
            kept: why the photo must not be deleted, or "" if it may be deleted.
        """
        deleted = self.job.delete_source and not kept
        suffix, left_out = PurePosixPath(loaded.item.name).suffix, self.job.reading.left_out
        target, effort = target_text(self.job.quality), self.job.effort
        return Origin(suffix, len(loaded.data), deleted, left_out, target, effort)

    def _write(self, item: Item, data: bytes) -> None:
        """Write an output with the modification time and the permissions of its source.

        Raises TicodecError when the file in its place has changed since the run began. Another run
        may have written it, or this run through a folder that is a link to the same folder. The
        photo of that file may already be deleted.
        """
        now = self.target.look(item.output)
        if now is not None and not self.target.same(now, item.there):
            if self.target.read(item.output) != data:
                text = "was written by something else meanwhile, so it stays; run again"
                raise TicodecError(f"{item.output} {text}")
        else:
            attributes = Attributes(item.modified, item.permissions)
            self.target.write(item.output, data, attributes, new=now is None)

    def _verify_and_delete(self, loaded: Loaded, data: bytes, row: Row, kept: str) -> None:
        """Delete the source, unless something of it would be lost. The row then says what.

        Args:
            kept: what was decided before the output was written: why the source must not be
                deleted, or "" if it may be deleted.
        """
        row.kept = why_kept(row.notes) or kept
        if row.kept:
            return
        with self.verifying:  # one at a time, because each needs the memory of a decoder
            row.kept, row.psnr = self.verified(loaded, data)
        if row.kept:
            return
        self.source.delete(loaded.item.name)
        row.deleted = True

    def gone(self, item: Item) -> Row | None:
        """The row of a missing source file that a worker finished just before it died.

        That worker checked the output and deleted the source. Returns None if the source is missing
        for any other reason.
        """
        if not self.job.delete_source:
            return None
        try:
            output = self.target.look(item.output)
            if self.source.look(item.name) is not None or output is None:
                return None
            header = container.read(self.target.read(item.output), NO_LIMIT).header
        except TicodecError:
            return None
        ours = (
            header.fingerprint == self.codec.entry.fingerprint and output.modified == item.modified
        )
        if not ours:
            return None
        pixels = header.width * header.height
        size = {"width": header.width, "height": header.height, "bytes_out": output.size}
        bpp, quality, model = output.size * 8 / pixels, quality_of(header), self.codec.entry.name
        return Row.of(item, "done", deleted=True, bpp=bpp, quality=quality, model=model, **size)

    def verified(self, loaded: Loaded, data: bytes) -> Verdict:
        """Read a written file back, decode it, and compare it with the source, which is read again.

        Raises TicodecError when the bytes are not those that were written, or the source has
        changed.
        """
        assert loaded.picture is not None
        item, job = loaded.item, self.job
        kept = f"{self.source.shown(item.name)}: kept, because"
        if self.target.read(item.output) != data:
            raise TicodecError(f"{kept} {item.output} does not read back as it was written")
        photo, now = self.source.read(item.name), self.source.look(item.name)
        if photo != loaded.data or now is None or now.modified != item.modified:
            raise TicodecError(f"{kept} it has changed in the meantime; run again")
        decoded = self.codec.decode(data, max_pixels=job.max_pixels)
        verdict = verify(photo, loaded.picture, decoded, job.reading, job.max_pixels)
        if self.source.look(item.name) != now:
            raise TicodecError(f"{kept} it has changed in the meantime; run again")
        return verdict

    def write_image(self, loaded: Loaded, picture: Picture, model: str, seconds: float) -> Row:
        """Write a decoded picture with a mark that holds the checksum of its `.tic` file."""
        writer, quality = writer_of(self.job.format), self.job.output_quality
        mark = mark_of(loaded.data, writer.checked_quality(quality))
        data = writer.write(picture.to_image(), quality, mark)
        self._write(loaded.item, data)
        assert loaded.container is not None
        row = loaded.done(len(loaded.data), loaded.container.header, model, seconds)
        row.bytes_out = len(data)
        return row
