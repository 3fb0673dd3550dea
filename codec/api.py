"""The public functions. They take files, arrays or Pillow images.

encode    image ─► .tic bytes            classify   .tic or image ─► labels
decode    .tic  ─► Pillow image          info       .tic ─► facts, without a network

A file can be a path, bytes, or a file object in binary mode. Each file is parsed only once.
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
    """Load a codec once, to process many images with it.

    Args:
        model: the model's name, as `ticodec models` and `list_models` show it. None means the
            default model.
        device: "auto", "cpu", "cuda", or one of several GPUs: "cuda:1".
        bf16: whether the transforms run in bf16. None means to use bf16 if the hardware computes
            fast in it.

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
    """Encode an image. Returns the bytes of a `.tic` file.

    Warnings (`TicodecWarning`) say what the file does not keep. To see them before you encode, call
    `read_picture`, look at the `notes` of the picture, and encode that picture.

    Args:
        image: an image file of any format that Pillow reads, given as a path, as bytes (or anything
            bytes-like), or as a file object in binary mode. It can also be a Pillow image of any
            mode, a uint8 array (H, W), (H, W, 3) or (H, W, 4), or a `Picture`. The smallest image
            is 1×1.
        quality: 1 (smallest file) to 8 (best picture), fractions allowed. None means 4. It can also
            be a `Target`, such as `Target("psnr", 35)`. Then the encoder finds the quality that
            reaches the target.
        effort: 1 to 9. More effort takes longer, and gives smaller or better files.
        model, device: see `load`.
        strip, strip_location, allow_truncated: see `read_picture`.
        max_pixels: images with more pixels are refused.

    Raises:
        BadInputError: the image cannot be read.
        UsageError: an argument is wrong.
        TicodecError: there is not enough memory for an image of this size (found out before its
            pixels are decoded), or the target is out of reach.
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
    """Read an image as it would be encoded: upright, 8-bit RGB.

    The `notes` of the picture say what a `.tic` file does not keep.

    Args:
        image: see `encode`.
        strip: leave out all metadata, and convert the colours to sRGB.
        strip_location: leave out where the photo was taken. Other metadata stays.
        allow_truncated: accept a JPEG whose end is missing. The missing part becomes grey.
        max_pixels: images with more pixels are refused.

    Raises BadInputError if the image cannot be read, UsageError for wrong arguments.
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
    """Decode a `.tic` file to a Pillow image ("RGB", "L", "RGBA" or "LA").

    The ICC profile, EXIF and XMP are in the `info` of the image. (`Codec.decode` returns a
    `Picture` instead, which has the pixels as an array.)

    Args:
        data: a path, bytes (or anything bytes-like), or a file object in binary mode.
        crop: decode only a part of the image: (x, y, width, height) in pixels, from the top left.
            Its pixels differ from those of the whole image by one level at most. All latents are
            decoded, whatever the crop. The time for the rest is proportional to the crop's size.
        scale: 2, 4 or 8 decode the picture at 1/scale of its size, rounded up, with less work. The
            result is nearly the same as if the whole picture was decoded and then shrunk. With a
            crop, it has every small pixel that covers a part of the crop. With weights that have no
            preview, all pixels are decoded and then shrunk.
        device: see `load`.
        max_pixels: images with more pixels are refused.

    Raises:
        BadInputError: the data is damaged or has too many pixels, or its weights are not installed.
        UsageError: an argument is wrong, such as a crop that is not within the image.
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
    """Label what a `.tic` file shows, from its latents. No pixel is decoded.

    Args:
        image: a `.tic` file as `decode` takes it. Any other image that `encode` takes is first
            encoded in memory, at quality 4, with the weights that `head` was trained for.
        top: the number of labels, the most probable first. If the classifier has fewer classes,
            all of them are returned.
        head: the file of a classifier. None means the classifier that comes with the weights.
        device: see `load`.
        max_pixels: images with more pixels are refused.

    Returns:
        A list of labels, each with `label` and `probability` (0 … 1).

    Raises:
        BadInputError: the data is damaged or has too many pixels, or its weights are not installed
            or have no classifier.
        UsageError: an argument is wrong.
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
    """Parse a `.tic` file for `classify`, or encode any other image.

    Args:
        quality: the quality to encode with. None means the usual quality.
        model: the model to encode with. None means the weights that `head` was trained for.
        head: the file of a classifier. None means the classifier that comes with the weights.
        progress: gets the progress of encoding, see `Codec.encode`.

    Returns:
        The parsed file, and the codec of its weights.

    Raises the errors of `classify`, and UsageError for a model that is not installed or a quality
    that the model does not have.
    """

    def check(height: int, width: int) -> None:
        with suppress(BadInputError):  # a head that cannot be read is reported when it is loaded
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
    """Make a function that refuses images that are too large to encode in the available memory.

    The function loads no network. It raises TicodecError, see `memory.check`. It accepts every
    image if the weights are damaged, because loading them reports that.

    Args:
        entry: the weights to encode with.
        device: where the network will run. For a GPU, no image is refused.
        have: the available memory, in bytes. None means the result of `memory.available`.
        effort: the effort to encode with, 1 … 9.
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
    """Whether the device is a GPU. This imports torch, which takes seconds."""
    from .device import pick_device

    return pick_device(device).type != "cpu"


def loaded(entry: weights.Entry, device: str) -> Codec:
    """Load the codec of an entry, and keep it for the next call. Raises the errors of `load`."""
    check_device(device)
    return _loaded(entry, device)


@lru_cache(maxsize=4)
def _loaded(entry: weights.Entry, device: str) -> Codec:
    from .codec import Codec

    return Codec(entry, device)
