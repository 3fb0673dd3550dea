"""How a photo is read, as its owner wishes."""

from __future__ import annotations

from dataclasses import dataclass

#: Kinds of notes on metadata. With `strip` its owner wants it to go, so it is no loss.
METADATA = {
    "credentials",
    "dpi",
    "exif",
    "iptc",
    "metadata",
    "photoshop",
    "text",
    "thumbnail",
    "xmp",
}


@dataclass(frozen=True)
class Reading:
    """Options of reading a photo.

    Args:
        strip: leave out all metadata: EXIF, XMP, and an ICC profile once the colours are sRGB.
        strip_location: leave out where the photo was taken, and keep the rest.
        allow_truncated: take a JPEG whose end is missing; what is missing becomes grey.
    """

    strip: bool = False
    strip_location: bool = False
    allow_truncated: bool = False

    @property
    def left_out(self) -> str:
        """What is left out by wish: "metadata", "location" or "", nothing."""
        return "metadata" if self.strip else "location" if self.strip_location else ""


#: The usual way: everything that can be kept is kept.
PLAIN = Reading()
