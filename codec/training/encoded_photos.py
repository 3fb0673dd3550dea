"""Latents of photos, encoded once and kept in memory, on which an entropy model is trained.

photos ─► shrink, cut, mirror ─► g_a ─► y, without gain, kept in float16
                                        └► a random batch ─► ·gain ─► h_a, coder ─► ŷ  every step

A step on latents takes a hundredth of the time of a step that runs g_a and g_s. The integer coder
computes ŷ, so the context model sees the same context as in a file.

Photos are cut into pieces before they are encoded, so each piece has borders like those of an
image. If photos were encoded whole and the latents were cut, the pieces would have no borders, and
an entropy model that learns from them would get worse at coding whole photos.

Each pixel takes 2·M/256 bytes of memory: 2.5 bytes with M = 320.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor

from ticodec.entropy.coder import Encoding, EntropyCoder
from ticodec.errors import BadInputError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.inference import Transform, fast_bf16

from .data.photos import Photos, resized

#: The smallest factor by which photos are shrunk. If `shrink` is less, `shrink` is used.
SHRUNK_LEAST = 1.3


class EncodedPhotos:
    """Latents of pieces of photos, in memory.

    Args:
        maps: y of each piece, before the gain, (h, w, M), float16, on the CPU. All have one size.
        device: the device for batches.
    """

    def __init__(self, maps: list[Tensor], device: torch.device) -> None:
        self.maps, self.device = maps, device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """y of `count` random pieces, before the gain, (B, h, w, M), float32, on the device.

        `generator` is a CPU generator. It alone decides which pieces are drawn.
        """
        numbers = torch.randint(len(self.maps), (count,), generator=generator).tolist()
        return torch.stack([self.maps[number] for number in numbers]).float().to(self.device)


def encode_photos(
    network: CodecNetwork,
    photos: Photos,
    side: int,
    shrink: float,
    generator: torch.Generator,
    tick: Callable[[], None],
) -> EncodedPhotos:
    """Run g_a on pieces of photos.

    Args:
        network: a network on the device of the photos.
        photos: the photos.
        side: width and height of a piece in pixels, a multiple of the network's stride. Smaller
            photos are left out.
        shrink: the largest factor by which photos are shrunk, see `sizes`.
        generator: a CPU generator, from which all random numbers come.
        tick: called once for each photo, and once more for each shrunk photo.

    Raises:
        BadInputError: There are no pieces, because every photo is smaller than `side`.
    """
    device = photos.pixels.device
    g_a = fast_analysis(network, device)
    maps: list[Tensor] = []
    for image in sizes(photos, shrink, generator):
        for x in squares(image, side, generator):
            maps.append(g_a(x[None] - 0.5)[0].half().cpu())
        tick()
    if not maps:
        raise BadInputError(f"every photo is smaller than a crop of {side}×{side} pixels")
    return EncodedPhotos(maps, device)


def fast_analysis(network: CodecNetwork, device: torch.device) -> Transform:
    """g_a of a network, run as the encoder runs it: in bf16 if the device is fast at it."""
    dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
    return Transform(deepcopy(network.g_a), device, dtype)


@torch.no_grad()
def code(network: CodecNetwork, coder: EntropyCoder, y: Tensor) -> Tensor:
    """ŷ of latents, as in a file: (B, h, w, M), float32, on the device of y.

    Args:
        network: the network whose h_a is used.
        coder: the integer coder of this network, on the CPU.
        y: latents multiplied by the gain, (B, h, w, M), float32, on the network's device.
    """
    z = network.h_a(y)
    encodings = [Encoding(coder, *pair) for pair in zip(y.cpu(), z.cpu(), strict=True)]
    coded = torch.stack(coder.run(encodings))
    return coded.reshape(y.shape).to(y)


def sizes(photos: Photos, shrink: float, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields each photo at its own size, then shrunk, as (H, W, 3), float32 in [0, 1].

    Args:
        photos: the photos.
        shrink: the largest factor. The factor is drawn for each photo. 1 means that no photo is
            shrunk.
        generator: a CPU generator, which draws the factors.
    """
    least = min(SHRUNK_LEAST, shrink)
    for number in range(len(photos)):
        x = photos.whole(number)
        yield x
        if shrink > 1:
            yield shrunk(x, least + (shrink - least) * float(torch.rand(1, generator=generator)))


def squares(x: Tensor, side: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Cuts an image (H, W, 3) into squares (side, side, 3) that do not overlap.

    There are as many as fit, with equal gaps between them. `generator` decides which squares are
    mirrored.
    """
    for top in spread(x.shape[0], side):
        for left in spread(x.shape[1], side):
            square = x[top : top + side, left : left + side]
            yield square.flip(1) if float(torch.rand(1, generator=generator)) < 0.5 else square


def spread(length: int, side: int) -> list[int]:
    """Where pieces of length `side` start: as many as fit into `length`, with equal gaps.

    There is also a gap of this size at both ends.
    """
    count = length // side
    return [round((n + 1) * (length - count * side) / (count + 1)) + n * side for n in range(count)]


def shrunk(x: Tensor, factor: float) -> Tensor:
    """An image (H, W, 3) in [0, 1], with width and height divided by `factor`."""
    return resized(x[None], (round(x.shape[0] / factor), round(x.shape[1] / factor)))[0]
