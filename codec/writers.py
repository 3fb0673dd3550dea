"""The formats that decoded pictures are written in. Each has a class, and an entry in `WRITERS`.

image, quality, mark ─► Writer.write ─► bytes of a file

To add a format, write a class and add it to `WRITERS`. The commands `decode` and `batch decode` and
their help find it there.
"""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .errors import UsageError
from .reading.colours import icc
from .reading.tags import resolution
from .reading.tags.exif import ORIENTATION, PREFIX, tags_of, without_prefix
from .reading.tags.tiff_tags import BLOCKS, of_photo

#: The name of the mark in a file, see `Writer.write`.
MARK = "ticodec"
#: The level of PNG compression, 1 … 9. Level 6, which is usual, takes 2.7 times as long for photos
#: (1.7 s more for 12 megapixels) and makes the files 3 % smaller.
LEVEL = 3
#: The errors that Pillow's plugins raise if a format cannot hold a picture or its metadata.
REFUSALS = (OSError, ValueError, RuntimeError, SyntaxError, KeyError, struct.error)


class Writer(ABC):
    """One output format.

    Attributes:
        name: the format's name in messages.
        suffixes: the suffixes of its files, the usual one first.
        side_max: the longest side that it allows, in pixels.
        alpha: whether it can be transparent.
        lossy: whether it takes a quality.
        default_quality: the quality if none is given. None means lossless.
        holds_mark: whether `save` writes the mark. If not, the mark follows the file (`trailer`).
    """

    name: str
    suffixes: tuple[str, ...]
    side_max: int
    alpha = True
    lossy = False
    default_quality: int | None = None
    holds_mark = False

    @abstractmethod
    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """Write the image with the ICC profile, EXIF and XMP of its `info`.

        Formats with `holds_mark` write the mark too; others ignore it.
        """

    def write(self, image: Image.Image, quality: int | None = None, mark: str = "") -> bytes:
        """Write an image. Returns the bytes of the file.

        Args:
            image: "L", "LA", "RGB" or "RGBA". Its `info` may have "icc_profile", "exif", "xmp".
            quality: 1 … 100. None means the format's default.
            mark: a short ASCII text that viewers do not show. A later run can read it.

        Raises UsageError if the format cannot hold the picture, or does not have the quality.
        """
        quality = self.checked_quality(quality)
        self.check(image.width, image.height, "A" in image.getbands())
        out = BytesIO()
        try:
            self.save(image, out, quality, mark)
        except REFUSALS as error:
            raise UsageError(f"cannot be written as {self.name}: {error}") from error
        data = out.getvalue()
        return data + (trailer(mark, data) if mark and not self.holds_mark else b"")

    def checked_quality(self, quality: int | None) -> int | None:
        """Return the quality to write with. Raises UsageError if the format does not have it."""
        if quality is None:
            return self.default_quality
        if not self.lossy:
            lossy = ", ".join(writer.suffixes[0] for writer in WRITERS if writer.lossy)
            raise UsageError(
                f"{self.name} is lossless and takes no `output_quality`; these formats do: {lossy}"
            )
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
            raise UsageError(f"`output_quality` must be from 1 to 100, not {quality}")
        return quality

    def check(self, width: int, height: int, alpha: bool) -> None:
        """Raises UsageError if the format cannot hold a picture of this size, or its alpha."""
        if alpha and not self.alpha:
            keep = ", ".join(writer.suffixes[0] for writer in WRITERS if writer.alpha)
            raise UsageError(
                f"the picture has transparent parts, which {self.name} cannot keep; "
                f"these formats can: {keep}"
            )
        if max(width, height) > self.side_max:
            raise UsageError(
                f"{width}×{height} pixels are too many for {self.name}, which allows at most "
                f"{self.side_max:,} per side; .png has no such limit"
            )


class Png(Writer):
    """PNG is lossless. The mark is a text chunk."""

    name, suffixes, side_max, holds_mark = "PNG", (".png",), 2**31 - 1, True

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """Write XMP into the text chunk that Adobe defined for it."""
        chunks = PngInfo()
        if mark:
            chunks.add_text(MARK, mark)
        if "xmp" in image.info:
            # Pillow's `add_text` would encode it as UTF-8, but it may have another encoding.
            chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + image.info["xmp"])
        how = {"pnginfo": chunks, "compress_level": LEVEL, **dpi(image)}
        image.save(out, "PNG", **how, **kept(image, "icc_profile"), **raw_exif(image))


class WebP(Writer):
    """WebP is lossless, or lossy if a quality is given. It has no grey, so grey becomes RGB."""

    name, suffixes, side_max, lossy = "WebP", (".webp",), 16383, True

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """Keep the colours of transparent pixels (`exact`), and write a profile for RGB."""
        how: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
        how |= kept(image) | raw_exif(image)
        if "icc_profile" in how:
            how["icc_profile"] = icc.for_rgb(how["icc_profile"])
        image.save(out, "WEBP", exact=True, **how)


class Jpeg(Writer):
    """JPEG is lossy. It has no alpha, and at most 64 KB each of EXIF and XMP."""

    name, suffixes, side_max, alpha = "JPEG", (".jpg", ".jpeg"), 65500, False
    lossy, default_quality = True, 95

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """Write at full colour resolution (4:4:4), so that recompression does not reduce it."""
        how = {"quality": quality, "subsampling": "4:4:4", "optimize": True, **dpi(image)}
        how |= kept(image) | raw_exif(image)
        image.save(out, "JPEG", **how)
        try:
            Image.open(out)
        except UnidentifiedImageError:
            # Unless the JFIF header has a resolution, Pillow looks for one in the damaged EXIF.
            out.seek(0)
            out.truncate()
            image.save(out, "JPEG", **how | {"dpi": (72, 72)})


