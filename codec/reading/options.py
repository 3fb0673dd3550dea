"""The options of reading a photo."""

from __future__ import annotations

from dataclasses import dataclass

#: The kinds of notes on metadata. With `strip` the photo's owner wants no metadata, so these notes
#: do not count as a loss.
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
        strip: leave out all metadata: EXIF, XMP, and the ICC profile after the colours were
            converted to sRGB.
        strip_location: leave out where the photo was taken, and keep all other metadata.
        allow_truncated: accept a JPEG whose end is missing. The missing part becomes grey.
    """

    strip: bool = False
    strip_location: bool = False
    allow_truncated: bool = False

    @property
    def left_out(self) -> str:
        """What the options leave out: "metadata", "location", or "" if nothing."""
        return "metadata" if self.strip else "location" if self.strip_location else ""


#: The defaults: everything that can be kept is kept.
PLAIN = Reading()
