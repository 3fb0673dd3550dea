"""Reads and changes XMP as bytes: its encoding, its orientation, and its place in GIF files.

XMP is XML, in most files in UTF-8. It keeps its encoding, and every byte that need not change.
"""

from __future__ import annotations

import re

#: The namespace of `tiff:Orientation`.
TIFF = "http://ns.adobe.com/tiff/1.0/"
#: The first bytes of XML in each encoding, the longer ones first.
BEGINNINGS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
#: The bytes before and after XMP in a GIF. Those after it lead readers to the end of the block.
IN_GIF, BEHIND_IN_GIF = b"!\xff\x0bXMP DataXMP", bytes([1, *range(255, -1, -1), 0])


def decoded(xmp: bytes) -> tuple[str, str]:
    """Decode XMP. Also returns the encoding that turns the text back into the same bytes."""
    encoding = next((name for begin, name in BEGINNINGS if xmp.startswith(begin)), "utf-8")
    try:
        return xmp.decode(encoding), encoding
    except UnicodeDecodeError:  # another encoding, or cut off: use one character per byte
        return xmp.decode("latin-1"), "latin-1"


def orientation(xmp: bytes) -> int | None:
    """The `tiff:Orientation`, 1 … 8, an attribute or an element. None if there is none."""
    text, _ = decoded(xmp)
    found = _orientation_in(text).search(text)
    return int(found[2]) if found else None


def upright(xmp: bytes) -> bytes:
    """Change every orientation in the XMP to 1. All other bytes stay unchanged."""
    text, encoding = decoded(xmp)
    return _orientation_in(text).sub(r"\g<1>1", text).encode(encoding)


def in_gif(gif: bytes) -> bytes | None:
    """The XMP of a GIF file, which Pillow does not read. None if it has none."""
    start = gif.find(IN_GIF)
    end = gif.find(BEHIND_IN_GIF, start)
    return None if start < 0 or end < 0 else gif[start + len(IN_GIF) : end]


def _orientation_in(text: str) -> re.Pattern[str]:
    """Make the pattern that finds orientations. Its second group is the digit.

    The prefix "tiff" counts even if it is not declared, because Pillow accepts it too.
    """
    declared = re.findall(rf"""xmlns:([\w.-]+)\s*=\s*["']{re.escape(TIFF)}["']""", text)
    name = f"(?:{'|'.join(sorted({'tiff', *map(re.escape, declared)}))}):Orientation"
    attribute, element = rf"""(?<![\w.:-]){name}\s*=\s*["']""", rf"<{name}(?:\s[^<>]*)?>"
    return re.compile(rf"""((?:{attribute}|{element})\s*)([1-8])(?=\s*["'<])""")
