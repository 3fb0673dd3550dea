"""Outputs of a run: they are written, and photos deleted that their outputs can stand in for.

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
    """Writes the outputs of a job; several threads may do so at once.

    Args:
        source, target: the places of the job. encoder: what photos are encoded with; None: the job
            encodes none.
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
        """Write what was encoded; verify it and delete the source if the job says so."""
        assert loaded.picture is not None
        # Whether the photo may be deleted depends on the file's size. The origin says it, and so
        # changes that size: it is decided once, by the size before.
        kept = why_kept(loaded.picture.notes_with(len(data)))
        data = with_origin(data, self.origin(loaded, kept))
        self._write(loaded.item, data)
        header, _ = container.read_header(data, NO_LIMIT)
        row = loaded.done(len(data), header, self.codec.entry.name, seconds)
        if self.job.delete_source:
            self._verify_and_delete(loaded, data, row, kept)
        return row

    def verify_tic(self, loaded: Loaded, again: bytes | None = None) -> Row:
        """Verify an output that was up to date already, and delete its source.

        Before that, the output is marked as one that may soon be all that is left of the photo.
        `again`: the photo encoded anew, where the next of a series could look up to date.
        """
        before = self.target.read(loaded.item.output)
        assert loaded.picture is not None
        kept = why_kept(loaded.picture.notes_with(len(before)))
        file, origin = container.read(before, NO_LIMIT), self.origin(loaded, kept)
        if said := origin_of(file):  # it stays as it was encoded, perhaps with more effort
            origin = replace(origin, target=said.target, effort=said.effort)
        data = with_origin(before, origin)
        if again is not None and data != with_origin(again, origin):
            what = f"{loaded.item.output} may be of another photo of its name and size"
            raise TicodecError(f"{what}; rename the photo")
        if data != before:
            self._write(loaded.item, data)
        row = loaded.done(len(data), file.header, self.codec.entry.name, 0.0)
        self._verify_and_delete(loaded, data, row, kept)
        if not row.deleted:
            row.status = "skipped"  # it is up to date, and its source is still there
        return row

    def origin(self, loaded: Loaded, kept: str) -> Origin:
        """What a `.tic` of the job says of its photo. `kept`: why that stays; "": it may go."""
        deleted = self.job.delete_source and not kept
        suffix, left_out = PurePosixPath(loaded.item.name).suffix, self.job.reading.left_out
        target, effort = target_text(self.job.quality), self.job.effort
        return Origin(suffix, len(loaded.data), deleted, left_out, target, effort)

    def _write(self, item: Item, data: bytes) -> None:
        """Write an output with the modification time and the permissions of its source.

        Raises TicodecError when another file is in its place than when the run began: of a run at
        the same time, or of a folder that is a link to the same. Its photo may be deleted already.
        """
        now = self.target.look(item.output)
        if now is not None and not self.target.same(now, item.there):
            if self.target.read(item.output) != data:
                text = f"{item.output} was made by another program meanwhile, so it is kept; run again"
                raise TicodecError(text)
        else:
            attributes = Attributes(item.modified, item.permissions)
            self.target.write(item.output, data, attributes, new=now is None)

    def _verify_and_delete(self, loaded: Loaded, data: bytes, row: Row, kept: str) -> None:
        """Delete the source, unless something of it would be lost; the row says what.

        `kept`: what was decided before it was written: why the source stays; "": it may go.
        """
        row.kept = why_kept(row.notes) or kept
        if row.kept:
            return
        with self.verifying:  # one at a time, since each needs the memory of a decoder
            row.kept, row.psnr = self.verified(loaded, data)
        if row.kept:
            return
        self.source.delete(loaded.item.name)
        row.deleted = True

    def gone(self, item: Item) -> Row | None:
        """The row of a file that a worker finished just before it died.

        That worker checked the output and deleted the source. None for any other missing file.
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
        """Read a written file back, decode it, and compare it with the source, read anew.

        Raises TicodecError when the bytes are not those written, or the source has changed.
        """
        assert loaded.picture is not None
        item, job = loaded.item, self.job
        kept = f"{self.source.shown(item.name)}: kept, since"
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
        """Write a decoded picture, with a mark in it that names its `.tic` file's checksum."""
        writer, quality = writer_of(self.job.format), self.job.output_quality
        mark = mark_of(loaded.data, writer.checked_quality(quality))
        data = writer.write(picture.to_image(), quality, mark)
        self._write(loaded.item, data)
        assert loaded.container is not None
        row = loaded.done(len(loaded.data), loaded.container.header, model, seconds)
        row.bytes_out = len(data)
        return row
