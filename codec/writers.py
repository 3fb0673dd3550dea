"""The formats that decoded pictures are written in: one class for each, all of them in `WRITERS`.

image, quality, mark ─► Writer.write ─► bytes of a file

A new format is one class here and one entry of `WRITERS`: `decode`, `batch decode` and their
help find it there.
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

#: Name of the mark in a file, see `Writer.write`.
MARK = "ticodec"
#: Of PNG's compression, 1 … 9. 6, the usual one, takes 2.7 times as long on photos, 1.7 s more for
#: 12 megapixels, and makes them 3 % smaller.
LEVEL = 3
#: Errors of Pillow's plugins on pictures and metadata that a format cannot hold.
REFUSALS = (OSError, ValueError, RuntimeError, SyntaxError, KeyError, struct.error)


class Writer(ABC):
    """One output format.

    Attributes:
        name: as in messages. suffixes: of its files, the usual one first.
        side_max: longest side, pixels. alpha: whether it has transparency.
        lossy: whether it takes a quality. default_quality: None: lossless unless one is given.
        holds_mark: whether `save` writes the mark; else it follows the file (`trailer`).
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
        """A file's bytes.

        Args:
            image: "L", "LA", "RGB" or "RGBA"; its `info` may have "icc_profile", "exif", "xmp".
            quality: 1 … 100; None: the format's default.
            mark: a short ASCII text that viewers do not show and a later run can read.

        Raises UsageError when the format cannot hold the picture, or has no such quality.
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
        """The quality to write with. Raises UsageError when the format does not have it."""
        if quality is None:
            return self.default_quality
        if not self.lossy:
            lossy = ", ".join(writer.suffixes[0] for writer in WRITERS if writer.lossy)
            raise UsageError(f"{self.name} is lossless and has no `output_quality` ({lossy} have)")
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
            raise UsageError(f"`output_quality` must be from 1 to 100, not {quality}")
        return quality

    def check(self, width: int, height: int, alpha: bool) -> None:
        """Raises UsageError when the format cannot hold a picture of this size, or its alpha."""
        if alpha and not self.alpha:
            keep = ", ".join(writer.suffixes[0] for writer in WRITERS if writer.alpha)
            raise UsageError(
                f"the picture is transparent in places, and {self.name} cannot keep that; "
                f"these formats do: {keep}"
            )
        if max(width, height) > self.side_max:
            raise UsageError(
                f"{width}×{height} pixels are too many for {self.name}: "
                f"{self.side_max:,} a side at most; .png has no such limit"
            )


class Png(Writer):
    """Lossless. The mark is a text chunk."""

    name, suffixes, side_max, holds_mark = "PNG", (".png",), 2**31 - 1, True

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """XMP goes into the text chunk that Adobe defined for it."""
        chunks = PngInfo()
        if mark:
            chunks.add_text(MARK, mark)
        if "xmp" in image.info:
            # Not as text: it may have another encoding than UTF-8, and stays as it is.
            chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + image.info["xmp"])
        how = {"pnginfo": chunks, "compress_level": LEVEL, **dpi(image)}
        image.save(out, "PNG", **how, **kept(image, "icc_profile"), **raw_exif(image))


class WebP(Writer):
    """Lossless, or lossy with a quality. Grey becomes RGB: the format has no grey."""

    name, suffixes, side_max, lossy = "WebP", (".webp",), 16383, True

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """`exact` keeps colours where the picture is transparent. RGB needs a profile of RGB."""
        how: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
        how |= kept(image) | raw_exif(image)
        if "icc_profile" in how:
            how["icc_profile"] = icc.for_rgb(how["icc_profile"])
        image.save(out, "WEBP", exact=True, **how)


class Jpeg(Writer):
    """Lossy, with full colour resolution; neither alpha nor more than 64 KB of EXIF or XMP."""

    name, suffixes, side_max, alpha = "JPEG", (".jpg", ".jpeg"), 65500, False
    lossy, default_quality = True, 95

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """4:4:4, so that a second compression does not lose colour resolution."""
        how = {"quality": quality, "subsampling": "4:4:4", "optimize": True, **dpi(image)}
        how |= kept(image) | raw_exif(image)
        image.save(out, "JPEG", **how)
        try:
            Image.open(out)
        except UnidentifiedImageError:
            # Pillow looks for a resolution in the EXIF, which is damaged, unless JFIF has one.
            out.seek(0)
            out.truncate()
            image.save(out, "JPEG", **how | {"dpi": (72, 72)})


class Avif(Writer):
    """Lossy, with full colour resolution. Grey is stored as grey; older Pillows read it as RGB."""

    name, suffixes, side_max = "AVIF", (".avif",), 65535
    lossy, default_quality = True, 90

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """4:0:0 for grey, 4:4:4 for colours.

        Readers give RGBA for grey with alpha, which needs a profile of RGB.
        """
        grey = image.mode in ("L", "LA")
        how = kept(image) | {"quality": quality, "subsampling": "4:0:0" if grey else "4:4:4"}
        if image.mode == "LA" and "icc_profile" in how:
            how |= {"icc_profile": icc.for_rgb(how["icc_profile"]), "subsampling": "4:4:4"}
        exif = readable_exif(image)
        if tags := tags_of(image.info.get("exif")):
            # Pillow would write EXIF with an orientation anew, without its thumbnail.
            tags.remove(tags.first, ORIENTATION)
            exif = {key: tags.tobytes() for key in exif}
        image.save(out, "AVIF", **how, **exif)


class Tiff(Writer):
    """Lossless: deflated, or uncompressed for tags that libtiff cannot write, such as EXIF's."""

    name, suffixes, side_max = "TIFF", (".tif", ".tiff"), 2**31 - 1

    def save(self, image: Image.Image, out: BytesIO, quality: int | None, mark: str) -> None:
        """EXIF and XMP become tags of the TIFF file."""
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
            except REFUSALS:  # libtiff does not take one of the tags
                out.seek(0)
                out.truncate()
        image.save(out, "TIFF", compression="raw", **how)


