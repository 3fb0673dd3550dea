"""The `.tic` container, version 1. `docs/format.md` describes every byte. Imports no torch.

header:   magic · version · model · weights fingerprint · quality · mode · size · CRC of symbols ·
          CRC-32
section:  type (bit 7 is set in the last section) · length · payload · CRC-32

The sections z and y come first, then the optional ones.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from dataclasses import dataclass, field

from . import sections
from .errors import BadInputError
from .models.families import MODEL_IDS

#: The first bytes of every file. They are not valid UTF-8. As in PNG, a transfer that converts line
#: endings damages their CR LF.
MAGIC = b"\x89TIC\r\n"
VERSION = 1
#: The fields of fixed size after the magic: version, model, fingerprint, quality, mode.
FIXED = struct.Struct("<BB4sHB")
#: A stored quality is the quality times this.
QUALITY_STEPS = 4096
SIDE_MAX = (1 << 28) - 1
#: Images with more pixels are refused before anything is allocated, unless the caller allows more.
MAX_PIXELS = 512_000_000

MODES = ("RGB", "L")
LAST = 0x80


@dataclass
class Header:
    """The fields of a file before its sections.

    Args:
        model: the number of the model in `MODEL_IDS`.
        fingerprint: the first 4 bytes of the SHA-256 of the weights.
        quality: in units of 1/4096; 0 for a model of one fixed λ.
        mode: an index of `MODES`.
        width, height: in pixels.
        symbols: the CRC of the decoded symbols, see `symbol_crc`.
    """

    model: int
    fingerprint: bytes
    quality: int
    mode: int
    width: int
    height: int
    symbols: int

    @property
    def model_name(self) -> str:
        """The model's stable name, or a text with its number if this version does not know it."""
        names = {number: name for name, number in MODEL_IDS.items()}
        return names.get(self.model, f"unknown model {self.model}")


@dataclass
class Container:
    """A parsed file: its header, and its payloads by section number (see `sections.SECTIONS`)."""

    header: Header
    sections: dict[int, bytes] = field(default_factory=dict)

    def section(self, name: str) -> bytes | None:
        """The payload of a section, or None if the file does not have it."""
        return self.sections.get(sections.numbers()[name])

    @property
    def size(self) -> int:
        """The size of the whole file in bytes."""
        around = 1 + 4  # type, CRC-32
        return len(header_bytes(self.header)) + sum(
            around + len(varint(len(payload))) + len(payload) for payload in self.sections.values()
        )


def symbol_crc(z: bytes | memoryview, y: bytes | memoryview) -> int:
    """The 16-bit CRC of all symbols of z, then y, in raster order, as little-endian int16."""
    return binascii.crc_hqx(y, binascii.crc_hqx(z, 0xFFFF))


def varint(value: int) -> bytes:
    """Write a number as unsigned LEB128.

    Each byte has 7 bits of the number, the lowest first. Bit 7 is set in all bytes but the last.
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class _Cursor:
    """Reads a file's bytes in order. Reading beyond the end raises BadInputError."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise BadInputError("damaged file: it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    break
                return value
        raise BadInputError("damaged file: a number in it is not well-formed")

    def crc(self, start: int, what: str) -> None:
        """Read a CRC-32, and check that it is correct for the bytes from `start` up to it."""
        expected = zlib.crc32(self.data[start : self.at])
        if int.from_bytes(self.take(4), "little") != expected:
            raise BadInputError(f"damaged file: wrong checksum of {what}")


def header_bytes(h: Header) -> bytes:
    """Write a header with its checksum."""
    out = bytearray(MAGIC)
    out += FIXED.pack(VERSION, h.model, h.fingerprint, h.quality, h.mode)
    out += varint(h.width) + varint(h.height) + h.symbols.to_bytes(2, "little")
    return bytes(out + zlib.crc32(out).to_bytes(4, "little"))


def write(container: Container) -> bytes:
    """Write a whole file."""
    out = bytearray(header_bytes(container.header))
    for number, (kind, payload) in enumerate(container.sections.items(), 1):
        last = LAST if number == len(container.sections) else 0
        section = bytes([kind | last]) + varint(len(payload)) + payload
        out += section + zlib.crc32(section).to_bytes(4, "little")
    return bytes(out)


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Header, int]:
    """Parse the header. Also returns the offset of the first section.

    Raises BadInputError if anything is wrong with it.
    """
    if not data:
        raise BadInputError("not a .tic file: it is empty")
    if not data.startswith(MAGIC):
        if is_tic(data) and len(data) > len(MAGIC):
            raise BadInputError("damaged file: its line endings were converted in transfer")
        if MAGIC.startswith(data):
            raise BadInputError("damaged file: it ends too early")
        raise BadInputError("not a .tic file")
    cursor = _Cursor(data)
    cursor.take(len(MAGIC))
    version = cursor.take(1)[0]
    if version != VERSION:
        raise BadInputError(
            f"format version {version}, but this ticodec reads only version {VERSION}; "
            "a newer ticodec may read the file"
        )
    cursor.at -= 1
    _, model, fingerprint, quality, mode = FIXED.unpack(cursor.take(FIXED.size))
    width, height = cursor.varint(), cursor.varint()
    symbols = int.from_bytes(cursor.take(2), "little")
    cursor.crc(0, "the header")
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX) or mode >= len(MODES):
        raise BadInputError("damaged file: impossible size or colour mode")
    if quality and not QUALITY_STEPS <= quality <= 8 * QUALITY_STEPS:
        raise BadInputError("damaged file: impossible quality")
    if width * height > max_pixels:
        raise BadInputError(
            f"the file claims {width}×{height} pixels, more than the limit of {max_pixels:,}; "
            "raise `max_pixels` if you trust the file"
        )
    return Header(model, fingerprint, quality, mode, width, height, symbols), cursor.at


def is_tic(data: bytes) -> bool:
    """Whether data begins as a `.tic` file does. The rest may be damaged."""
    return data[:4] == MAGIC[:4]


def read(data: bytes, max_pixels: int = MAX_PIXELS) -> Container:
    """Parse and check a whole file. Sections of unknown type are kept, and do no harm.

    Raises BadInputError that says what is wrong: not a `.tic` file, another version, damage, or
    too many pixels.
    """
    header, at = read_header(data, max_pixels)
    cursor = _Cursor(data)
    cursor.at = at
    container = Container(header)
    last = False
    while not last:
        start = cursor.at
        kind = cursor.take(1)[0]
        last, kind = bool(kind & LAST), kind & ~LAST
        cursor.take(cursor.varint())
        name = sections.name_of(kind)
        length = cursor.at
        cursor.crc(start, f"section {name}")
        if kind in container.sections:
            raise BadInputError(f"damaged file: section {name} is there twice")
        container.sections[kind] = _payload(data[start:length])
    if cursor.at != len(data):
        raise BadInputError("damaged file: there are bytes after its end")
    if any(stream.number not in container.sections for stream in sections.streams()):
        raise BadInputError("damaged file: it has no latents")
    return container


def _payload(section: bytes) -> bytes:
    """Return a section without its type and length."""
    cursor = _Cursor(section)
    cursor.take(1)
    cursor.varint()
    return section[cursor.at :]
