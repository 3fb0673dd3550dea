"""The `.tic` container, version 1. Imports no torch. `docs/format.md` has every byte.

magic · version · model · weights fingerprint · quality · mode · size · CRC of symbols · CRC-32
section: type (bit 7: the last) · length · payload · CRC-32        z, y, then optional ones
"""

from __future__ import annotations

import binascii
import struct
import zlib
from dataclasses import dataclass, field

from . import sections
from .errors import BadInputError
from .models.families import MODEL_IDS

#: Not valid UTF-8; its CR LF is what line-ending conversion damages, as in PNG.
MAGIC = b"\x89TIC\r\n"
VERSION = 1
#: Fixed fields behind the magic: version, model, fingerprint, quality, mode.
FIXED = struct.Struct("<BB4sHB")
#: Steps of the stored quality in one whole quality.
QUALITY_STEPS = 4096
SIDE_MAX = (1 << 28) - 1
#: Images with more pixels are refused before anything is allocated, unless the caller allows more.
MAX_PIXELS = 512_000_000

MODES = ("RGB", "L")
LAST = 0x80


@dataclass
class Header:
    """What a file says before its sections.

    Args:
        model: number in `MODEL_IDS`; fingerprint: first 4 bytes of the weights' SHA-256.
        quality: in 1/4096; 0 for a model of one fixed λ.
        mode: index in `MODES`; width, height: pixels.
        symbols: CRC of the decoded symbols (`symbol_crc`).
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
        """The model's stable name, or its number when this version does not know it."""
        names = {number: name for name, number in MODEL_IDS.items()}
        return names.get(self.model, f"unknown model {self.model}")


@dataclass
class Container:
    """A parsed file: header, and payloads by section number (`sections.SECTIONS`)."""

    header: Header
    sections: dict[int, bytes] = field(default_factory=dict)

    def section(self, name: str) -> bytes | None:
        """Payload of the named section, if it is there."""
        return self.sections.get(sections.numbers()[name])

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        around = 1 + 4  # type, CRC-32
        return len(header_bytes(self.header)) + sum(
            around + len(varint(len(payload))) + len(payload) for payload in self.sections.values()
        )


def symbol_crc(z: bytes | memoryview, y: bytes | memoryview) -> int:
    """16-bit CRC of all symbols of z, then y, raster order, int16 little-endian."""
    return binascii.crc_hqx(y, binascii.crc_hqx(z, 0xFFFF))


def varint(value: int) -> bytes:
    """Unsigned LEB128: 7 bits a byte, low ones first, bit 7 set on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class _Cursor:
    """Reads forwards; every read beyond the end is one clear error."""

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
        """Check the CRC-32 that follows against the bytes since `start`."""
        expected = zlib.crc32(self.data[start : self.at])
        if int.from_bytes(self.take(4), "little") != expected:
            raise BadInputError(f"damaged file: wrong checksum of {what}")


def header_bytes(h: Header) -> bytes:
    """A header with its checksum."""
    out = bytearray(MAGIC)
    out += FIXED.pack(VERSION, h.model, h.fingerprint, h.quality, h.mode)
    out += varint(h.width) + varint(h.height) + h.symbols.to_bytes(2, "little")
    return bytes(out + zlib.crc32(out).to_bytes(4, "little"))


def write(container: Container) -> bytes:
    """The file's bytes."""
    out = bytearray(header_bytes(container.header))
    for number, (kind, payload) in enumerate(container.sections.items(), 1):
        last = LAST if number == len(container.sections) else 0
        section = bytes([kind | last]) + varint(len(payload)) + payload
        out += section + zlib.crc32(section).to_bytes(4, "little")
    return bytes(out)


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Header, int]:
    """Header and where the sections start. Raises BadInputError on anything wrong."""
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
            f"format version {version} is not one this ticodec reads (it reads {VERSION}); "
            "a newer ticodec may"
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
    """Whether data begins like a `.tic` file, even if it is damaged."""
    return data[:4] == MAGIC[:4]


def read(data: bytes, max_pixels: int = MAX_PIXELS) -> Container:
    """Parse and check a whole file; sections of unknown type are kept, and harmless.

    Raises BadInputError with what is wrong: not a `.tic`, another version, damaged,
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
        raise BadInputError("damaged file: there are bytes behind its end")
    if any(stream.number not in container.sections for stream in sections.streams()):
        raise BadInputError("damaged file: it has no latents")
    return container


def _payload(section: bytes) -> bytes:
    """A section without its type and length."""
    cursor = _Cursor(section)
    cursor.take(1)
    cursor.varint()
    return section[cursor.at :]
