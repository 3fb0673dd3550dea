"""Colours of any space to RGB, with an ICC profile that says which RGB, or none: sRGB.

Lab, CMYK ─────────────────────── conversion ─► sRGB
RGB, grey ─┬─ ICC profile, if it fits ────────► the same pixels with a profile of RGB or grey
           └─ chunks, tags, nclx ─► icc.py ───►

Of a PNG, cICP comes before its ICC profile, and that before sRGB, gAMA and cHRM.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ticodec.notes import Note

from .colours import icc, transfer
from .colours.conversion import ConversionError, greys_to_srgb, lab_to_srgb, to_srgb
from .colours.primaries import BT_709, PRIMARIES
from .options import Reading
from .samples import ROWS, is_grey
from .stored import UNKNOWN, Stored

#: What profiles call the space of each mode that is converted to sRGB.
CONVERTED = {"CMYK": b"CMYK", "LAB": b"Lab "}
#: Formats in whose grey photos the channels may differ by one level.
NEARLY_GREY = ("WEBP", "AVIF", "HEIF", "JPEG2000")
#: Between these lies the light of the sample 0.5 if the levels of 8 bits look about equally far
#: apart. Pixels with another curve are brought to that of sRGB.
EVEN = (0.1, 0.36)
#: Gamma of a file that means the curve of sRGB: 1/2.2, as files round it.
USUAL_GAMMA = (0.4540, 0.4551)

#: Primaries as in `PRIMARIES`, and the tag of a curve.
Description = tuple[tuple[float, ...], bytes]


def to_rgb(
    image: Image.Image,
    metadata: dict[str, bytes],
    reading: Reading,
    notes: list[Note],
    stored: Stored = UNKNOWN,
) -> Image.Image:
    """An 8-bit image without alpha in mode "RGB"; a grey one has three equal channels.

    Lab and CMYK become sRGB. Other colours stay as they are. Their profile says which they are;
    without a profile they are sRGB.

    Args:
        metadata: its "icc" becomes a profile of these pixels, or is removed. Of a grey image it is
            a profile of grey.
        image: upright; of a mode that `eight_bit` returns.
        reading: with `strip`, the colours become sRGB.
        notes: one note on all that is converted or lost is added here.
        stored: how the file stores its colours.

    Raises BadInputError for Lab where Pillow has no LittleCMS.
    """
    said: list[str] = []
    data = _sound(metadata.pop("icc", stored.icc), image.mode, said)
    tolerance = 1 if stored.format in NEARLY_GREY else 0
    if image.mode in CONVERTED:
        image, data, tolerance = _converted(image, data, said), None, 2
    else:
        image = _in_mode("L" if image.mode in ("1", "L") else "RGB", image)
        if data is None or (stored.format == "PNG" and stored.cicp):
            image, data = _described(image, data, stored, said)
    if _is_grey(image, tolerance):
        image = image.convert("L")
    if data is not None:
        image, data = _fitting(image, data, said)
    if data is not None and reading.strip:
        image, data = _without_profile(image, data, said)
    if data is not None:
        metadata["icc"] = data
    if said:
        notes.append(Note("colour", ", and ".join(said)))
    return _in_mode("RGB", image)


def _sound(data: bytes | None, mode: str, said: list[str]) -> bytes | None:
    """A file's own profile, unless it is damaged or of other pixels."""
    if data is None:
        return None
    profile = icc.read(data)
    if profile is None:
        said.append("an ICC profile that is damaged or of another kind is dropped")
        return None
    if profile.space not in ((CONVERTED[mode],) if mode in CONVERTED else (b"RGB ", b"GRAY")):
        name = profile.space.decode("latin-1").strip()
        said.append(f"an ICC profile for other pixels ({name}) is dropped")
        return None
    return data


def _converted(image: Image.Image, data: bytes | None, said: list[str]) -> Image.Image:
    """A "CMYK" or "LAB" image as sRGB, by its profile if that can be used."""
    name = image.mode.replace("LAB", "Lab")
    if data is not None:
        try:
            converted = to_srgb(image, data)
            said.append(f"{name} colours are converted to sRGB")
            return converted
        except ConversionError:
            said.append("an ICC profile that cannot be used is dropped")
    said.append(f"{name} colours are converted to sRGB without a profile")
    return lab_to_srgb(image) if image.mode == "LAB" else image.convert("RGB")