WRITERS: tuple[Writer, ...] = (Png(), WebP(), Jpeg(), Avif(), Tiff())
#: The suffix of every format, the usual one; PNG, the default, is the first.
FORMATS = tuple(writer.suffixes[0].removeprefix(".") for writer in WRITERS)
DEFAULT = FORMATS[0]


def writer_of(format: str) -> Writer:
    """The writer of a format's name or a file's suffix: "jpg", ".jpeg". Raises UsageError."""
    suffix = f".{format.lower().removeprefix('.')}"
    for writer in WRITERS:
        if suffix in writer.suffixes:
            return writer
    raise UsageError(f"unknown output format {format!r}; known: {', '.join(FORMATS)}")


def suffixes() -> tuple[str, ...]:
    """All suffixes of all formats."""
    return tuple(suffix for writer in WRITERS for suffix in writer.suffixes)


def kept(image: Image.Image, *keys: str) -> dict[str, Any]:
    """Options of Pillow's `save` for metadata that is written unchanged; by default ICC and XMP."""
    return {key: image.info[key] for key in keys or ("icc_profile", "xmp") if key in image.info}


def raw_exif(image: Image.Image) -> dict[str, Any]:
    """Options of Pillow's `save` for EXIF that it writes byte for byte, even if it is damaged."""
    if "exif" not in image.info:
        return {}
    return {"exif": PREFIX + without_prefix(image.info["exif"])}


def dpi(image: Image.Image) -> dict[str, Any]:
    """Options of Pillow's `save` for the resolution in the EXIF, if there is one that counts."""
    tags = tags_of(image.info.get("exif"))
    found = resolution.of_exif(tags) if tags else None
    return {"dpi": found} if found else {}


def readable_exif(image: Image.Image) -> dict[str, Any]:
    """Options of Pillow's `save` for EXIF that it parses; none if it is damaged."""
    if "exif" not in image.info:
        return {}
    try:
        Image.Exif().load(image.info["exif"])
    except Exception:  # damaged EXIF raises many kinds, and is no reason to lose the picture
        return {}
    return {"exif": image.info["exif"]}


def trailer(mark: str, image: bytes) -> bytes:
    """A mark to append to an image's file, with the CRC-32 of that file.

    Readers of all formats ignore it: it is a `free` box as in AVIF.
    """
    text = f"{MARK} {mark} image {zlib.crc32(image):08x}".encode("ascii")
    return struct.pack(">I4s", 8 + len(text), b"free") + text


#: A trailer is at most this long, in bytes.
TRAILER_MAX = 128


def mark_in(file: bytes) -> str | None:
    """The mark of a trailer; None: there is none; "": the image before it is not what was written.

    A PNG has its mark elsewhere (`batch/provenance.py`).
    """
    start = f"free{MARK} ".encode()
    at = file.rfind(start, max(0, len(file) - TRAILER_MAX))
    if at < 4 or int.from_bytes(file[at - 4 : at], "big") != len(file) - at + 4:
        return None
    mark, _, expected = file[at + len(start) :].rpartition(b" image ")
    whole = expected == b"%08x" % zlib.crc32(file[: at - 4])
    return mark.decode("ascii", "replace") if whole else ""
