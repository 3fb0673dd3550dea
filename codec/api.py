"""The public functions: files, arrays or Pillow images in; bytes, Pillow images or labels out.

encode    image ─► .tic bytes            classify   .tic or image ─► labels
decode    .tic  ─► Pillow image          info       .tic ─► facts, without a network

A file is given by its path, as its bytes, or open for reading bytes; it is parsed once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ticodec import memory, weights

from .container import MAX_PIXELS, Container
from .crop import box_of
from .effort import USUAL_EFFORT, checked_effort
from .errors import BadInputError, TicodecError
from .inputs import (
    FileLike,
    ImageLike,
    as_container,
    as_picture,
    check_device,
    checked_scale,
    path_of,
    tic_or_picture,
    whole,
)
from .models.families import config_from
from .notes import warn
from .picture import Picture
from .progress import Progress
from .quality import check_quality, checked_quality
from .reading.opening import SizeCheck
from .reading.options import Reading
from .targets import Quality

if TYPE_CHECKING:
    from .classifier import Label
    from .codec import Codec


def load(model: str | None = None, *, device: str = "auto", bf16: bool | None = None) -> Codec:
    """A codec for many images.

    Args:
        model: name as shown by `ticodec models` and `list_models`; None: the default one.
        device: "auto", "cpu", "cuda", or one of several GPUs: "cuda:1".
        bf16: transforms in bf16; None: where the hardware is fast at it.

    Raises UsageError for an unknown model or device, BadInputError for damaged weights.
    """
    from .codec import Codec

    return Codec.load(model, device=device, bf16=bf16)


def encode(
    image: ImageLike,
    *,
    quality: Quality = None,
    effort: int = USUAL_EFFORT,
    model: str | None = None,
    strip: bool = False,
    strip_location: bool = False,
    allow_truncated: bool = False,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> bytes:
    """An image to the bytes of a `.tic` file.

    Warnings (`TicodecWarning`) say what the file does not keep. To see it first, call
    `read_picture`, look at the `notes` of the picture, and encode the picture.

    Args:
        image: an image file of any format that Pillow reads: a path, its bytes (or anything
            bytes-like), or open in binary mode. Or a Pillow image of any mode, a uint8 array
            (H, W), (H, W, 3) or (H, W, 4), or a `Picture`. Any size from 1×1.
        quality: 1 (smallest) to 8 (best), fractions allowed; None: 4. Or a `Target`: the encoder
            looks for the quality that reaches it, `Target("psnr", 35)`.
        effort: 1 to 9: more takes longer, and gives smaller or better files.
        model, device: as `load` takes them.
        strip, strip_location, allow_truncated: as `read_picture` takes them.
        max_pixels: larger images are refused.

    Raises BadInputError when the image cannot be read, UsageError for bad arguments, TicodecError
    when there is not enough memory for an image of its size, before its pixels are decoded; and
    when a target is out of reach.
    """
    check_device(device)
    entry = weights.find(model)
    check_quality(entry, quality)  # before seconds are spent on loading the network
    effort = checked_effort(effort)
    reading = Reading(strip, strip_location, allow_truncated)
    check = room_for(entry, device, effort=effort)
    picture = as_picture(image, max_pixels, check, reading)
    data = loaded(entry, device).encode(picture, quality, effort=effort)
    if picture is not image:
        warn(picture.notes_with(len(data)))
    return data


def read_picture(
    image: ImageLike,
    *,
    strip: bool = False,
    strip_location: bool = False,
    allow_truncated: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """An image as it is encoded: upright, 8-bit RGB. Its `notes` say what is not kept of it.

    Args:
        image: as `encode` takes it.
        strip: leave out all metadata, and convert the colours to sRGB.
        strip_location: leave out where the photo was taken; other metadata stays.
        allow_truncated: take a JPEG whose end is missing; what is missing becomes grey.
        max_pixels: larger images are refused.

    Raises BadInputError when the image cannot be read, UsageError for bad arguments.
    """
    return as_picture(image, max_pixels, None, Reading(strip, strip_location, allow_truncated))


def decode(
    data: FileLike,
    *,
    crop: Sequence[int] | None = None,
    scale: int = 1,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """A `.tic` file to a Pillow image ("RGB", "L", "RGBA" or "LA").

    ICC profile, EXIF and XMP are in its `info`. (`Codec.decode` gives a `Picture`, which has the
    pixels as an array; its `to_image()` is this image.)

    Args:
        data: a path, the bytes (or anything bytes-like), or a file open in binary mode.
        crop: decode only a part of the image: (x, y, width, height) in its pixels, from the top
            left. They differ from those of the whole image by a grey level at most. The latents
            are decoded whole, the rest takes time in proportion to the part.
        scale: 2, 4 or 8 give a picture at 1/scale of the size, rounded up, for less work: nearly
            what the whole picture gives when it is made smaller. Of a crop all the smaller pixels
            that have something of it. Weights without a preview make the whole pixels smaller.
        device: as `load` takes it; max_pixels: larger images are refused.

    Raises BadInputError when the data is damaged, too large, or its weights are not here,
    UsageError for bad arguments, such as a crop that is not within the image.
    """
    scale = checked_scale(scale)
    container = as_container(data, max_pixels)
    header = container.header
    box_of(crop, header.height, header.width)  # before seconds are spent on loading the network
    codec = loaded(weights.of(header), device)
    return codec.decode(container, crop=crop, scale=scale).to_image()


def classify(
    image: ImageLike,
    *,
    top: int = 5,
    head: str | os.PathLike[str] | None = None,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> list[Label]:
    """What is in a `.tic` file, from its latents; no pixel is made.

    Args:
        image: a `.tic` file as `decode` takes it; or any image that `encode` takes, which is
            encoded in memory at quality 4, by the weights that `head` reads.
        top: how many labels, the most probable first; fewer when there are fewer.
        head: a classifier's file; None: the one that the file's weights come with.
        device: as `load` takes it; max_pixels: larger images are refused.

    Returns a list of labels, each with `label` and `probability` (0 … 1).
    Raises BadInputError when the data is damaged, too large, its weights are not here or have no
    classifier, UsageError for bad arguments.
    """
    whole("top", top)
    container, codec = coded(image, None, None, path_of("head", head), device, max_pixels)
    return codec.classify(container, top, head)


def coded(
    image: ImageLike | Container,
    quality: float | None,
    model: str | None,
    head: Path | None,
    device: str,
    max_pixels: int,
    progress: Progress | None = None,
) -> tuple[Container, Codec]:
    """A `.tic` file and its codec, to be classified; any other image is encoded first.

    Args:
        quality, model: to encode with; without a model, by the weights that `head` reads.
        head: the classifier's file; None: the one of the weights.
        progress: of encoding, as `Codec.encode` takes it.

    Raises as `classify` does, and UsageError for a model that is not there or a quality that it
    does not have.
    """

    def check(height: int, width: int) -> None:
        with suppress(BadInputError):  # a head that cannot be read: said when it is
            room_for(weights.find_for(model, head), device)(height, width)

    check_device(device)
    source = tic_or_picture(image, max_pixels, check)
    if isinstance(source, Container):
        return source, loaded(weights.of(source.header), device)
    entry = weights.find_for(model, head)
    checked_quality(entry, quality)
    codec = loaded(entry, device)
    return codec.containers([source], quality, progress=progress)[0], codec


def room_for(
    entry: weights.Entry, device: str, have: int | None = None, effort: int = USUAL_EFFORT
) -> SizeCheck:
    """What refuses images that these weights cannot encode for lack of memory; loads no network.

    Args:
        have: the memory there is, in bytes; None: what is free.
        effort: of encoding, 1 … 9.

    It raises TicodecError, see `memory.check`. Damaged weights are left to those who load them.
    """

    def check(height: int, width: int) -> None:
        try:
            config = config_from(weights.read_config(entry))
        except (BadInputError, ValueError):
            return
        try:
            memory.check_picture(config, height, width, have, effort)
        except TicodecError:
            if device == "cpu" or not _is_gpu(device):
                raise

    return check


def _is_gpu(device: str) -> bool:
    """Whether that device is a GPU, as torch says, which takes seconds to import."""
    from .device import pick_device

    return pick_device(device).type != "cpu"


def loaded(entry: weights.Entry, device: str) -> Codec:
    """The codec of an entry, kept for the next call. Raises as `load` does."""
    check_device(device)
    return _loaded(entry, device)


@lru_cache(maxsize=4)
def _loaded(entry: weights.Entry, device: str) -> Codec:
    from .codec import Codec

    return Codec(entry, device)