def _described(
    image: Image.Image, data: bytes | None, stored: Stored, said: list[str]
) -> tuple[Image.Image, bytes | None]:
    """An "L" or "RGB" image, with a profile made of its file's numbers for colours, or None.

    Linear samples and the like are brought to the curve of sRGB: the codec would harm their dark
    parts.

    Args:
        data: the file's ICC profile, which is kept if the file says nothing that comes before it.
    """
    found = _of_cicp(stored.cicp, said) if stored.cicp else None
    hdr = stored.cicp if found and stored.cicp and stored.cicp[1] in transfer.HDR else None
    if found is None:
        if data is not None or stored.srgb:
            return image, data
        found = _of_gamma(stored)
    elif data is not None:
        said.append("the ICC profile is dropped, since the PNG's cICP chunk comes before it")
    if found is None:
        return image, None
    primaries, curve = found
    if not stored.full_range:
        said.append("samples from 16 to 235 are stretched to 0 to 255")
        image = _mapped(image, (np.arange(256) - 16) / 219)
    lights = transfer.light(curve)
    assert lights is not None
    if not EVEN[0] < lights[128] < EVEN[1]:
        said.append("samples with another tone curve are brought to that of sRGB")
        image, curve = _mapped(image, transfer.srgb_samples(lights)), transfer.SRGB
    made = icc.rgb_profile(tuple(primaries), curve, hdr)
    if made is None:
        said.append("impossible primaries of its colours are ignored")
        return image, None
    profile = icc.read(made)
    return image, None if profile and profile.is_srgb else made


def _of_cicp(cicp: tuple[int, int], said: list[str]) -> Description | None:
    """Primaries and curve of numbers of H.273; None: one is not known."""
    primaries, curve = PRIMARIES.get(cicp[0]), transfer.curve_of(cicp[1])
    if primaries is None or curve is None:
        said.append("unknown numbers for its colours (cICP or nclx) are ignored")
        return None
    if cicp[1] in transfer.HDR:
        said.append("HDR colours get an ICC profile that shows them on plain screens")
    return primaries, curve


def _of_gamma(stored: Stored) -> Description | None:
    """Primaries and curve of gAMA and cHRM, or of TIFF's tags; None: there is nothing usable."""
    if not (stored.gamma or stored.chromaticities):
        return None
    primaries = stored.chromaticities or BT_709
    gamma = stored.gamma or 1 / 2.2
    if not 0.1 <= gamma <= 10:
        return None
    is_usual = USUAL_GAMMA[0] <= gamma <= USUAL_GAMMA[1] and np.allclose(
        primaries, BT_709, atol=0.002
    )
    return primaries, transfer.SRGB if is_usual else transfer.formula(1 / gamma)


def _fitting(image: Image.Image, data: bytes, said: list[str]) -> tuple[Image.Image, bytes | None]:
    """An image "L" or "RGB", and the profile for such pixels that looks the same; None: sRGB."""
    profile = icc.read(data)
    assert profile is not None
    if image.mode == "RGB":
        if profile.space == b"RGB ":
            return image, data
        said.append("an ICC profile for other pixels (GRAY) is dropped")
        return image, None
    made = icc.for_grey(data)
    if made or profile.is_srgb:
        return image, made
    try:
        converted = greys_to_srgb(image, data)
        said.append("greys are converted to sRGB, since no ICC profile for grey looks the same")
        return converted, None
    except ConversionError:
        said.append("an ICC profile that cannot be used is dropped")
        return image, None


def _without_profile(
    image: Image.Image, data: bytes, said: list[str]
) -> tuple[Image.Image, bytes | None]:
    """An image "L" or "RGB" as sRGB; as it is, with its profile, where that cannot be made."""
    profile = icc.read(data)
    if profile is not None and profile.is_srgb:
        return image, None
    try:
        return (greys_to_srgb if image.mode == "L" else to_srgb)(image, data), None
    except ConversionError:
        said.append("the ICC profile stays, since it cannot be used to make the colours sRGB")
        return image, data


def _in_mode(mode: str, image: Image.Image) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _mapped(image: Image.Image, samples: transfer.Floats) -> Image.Image:
    """An image with each level 0 … 255 of its channels replaced by a sample 0 … 1."""
    table = (samples * 255).round().clip(0, 255).astype(int).tolist()
    return image.point(table * len(image.getbands()))


def _is_grey(image: Image.Image, tolerance: int) -> bool:
    """Whether an image "L" or "RGB" is grey. Reads only as many rows as it takes to see colours."""
    width, height = image.size
    return image.mode == "L" or all(
        is_grey(np.asarray(image.crop((0, y, width, min(y + ROWS, height)))), tolerance)
        for y in range(0, height, ROWS)
    )
