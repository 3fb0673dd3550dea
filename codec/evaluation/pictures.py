"""The pictures on a report's page: originals, and decoded versions of about the same bytes."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from ticodec.errors import TicodecError
from ticodec.files import read_file
from ticodec.picture import Pixels

from .coder import Coder, closest, errors_named_after
from .measure import Evaluation, Source, measure, pixels_of, ready
from .measurements import Measurement
from .registry import CoderSpec, make

#: Encoders that take at most this long are run again to find the setting nearest in bytes.
FAST_SECONDS = 2.0
#: The largest side of a WebP picture. Larger pictures are embedded as PNG.
WEBP_SIDE = 16383


@dataclass(frozen=True)
class Version:
    """The original of a picture, or one coder's version of it.

    Args:
        name: "original" or the coder's name.
        setting: knob and value, or "" for the original.
        bytes, bpp: size of its file in bytes and in bits per pixel.
        psnr, ms_ssim: measured quality, or None for the original and where it is undefined.
        uri: the picture itself, as a `data:` URI.
    """

    name: str
    setting: str
    bytes: int
    bpp: float
    psnr: float | None
    ms_ssim: float | None
    uri: str


@dataclass(frozen=True)
class Card:
    """A picture and its versions: first the original, second the first coder, then the others."""

    title: str
    width: int
    height: int
    versions: list[Version]

    @property
    def weight(self) -> int:
        """The number of characters that the card adds to the page."""
        return sum(len(version.uri) for version in self.versions)


def card_of(run: Evaluation, source: Source, setting: float) -> Card:
    """The card of a measured image: the first coder at `setting`, others nearest in bytes."""
    subject = run.measured(source, run.coders[0], setting)
    versions = [_original(source)]
    for spec, coder in zip(run.specs, run.coders, strict=True):
        row = subject if coder is run.coders[0] else _nearest(run, spec, source, subject.bytes)
        versions.append(_version(coder, row, read_file(run.path(source, coder, row.setting))))
    return Card(source.name, source.width, source.height, versions)


def _nearest(run: Evaluation, spec: CoderSpec, source: Source, target: int) -> Measurement:
    """The measurement nearest to `target` bytes. Slow encoders are not run again to find it."""
    coder = make(spec)
    rows = [run.measured(source, coder, setting) for setting in coder.ladder]
    try:
        if sum(row.encode_seconds for row in rows) / len(rows) <= FAST_SECONDS:
            sizes = run.sizes(source, coder)
            setting = closest(ready(spec), pixels_of(source), target, sizes)
            return run.add(spec, source, setting)
    except TicodecError:
        pass  # the coder fails at that setting, so use one that was measured
    return min(rows, key=lambda row: abs(row.bytes - target))


def matched_card(
    source: Source, specs: list[CoderSpec], quality: float, failed: dict[str, str]
) -> tuple[Card, list[Measurement]]:
    """The card of one image: the first coder at a quality, the others nearest in bytes.

    Other coders that cannot code the image are left out. Their errors are added to `failed`, by
    name.

    Raises TicodecError when the first coder fails.
    """
    row, data = measure(specs[0], source, quality)
    rows, versions = [row], [_original(source), _version(make(specs[0]), row, data)]
    for spec in specs[1:]:
        try:
            coder = ready(spec)
            setting = closest(coder, pixels_of(source), row.bytes)
            matched, data = measure(spec, source, setting)
            versions.append(_version(coder, matched, data))
            rows.append(matched)
        except TicodecError as error:
            failed[make(spec).name] = str(error)
    return Card(source.name, source.width, source.height, versions), rows


def _original(source: Source) -> Version:
    size = source.path.stat().st_size
    bpp = 8 * size / (source.width * source.height)
    return Version("original", "", size, bpp, None, None, lossless(pixels_of(source)))


def _version(coder: Coder, row: Measurement, data: bytes) -> Version:
    """One coder's version. Files that browsers cannot show are embedded as decoded pixels."""
    with errors_named_after(coder):
        uri = data_uri(coder.mime, data) if coder.mime else lossless(coder.decode(data))
    setting = f"{coder.knob} {row.setting:.3g}"
    return Version(coder.name, setting, row.bytes, row.bpp, row.psnr, row.ms_ssim, uri)


def lossless(pixels: Pixels) -> str:
    """(H, W, 3) uint8 pixels as a lossless `data:` URI."""
    out = BytesIO()
    small = max(pixels.shape) <= WEBP_SIDE
    options = {"lossless": True, "method": 2} if small else {}
    Image.fromarray(pixels).save(out, "WEBP" if small else "PNG", **options)
    return data_uri("image/webp" if small else "image/png", out.getvalue())


def data_uri(mime: str, data: bytes) -> str:
    """Bytes as a `data:` URI."""
    return f"data:{mime};base64,{b64encode(data).decode()}"
