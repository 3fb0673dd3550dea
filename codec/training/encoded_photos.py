"""Latents of photos, encoded once and kept: what an entropy model is trained on.

photos ─► shrink, cut, mirror ─► g_a ─► y, without gain, kept in float16
                                        └► some of them ─► ·gain ─► h_a, coder ─► ŷ   every step

A step on latents costs a hundredth of one that runs g_a and g_s. ŷ is that of the integer coder: it
is the context that a file has.

Photos are cut before they are encoded, so each piece has borders as an image has. Windows of the
latents of whole photos have none: what learns from those gets worse at coding whole photos.

In memory a pixel takes 2·M/256 bytes: 2.5 with M = 320.
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

#: Photos that are shrunk are at least this many times smaller, or `shrink` times if that is less.
SHRUNK_LEAST = 1.3


class EncodedPhotos:
    """Latents of pieces of photos, in memory.

    Args:
        maps: y of each piece, before the gain, (h, w, M), float16, on the CPU; all of one size.
        device: where batches go.
    """

    def __init__(self, maps: list[Tensor], device: torch.device) -> None:
        self.maps, self.device = maps, device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """y of `count` random pieces, before the gain, (B, h, w, M), float32, on the device.

        `generator` is a CPU generator; it alone decides.
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
    """Run g_a over pieces of photos.

    Args:
        network: on the device of the photos.
        side: of a piece, in pixels, a multiple of the network's stride; photos that are smaller
            are left out. shrink: see `sizes`.
        generator: a CPU generator, which alone decides.
        tick: called once a photo, and once more for each that is shrunk.

    Raises BadInputError when there is no piece: every photo is smaller than `side`.
    """
    device = photos.pixels.device
    g_a = fast_analysis(network, device)
    maps: list[Tensor] = []
    for image in sizes(photos, shrink, generator):
        for x in squares(image, side, generator):
            maps.append(g_a(x[None] - 0.5)[0].half().cpu())
        tick()
    if not maps:
        raise BadInputError(f"no photo is as large as a crop: {side}×{side} pixels")
    return EncodedPhotos(maps, device)


def fast_analysis(network: CodecNetwork, device: torch.device) -> Transform:
    """g_a of a network as the encoder runs it, bf16 where that is fast."""
    dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
    return Transform(deepcopy(network.g_a), device, dtype)


@torch.no_grad()
def code(network: CodecNetwork, coder: EntropyCoder, y: Tensor) -> Tensor:
    """ŷ of latents, as a file has it: (B, h, w, M), float32, on the device of y.

    Args:
        network: its h_a runs; coder: of the same network, on the CPU.
        y: gain applied, (B, h, w, M), float32, on the network's device.
    """
    z = network.h_a(y)
    encodings = [Encoding(coder, *pair) for pair in zip(y.cpu(), z.cpu(), strict=True)]
    coded = torch.stack(coder.run(encodings))
    return coded.reshape(y.shape).to(y)


def sizes(photos: Photos, shrink: float, generator: torch.Generator) -> Iterator[Tensor]:
    """Each photo as it is, and shrunk; (H, W, 3), float32 in [0, 1].

    Args:
        shrink: the largest factor, drawn for each photo; 1: nothing is shrunk.
        generator: a CPU generator, which alone decides.
    """
    least = min(SHRUNK_LEAST, shrink)
    for number in range(len(photos)):
        x = photos.whole(number)
        yield x
        if shrink > 1:
            yield shrunk(x, least + (shrink - least) * float(torch.rand(1, generator=generator)))


def squares(x: Tensor, side: int, generator: torch.Generator) -> Iterator[Tensor]:
    """As many squares (side, side, 3) of an image (H, W, 3) as fit side by side, spread evenly.

    `generator` decides which are mirrored.
    """
    for top in spread(x.shape[0], side):
        for left in spread(x.shape[1], side):
            square = x[top : top + side, left : left + side]
            yield square.flip(1) if float(torch.rand(1, generator=generator)) < 0.5 else square


def spread(length: int, side: int) -> list[int]:
    """Where as many pieces as fit into a length begin: with equal gaps, also at both ends."""
    count = length // side
    return [round((n + 1) * (length - count * side) / (count + 1)) + n * side for n in range(count)]


def shrunk(x: Tensor, factor: float) -> Tensor:
    """An image (H, W, 3) in [0, 1], this many times smaller."""
    return resized(x[None], (round(x.shape[0] / factor), round(x.shape[1] / factor)))[0]