class Avif(Writer):
    """AVIF is lossy. Grey is stored as grey, but older versions of Pillow read it as RGB."""

    name, suffixes, side_max = "AVIF", (".avif",), 65535
    lossy, default_quality = True, 90

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """Write grey as 4:0:0, and colours at full resolution (4:4:4).

        Readers return RGBA for grey with alpha, which needs a profile for RGB.
        """
        grey = image.mode in ("L", "LA")
        how = kept(image) | {"quality": quality, "subsampling": "4:0:0" if grey else "4:4:4"}
        if image.mode == "LA" and "icc_profile" in how:
            how |= {"icc_profile": icc.for_rgb(how["icc_profile"]), "subsampling": "4:4:4"}
        exif = readable_exif(image)
        if tags := tags_of(image.info.get("exif")):
            # If the EXIF had an orientation, Pillow would rewrite it and lose the thumbnail.
            tags.remove(tags.first, ORIENTATION)
            exif = {key: tags.tobytes() for key in exif}
        image.save(out, "AVIF", **how, **exif)


class Tiff(Writer):
    """TIFF is lossless. It is deflated, unless it has tags that libtiff cannot write (EXIF)."""

    name, suffixes, side_max = "TIFF", (".tif", ".tiff"), 2**31 - 1

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """Write EXIF and XMP as tags of the TIFF file."""
        tags, exif = ImageFileDirectory_v2(), Image.Exif()
        if readable := readable_exif(image):
            exif.load(readable["exif"])
            for tag, value in of_photo(exif)[0].items():
                tags[tag] = value
        if "xmp" in image.info:
            tags[700] = image.info["xmp"]
        how = {"tiffinfo": tags, **kept(image, "icc_profile")}
        if not any(block in tags for block in BLOCKS):
            try:
                image.save(out, "TIFF", compression="tiff_adobe_deflate", **how)
                return
            except REFUSALS:  # libtiff cannot write one of the tags
                out.seek(0)
                out.truncate()
        image.save(out, "TIFF", compression="raw", **how)


WRITERS: tuple[Writer, ...] = (Png(), WebP(), Jpeg(), Avif(), Tiff())
#: The usual suffix of each format. The first one, PNG, is the default.
FORMATS = tuple(writer.suffixes[0].removeprefix(".") for writer in WRITERS)
DEFAULT = FORMATS[0]


def writer_of(format: str) -> Writer:
    """Find the writer for a format's name or a file's suffix: "jpg", ".jpeg".

    Raises UsageError if there is none.
    """
    suffix = f".{format.lower().removeprefix('.')}"
    for writer in WRITERS:
        if suffix in writer.suffixes:
            return writer
    raise UsageError(f"unknown output format {format!r}; known: {', '.join(FORMATS)}")


def suffixes() -> tuple[str, ...]:
    """The suffixes of all formats."""
    return tuple(suffix for writer in WRITERS for suffix in writer.suffixes)


def kept(image: Image.Image, *keys: str) -> dict[str, Any]:
    """Options of Pillow's `save` for metadata that it writes unchanged. By default ICC and XMP."""
    return {key: image.info[key] for key in keys or ("icc_profile", "xmp") if key in image.info}


def raw_exif(image: Image.Image) -> dict[str, Any]:
    """Options of Pillow's `save` for EXIF that it writes byte for byte, even if it is damaged."""
    if "exif" not in image.info:
        return {}
    return {"exif": PREFIX + without_prefix(image.info["exif"])}


def dpi(image: Image.Image) -> dict[str, Any]:
    """Options of Pillow's `save` for the resolution in the EXIF. Empty if it has none to keep."""
    tags = tags_of(image.info.get("exif"))
    found = resolution.of_exif(tags) if tags else None
    return {"dpi": found} if found else {}


def readable_exif(image: Image.Image) -> dict[str, Any]:
    """Options of Pillow's `save` for EXIF that Pillow parses. Empty if the EXIF is damaged."""
    if "exif" not in image.info:
        return {}
    try:
        Image.Exif().load(image.info["exif"])
    except Exception:  # damaged EXIF raises many kinds of errors; the picture is written without it
        return {}
    return {"exif": image.info["exif"]}


def trailer(mark: str, image: bytes) -> bytes:
    """Make the trailer to append to the file of an image. It has a mark, and the file's CRC-32.

    The trailer is a `free` box, as in AVIF. Readers of other formats ignore it too.
    """
    text = f"{MARK} {mark} image {zlib.crc32(image):08x}".encode("ascii")
    return struct.pack(">I4s", 8 + len(text), b"free") + text


#: The longest trailer, in bytes.
TRAILER_MAX = 128


def mark_in(file: bytes) -> str | None:
    """Read the mark in the trailer of a file. PNG has its mark elsewhere (`batch/provenance.py`).

    Returns:
        The mark. None if there is no trailer. "" if the file in front of it was changed.
    """
    start = f"free{MARK} ".encode()
    at = file.rfind(start, max(0, len(file) - TRAILER_MAX))
    if at < 4 or int.from_bytes(file[at - 4 : at], "big") != len(file) - at + 4:
        return None
    mark, _, expected = file[at + len(start) :].rpartition(b" image ")
    whole = expected == b"%08x" % zlib.crc32(file[: at - 4])
    return mark.decode("ascii", "replace") if whole else ""
