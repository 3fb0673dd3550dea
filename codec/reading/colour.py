"""Converts colours of any space to RGB. An ICC profile says which RGB, and without one it is sRGB.

Lab, CMYK ─────────────────────── conversion ─► sRGB
RGB, grey ─┬─ ICC profile, if it fits ────────► the same pixels with a profile for RGB or grey
           └─ chunks, tags, nclx ─► icc.py ───►

If a PNG describes its colours in several ways, the first of these counts: cICP; the ICC profile;
sRGB, gAMA and cHRM.
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

#: The modes that are converted to sRGB, and the names of their spaces in ICC profiles.
CONVERTED = {"CMYK": b"CMYK", "LAB": b"Lab "}
#: In these formats, the channels of grey photos may differ by one level.
NEARLY_GREY = ("WEBP", "AVIF", "HEIF", "JPEG2000")
#: If the 8-bit levels of a curve look about equally far apart, the light of the sample 0.5 lies in
#: this range. Pixels with another curve are converted to the curve of sRGB.
EVEN = (0.1, 0.36)
#: A gamma in this range means the curve of sRGB. It is 1/2.2, as files round it.
USUAL_GAMMA = (0.4540, 0.4551)

#: Primaries as in `PRIMARIES`, and the ICC tag of a curve.
Description = tuple[tuple[float, ...], bytes]


def to_rgb(
    image: Image.Image,
    metadata: dict[str, bytes],
    reading: Reading,
    notes: list[Note],
    stored: Stored = UNKNOWN,
) -> Image.Image:
    """Convert an 8-bit image without alpha to mode "RGB". Grey gets three equal channels.

    Lab and CMYK become sRGB. Other colours do not change: a profile says which they are, and
    without a profile they are sRGB.

    Args:
        image: upright, in a mode that `eight_bit` returns.
        metadata: its "icc" becomes a profile for the returned pixels, or is removed. For a grey
            image it is a profile for grey.
        reading: with `strip`, the colours become sRGB.
        notes: gets one note on everything that is converted or lost.
        stored: how the file stores its colours.

    Raises BadInputError for Lab if Pillow was built without LittleCMS.
    """
    sentences: list[str] = []
    data = _sound(metadata.pop("icc", stored.icc), image.mode, sentences)
    tolerance = 1 if stored.format in NEARLY_GREY else 0
    if image.mode in CONVERTED:
        image, data, tolerance = _converted(image, data, sentences), None, 2
    else:
        image = _in_mode("L" if image.mode in ("1", "L") else "RGB", image)
        if data is None or (stored.format == "PNG" and stored.cicp):
            image, data = _described(image, data, stored, sentences)
    if _is_grey(image, tolerance):
        image = image.convert("L")
    if data is not None:
        image, data = _fitting(image, data, sentences)
    if data is not None and reading.strip:
        image, data = _without_profile(image, data, sentences)
    if data is not None:
        metadata["icc"] = data
    if sentences:
        notes.append(Note("colour", ", and ".join(sentences)))
    return _in_mode("RGB", image)


def _sound(data: bytes | None, mode: str, sentences: list[str]) -> bytes | None:
    """Return a file's own profile. None if it is damaged, or is for another kind of pixels."""
    if data is None:
        return None
    profile = icc.read(data)
    if profile is None:
        sentences.append("an ICC profile that is damaged or of another kind is dropped")
        return None
    if profile.space not in ((CONVERTED[mode],) if mode in CONVERTED else (b"RGB ", b"GRAY")):
        name = profile.space.decode("latin-1").strip()
        sentences.append(f"an ICC profile for other pixels ({name}) is dropped")
        return None
    return data


def _converted(image: Image.Image, data: bytes | None, sentences: list[str]) -> Image.Image:
    """Convert a "CMYK" or "LAB" image to sRGB, with its profile if the profile can be used."""
    name = image.mode.replace("LAB", "Lab")
    if data is not None:
        try:
            converted = to_srgb(image, data)
            sentences.append(f"{name} colours are converted to sRGB")
            return converted
        except ConversionError:
            sentences.append("an ICC profile that cannot be used is dropped")
    sentences.append(f"{name} colours are converted to sRGB without a profile")
    return lab_to_srgb(image) if image.mode == "LAB" else image.convert("RGB")


