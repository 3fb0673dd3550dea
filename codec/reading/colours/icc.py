"""Reads ICC profiles, and writes small ones. The same arguments always give the same bytes.

white, primaries, curve ─► rgb_profile ─┐
                 curve ─► grey_profile ─┴─► bytes ─► read ─► Profile: is it sRGB? is it for grey?
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from . import transfer
from .primaries import BT_709

Matrix = NDArray[np.float64]

#: The classes of profiles that describe colours: of screens, scanners and cameras, printers, colour
#: spaces, and abstract profiles.
CLASSES = (b"mntr", b"scnr", b"prtr", b"spac", b"abst")
#: The white that all profiles refer to, in XYZ.
D50 = np.array([0.9642, 1.0, 0.8249])
#: The matrix from XYZ to the responses of the eye in Bradford's method of chromatic adaptation.
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
#: How many results are cached. Photos in one folder often have the same profile. Without the cache
#: each would take 4 ms, because NumPy's linear algebra wakes up threads even for 3×3 matrices.
KEPT = 64
#: The beginnings of the names of tags that have tables of colours.
TABLES = (b"A2B", b"D2B")
COLUMNS, CURVES = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")


@dataclass(frozen=True)
class Profile:
    """A profile whose structure is intact.

    Args:
        space: the colour space of the pixels: b"RGB ", b"GRAY", b"CMYK" or b"Lab ".
        tags: the payloads of the tags, by name.
    """

    space: bytes
    tags: dict[bytes, bytes]

    @property
    def is_srgb(self) -> bool:
        """Whether the profile is sRGB, as far as 8 bits can show."""
        if self._is_by_table:
            return False
        if self.space == b"GRAY":
            return _is_srgb_curve(self.tags[b"kTRC"])
        matrix = self._matrix()
        return (
            matrix is not None
            and bool(np.abs(matrix - to_d50(BT_709)).max() < 0.002)
            and all(_is_srgb_curve(self.tags[name]) for name in CURVES)
        )

    @property
    def grey_curve(self) -> bytes | None:
        """The tone curve of greys. None if they do not all have the same hue, or are in a table."""
        if self.space == b"GRAY":
            return self.tags.get(b"kTRC")
        matrix = self._matrix()
        if matrix is None or np.abs(matrix.sum(axis=1) - D50).max() > 0.01:
            return None
        curve, *others = (self.tags[name] for name in CURVES)
        if any(other != curve for other in others) or transfer.light(curve) is None:
            return None
        return curve

    @property
    def _is_by_table(self) -> bool:
        return any(name[:3] in TABLES for name in self.tags)

    def _matrix(self) -> Matrix | None:
        """The matrix whose columns are the XYZ of red, green and blue.

        None if the profile does not consist of a matrix and curves.
        """
        if self._is_by_table or self.space != b"RGB ":
            return None
        if any(len(self.tags[name]) < 20 for name in COLUMNS):
            return None
        columns = [struct.unpack_from(">3i", self.tags[name], 8) for name in COLUMNS]
        return np.array(columns).T / 65536


def read(data: bytes) -> Profile | None:
    """Parse a profile. Returns None if it is damaged, or does not describe colours of pixels."""
    try:
        size, kind, space, mark = struct.unpack_from(">I8x4s4s16x4s", data)
        count = struct.unpack_from(">I", data, 128)[0]
        if mark != b"acsp" or size > len(data) or kind not in CLASSES or count > 100:
            return None
        tags = {}
        for number in range(count):
            name, start, length = struct.unpack_from(">4sII", data, 132 + 12 * number)
            if start + length > len(data):
                return None
            tags[name] = data[start : start + length]
    except struct.error:
        return None
    plain = {b"RGB ": (*COLUMNS, *CURVES), b"GRAY": (b"kTRC",)}.get(space)
    by_table = any(name[:3] in TABLES for name in tags)
    by_formula = plain is not None and all(name in tags for name in plain)
    return Profile(space, tags) if by_table or by_formula else None


def for_grey(data: bytes) -> bytes | None:
    """Make a profile for grey pixels that looks the same as this one, which may be for RGB.

    A profile that cannot be read is returned unchanged.

    Returns None if no profile is needed because this one is sRGB, or if no such profile exists.
    """
    profile = read(data)
    if profile is None or profile.space == b"GRAY":
        return data
    if profile.is_srgb:
        return None
    return grey_profile(profile.grey_curve) if profile.grey_curve else None


def for_rgb(data: bytes) -> bytes | None:
    """Make a profile for RGB pixels with equal channels that looks the same as this one for grey.

    A profile that cannot be read is returned unchanged.

    Returns None if no such profile exists.
    """
    profile = read(data)
    if profile is None or profile.space == b"RGB ":
        return data
    return rgb_profile(BT_709, profile.grey_curve) if profile.grey_curve else None


@lru_cache(maxsize=KEPT)
def rgb_profile(
    chromaticities: tuple[float, ...], curve: bytes, cicp: tuple[int, int] | None = None
) -> bytes | None:
    """Write a profile for RGB. Returns None if the primaries are impossible.

    Args:
        chromaticities: x, y of white, red, green and blue.
        curve: the tag of the tone curve of all three channels, see `transfer`.
        cicp: the numbers of primaries and transfer function in H.273, for HDR. Readers that
            understand them can ignore the curve.
    """
    try:
        with np.errstate(all="ignore"):
            matrix, adaptation = to_d50(chromaticities), adapted(chromaticities)
    except (ZeroDivisionError, np.linalg.LinAlgError):
        return None
    if not (np.abs(matrix).max() < 4 and np.abs(adaptation).max() < 100):  # also true for NaN
        return None
    tags = {name: _xyz(matrix[:, number]) for number, name in enumerate(COLUMNS)}
    tags |= dict.fromkeys(CURVES, curve)
    tags[b"chad"] = struct.pack(">4s4x9i", b"sf32", *_fixed(adaptation.ravel()))
    if cicp is not None:
        tags[b"cicp"] = struct.pack(">4s4x4B", b"cicp", *cicp, 0, 1)
    return _profile(b"RGB ", tags)


def grey_profile(curve: bytes) -> bytes:
    """Write a profile for grey pixels with this tone curve."""
    return _profile(b"GRAY", {b"kTRC": curve})


def adapted(chromaticities: tuple[float, ...]) -> Matrix:
    """The matrix (3, 3) that adapts XYZ from the white of the chromaticities to D50."""
    x, y = chromaticities[:2]
    white = np.array([x / y, 1, (1 - x - y) / y])
    gains = (BRADFORD @ D50) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD


@lru_cache(maxsize=KEPT)
def to_d50(chromaticities: tuple[float, ...]) -> Matrix:
    """The matrix (3, 3) from linear RGB to XYZ under D50.

    Raises ZeroDivisionError or LinAlgError if the primaries are impossible.
    """
    pairs = np.array(chromaticities, np.float64).reshape(4, 2)
    columns = np.array([[x, y, 1 - x - y] for x, y in pairs[1:]]).T
    x, y = pairs[0].tolist()
    scale = np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])
    return adapted(chromaticities) @ (columns * scale)


@lru_cache(maxsize=KEPT)
def _is_srgb_curve(tag: bytes) -> bool:
    light = transfer.light(tag)
    if light is None:
        return False
    return bool(
        np.abs(transfer.srgb_samples(light) - np.linspace(0, 1, len(light))).max() < 1 / 255
    )


def _fixed(values: Matrix) -> list[int]:
    """Convert fractions to units of 1/65536, as ICC profiles store them."""
    return [round(float(value) * 65536) for value in values]


def _xyz(values: Matrix) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *_fixed(values))


def _text(words: str) -> bytes:
    coded = words.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(coded), 28) + coded


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Write a profile of version 4.4 without a date. Equal tags share their bytes."""
    tags = {
        b"desc": _text("RGB" if space == b"RGB " else "Grey"),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(D50),
        **tags,
    }
    body, places = bytearray(), {}
    for payload in tags.values():
        if payload not in places:
            places[payload] = 132 + 12 * len(tags) + len(body)
            body += payload + bytes(-len(payload) % 4)
    table = struct.pack(">I", len(tags)) + b"".join(
        struct.pack(">4sII", name, places[payload], len(payload)) for name, payload in tags.items()
    )
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x04400000, b"mntr", space, b"XYZ ", b"acsp")
    header += struct.pack(">28x3i48x", *_fixed(D50))
    return header + table + body
