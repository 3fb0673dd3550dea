"""Finds what a PNG has besides its picture: in its chunks, and after its end."""

from __future__ import annotations

from PIL import Image

from ..metadata import exif_of, xmp_of
from .behind import look_behind
from .found import Found
from .png_chunks import chunks
from .steps import number, steps

#: Chunks that are kept: pixels, alpha, colours, EXIF and resolution.
KEPT = {
    b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"eXIf",
    b"pHYs",
}  # fmt: skip
#: Chunks that need no note. In this order: a background for transparent parts, how often colours
#: occur, colours for simple screens, how many bits there were before, where the picture lies on a
#: page (two chunks), and how the data can be inflated in parallel.
IGNORED = {b"bKGD", b"hIST", b"sPLT", b"sBIT", b"oFFs", b"vpAg", b"iDOT"}
XMP = "XML:com.adobe.xmp"
#: The keywords of texts that contain XMP. The second one is ImageMagick's.
XMP_TEXTS = (XMP, "Raw profile type xmp")
EXIF_TEXT = "Raw profile type exif"
#: The kinds of notes for texts that contain metadata, by keyword. Most are ImageMagick's. Its EXIF
#: is kept, so it needs no note.
METADATA = {
    XMP: "xmp",  # it is lost if Pillow could not read the chunk
    EXIF_TEXT: "",
    "Raw profile type APP1": "exif",
    "Raw profile type iptc": "iptc",
    "Raw profile type 8bim": "photoshop",
    "Raw profile type xmp": "xmp",
    "Raw profile type icc": "colour",
    "Raw profile type icm": "colour",
}
#: The most chunks. A PNG of 800 MB has that many, with the usual 8 kB of pixels in each.
MOST_CHUNKS = 100_000


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a PNG has besides its picture. Raises TooManySteps."""
    frames = 0
    pixels = False
    for (name, start, end), _ in zip(chunks(data), steps(MOST_CHUNKS), strict=False):
        if name == b"IEND":
            look_behind(data, min(end + 4, len(data)), found)
            break
        if name == b"IHDR" and number(data, start + 8, 1) > 8:
            found.add("bits", str(number(data, start + 8, 1)))
        elif name == b"IDAT":
            if not pixels and frames:  # the picture is the first frame of the animation
                frames -= 1
            pixels = True
        elif name == b"fcTL":
            frames += 1
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            _look_at_text(data[start : min(end, start + 80)], image, found)
        elif name == b"caBX":
            found.add("credentials")
        elif name not in KEPT | IGNORED | {b"acTL", b"fdAT"}:
            found.add("metadata", name.decode("latin-1"))
    found.add("frames", "frame", frames)


def _look_at_text(head: bytes, image: Image.Image, found: Found) -> None:
    """Find what a text chunk contains, by its keyword."""
    keyword = head.partition(b"\0")[0].decode("latin-1")
    if keyword in XMP_TEXTS and xmp_of(image):
        return  # kept
    if keyword == EXIF_TEXT and not exif_of(image, []):
        found.add("exif")
        return
    kind = METADATA.get(keyword, "text")
    if kind == "text":
        found.add("text", keyword)
    elif kind:
        found.add(kind)