def _described(
    image: Image.Image, data: bytes | None, stored: Stored, sentences: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Make an ICC profile for an "L" or "RGB" image from its file's numbers for colours.

    Linear samples, and those with similar curves, are converted to the curve of sRGB, because the
    codec would damage their dark parts.

    Args:
        data: the file's ICC profile. It is kept unless the file has a cICP chunk.

    Returns:
        The image and its profile. The profile is None for sRGB.
    """
    found = _of_cicp(stored.cicp, sentences) if stored.cicp else None
    hdr = stored.cicp if found and stored.cicp and stored.cicp[1] in transfer.HDR else None
    if found is None:
        if data is not None or stored.srgb:
            return image, data
        found = _of_gamma(stored)
    elif data is not None:
        sentences.append("the ICC profile is dropped, because its PNG has a cICP chunk")
    if found is None:
        return image, None
    primaries, curve = found
    if not stored.full_range:
        sentences.append("samples from 16 to 235 are stretched to 0 to 255")
        image = _mapped(image, (np.arange(256) - 16) / 219)
    lights = transfer.light(curve)
    assert lights is not None
    if not EVEN[0] < lights[128] < EVEN[1]:
        sentences.append("samples with another tone curve are converted to the curve of sRGB")
        image, curve = _mapped(image, transfer.srgb_samples(lights)), transfer.SRGB
    made = icc.rgb_profile(tuple(primaries), curve, hdr)
    if made is None:
        sentences.append("the impossible primaries of its colours are ignored")
        return image, None
    profile = icc.read(made)
    return image, None if profile and profile.is_srgb else made


def _of_cicp(cicp: tuple[int, int], sentences: list[str]) -> Description | None:
    """Primaries and curve for numbers of H.273. None if one of the numbers is not known."""
    primaries, curve = PRIMARIES.get(cicp[0]), transfer.curve_of(cicp[1])
    if primaries is None or curve is None:
        sentences.append("unknown numbers for its colours (cICP or nclx) are ignored")
        return None
    if cicp[1] in transfer.HDR:
        sentences.append("HDR colours get an ICC profile for ordinary screens")
    return primaries, curve


def _of_gamma(stored: Stored) -> Description | None:
    """Primaries and curve from gAMA and cHRM, or from TIFF tags. None if none can be used."""
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


def _fitting(
    image: Image.Image, data: bytes, sentences: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Fit a profile to an image "L" or "RGB": a grey image gets a profile for grey.

    Returns the image and its profile, which is None for sRGB. If no profile for grey looks the
    same, a grey image is converted to sRGB.
    """
    profile = icc.read(data)
    assert profile is not None
    if image.mode == "RGB":
        if profile.space == b"RGB ":
            return image, data
        sentences.append("an ICC profile for other pixels (GRAY) is dropped")
        return image, None
    made = icc.for_grey(data)
    if made or profile.is_srgb:
        return image, made
    try:
        converted = greys_to_srgb(image, data)
        sentences.append("greys are converted to sRGB, because no grey ICC profile looks the same")
        return converted, None
    except ConversionError:
        sentences.append("an ICC profile that cannot be used is dropped")
        return image, None


def _without_profile(
    image: Image.Image, data: bytes, sentences: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Convert an image "L" or "RGB" to sRGB. If that fails, image and profile do not change."""
    profile = icc.read(data)
    if profile is not None and profile.is_srgb:
        return image, None
    try:
        return (greys_to_srgb if image.mode == "L" else to_srgb)(image, data), None
    except ConversionError:
        sentences.append("the ICC profile stays, because it cannot be used to convert the colours")
        return image, data


def _in_mode(mode: str, image: Image.Image) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _mapped(image: Image.Image, samples: transfer.Floats) -> Image.Image:
    """Replace the levels of an image by a table that has a sample 0 … 1 for each level 0 … 255."""
    table = (samples * 255).round().clip(0, 255).astype(int).tolist()
    return image.point(table * len(image.getbands()))


def _is_grey(image: Image.Image, tolerance: int) -> bool:
    """Whether an image "L" or "RGB" is grey. Stops at the first rows that have colours."""
    width, height = image.size
    return image.mode == "L" or all(
        is_grey(np.asarray(image.crop((0, y, width, min(y + ROWS, height)))), tolerance)
        for y in range(0, height, ROWS)
    )
