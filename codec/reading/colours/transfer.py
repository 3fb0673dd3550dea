"""Tone curves, from samples 0 … 1 to light 0 … 1, as arrays and as tags of ICC profiles.

transfer function of ITU-T H.273 ─► tag of an ICC profile ─► light of each of n samples
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The diffuse white and the brightest light of HDR, in cd/m², as in ITU-R BT.2408.
DIFFUSE_WHITE, BRIGHTEST = 203.0, 1000.0
#: The number of samples for a curve that ICC profiles have no formula for.
SAMPLES = 1024
#: How many parameters each formula of a "para" tag has, by the formula's number.
PARAMETERS = (1, 3, 4, 5, 7)


def formula(*parameters: float) -> bytes:
    """Make a "para" tag.

    With one parameter g, light = sample ^ g. Five parameters are g, a, b, c, d, as for `SRGB`.
    """
    number = PARAMETERS.index(len(parameters))
    fixed = (round(value * 65536) for value in parameters)
    return struct.pack(f">4s4xH2x{len(parameters)}i", b"para", number, *fixed)


#: light = ((sample + 0.055) / 1.055) ^ 2.4, from 0.04045 on.
SRGB = formula(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

#: The numbers of the HDR functions in H.273.
HDR = PQ, HLG = 16, 18
#: Other functions by number. 2 means "not specified". The functions of video get the curve of sRGB,
#: as in browsers. The inverse of the camera's function would be wrong, because people adjust videos
#: on screens.
SDR = {
    **dict.fromkeys((1, 2, 6, 7, 11, 12, 13, 14, 15), SRGB),
    4: formula(2.2),
    5: formula(2.8),
    8: formula(1.0),
    17: formula(2.6),
}


def curve_of(transfer: int) -> bytes | None:
    """The tag of a transfer function of H.273. None if it is not known, or if photos do not use it.

    The light of HDR functions is mapped to 0 … 1, so that an ordinary screen can show it.
    """
    if transfer not in HDR:
        return SDR.get(transfer)
    samples = np.linspace(0, 1, SAMPLES)
    light = _pq(samples) if transfer == PQ else _hlg(samples)
    white = BRIGHTEST / DIFFUSE_WHITE
    shown = light * (1 + light / white**2) / (1 + light)  # Reinhard: maps `white` to 1
    numbers = (shown.clip(0, 1) * 65535).round().astype(">u2")
    return struct.pack(">4s4xI", b"curv", SAMPLES) + numbers.tobytes()


def light(tag: bytes, count: int = 256) -> Floats | None:
    """Apply the curve of a tag to `count` equally spaced samples from 0 to 1.

    Returns None if the tag is damaged.
    """
    samples = np.linspace(0, 1, count)
    try:
        if tag[:4] == b"curv":
            entries = struct.unpack_from(">I", tag, 8)[0]
            if entries == 0:
                return samples
            if entries == 1:
                return samples ** (struct.unpack_from(">H", tag, 12)[0] / 256)
            table = np.frombuffer(tag, ">u2", entries, 12) / 65535
            return np.interp(samples, np.linspace(0, 1, entries), table)
        if tag[:4] == b"para":
            number = struct.unpack_from(">H", tag, 8)[0]
            fixed = struct.unpack_from(f">{PARAMETERS[number]}i", tag, 12)
            with np.errstate(all="ignore"):
                return np.nan_to_num(_formula(samples, [value / 65536 for value in fixed]))
    except (struct.error, IndexError, ValueError):
        pass
    return None


def srgb_samples(light: Floats) -> Floats:
    """Convert light 0 … 1 to samples 0 … 1 of sRGB."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(0) ** (1 / 2.4) - 0.055)


def _formula(samples: Floats, parameters: list[float]) -> Floats:
    """Apply a formula of the ICC specification, with 1, 3, 4, 5 or 7 parameters."""
    g, *rest = parameters
    a, b = rest[:2] or (1.0, 0.0)
    c = d = e = f = 0.0
    if len(rest) in (2, 3):
        d = -b / a if a else 0.0
        e = f = rest[2] if len(rest) == 3 else 0.0
    elif rest:
        c, d = rest[2:4]
        e, f = rest[4:] or (0.0, 0.0)
    power = (a * samples + b).clip(0) ** g + e
    return np.where(samples >= d, power, c * samples + f).clip(0, 1)


def _pq(samples: Floats) -> Floats:
    """The light of SMPTE ST 2084 (PQ), in units of diffuse white."""
    root = samples ** (32 / 2523)
    ratio = (root - 107 / 128).clip(0) / (2413 / 128 - 2392 / 128 * root)
    return ratio ** (8192 / 1305) * 10_000 / DIFFUSE_WHITE


def _hlg(samples: Floats) -> Floats:
    """The light of ARIB STD-B67 (HLG) on a screen of `BRIGHTEST`, in units of diffuse white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(samples <= 0.5, samples**2 / 3, (np.exp((samples - c) / a) + b) / 12)
    return scene**1.2 * BRIGHTEST / DIFFUSE_WHITE
