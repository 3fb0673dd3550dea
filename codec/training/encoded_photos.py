"""Latents of photos, encoded once and kept: what an entropy model is trained on.

photos ─► shrink, cut, mirror ─► g_a ─► y, without gain ────────────────────────► kept, float16
                                        └► ·gain of a few levels ─► coder ─► ŷ ─► kept, float16

A batch is some pieces, y and ŷ. A step on latents costs a hundredth of one that runs g_a and g_s.
ŷ is that of the integer coder, the context that a file has.

Photos are cut before they are encoded, so each piece has borders as an image has. Windows of the
latents of whole photos have none: what learns from those gets worse at coding whole photos.

In memory a pixel takes 2·M/256 bytes for y and as much for each ŷ: 10 with M = 320.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ticodec.entropy.coder import Encoding, EntropyCoder
from ticodec.errors import BadInputError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.inference import Transform, fast_bf16

from .data.photos import Photos

#: Levels that each map is coded at, each in a range of its own.
CODED_LEVELS = 3
#: Photos that are shrunk are at least this many times smaller, or `shrink` times if that is less.
SHRUNK_LEAST = 1.3


class Coding(NamedTuple):
    """ŷ of a piece at one level.

    Args:
        piece: its number; level: of the quality, from 0.
        y_hat: (h, w, M), float16, gain applied.
    """

    piece: int
    level: float
    y_hat: Tensor


class EncodedPhotos:
    """Latents of pieces of photos, y and ŷ, in memory.

    Args:
        maps: y of each piece, before the gain, (h, w, M), float16, on the CPU; all of one size.
        codings: ŷ of these pieces, at several levels each, on the CPU.
        device: where batches go.
    """

    def __init__(self, maps: list[Tensor], codings: list[Coding], device: torch.device) -> None:
        self.maps, self.codings, self.device = maps, codings, device

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pieces at random, each at one of its levels.

        Args:
            count: of pieces, B.
            generator: a CPU generator, which alone decides.
        Returns: y before the gain, (B, h, w, M); levels, (B,); ŷ of the same pieces, gain applied,
            (B, h, w, M). All float32, on the device.
        """
        numbers = torch.randint(len(self.codings), (count,), generator=generator).tolist()
        picked = [self.codings[number] for number in numbers]
        y = torch.stack([self.maps[coding.piece] for coding in picked])
        y_hat = torch.stack([coding.y_hat for coding in picked])
        levels = torch.tensor([coding.level for coding in picked], device=self.device)
        return y.float().to(self.device), levels, y_hat.float().to(self.device)


def encode_photos(
    network: CodecNetwork,
    coder: EntropyCoder,
    photos: Photos,
    side: int,
    shrink: float,
    qualities: tuple[float, float],
    generator: torch.Generator,
    tick: Callable[[], None],
) -> EncodedPhotos:
    """Run g_a once over pieces of photos, and code each at a few levels.

    The range of levels has `CODED_LEVELS` parts of one width. Of each part one level is drawn.

    Args:
        network: on the device of the photos; coder: of the same network, on the CPU.
        side: of a piece, in pixels, a multiple of the network's stride; photos that are smaller
            are left out. shrink: see `sizes`.
        qualities: the lowest and the highest, from 1; for one above the network's that is taken.
        generator: a CPU generator, which alone decides.
        tick: called once a photo, and once more for each that is shrunk.

    Raises BadInputError when there is no piece: every photo is smaller than `side`.
    """
    device = photos.pixels.device
    g_a = fast_analysis(network, device)
    low, high = (min(quality, network.config.levels) for quality in qualities)
    maps: list[Tensor] = []
    codings: list[Coding] = []
    for image in sizes(photos, shrink, generator):
        for x in squares(image, side, generator):
            y = g_a(x[None] - 0.5)[0].half()
            parts = torch.rand(CODED_LEVELS, generator=generator) + torch.arange(CODED_LEVELS)
            levels = (low - 1 + (high - low) * parts / CODED_LEVELS).tolist()
            coded = code(network, coder, y.float(), levels)
            codings += [Coding(len(maps), *pair) for pair in zip(levels, coded, strict=True)]
            maps.append(y.cpu())
        tick()
    if not maps:
        raise BadInputError(f"no photo is as large as a crop: {side}×{side} pixels")
    return EncodedPhotos(maps, codings, device)


def fast_analysis(network: CodecNetwork, device: torch.device) -> Transform:
    """g_a of a network as the encoder runs it, bf16 where that is fast."""
    dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
    return Transform(deepcopy(network.g_a), device, dtype, keep_last=True)


@torch.inference_mode()
def code(
    network: CodecNetwork, coder: EntropyCoder, y: Tensor, levels: list[float]
) -> list[Tensor]:
    """ŷ at each of the levels, (h, w, M), float16, on the CPU, gain applied.

    Args:
        y: before the gain, (h, w, M), float32, on the network's device.
    """
    encodings = []
    for level in levels:
        up, _ = network.scaling(torch.tensor([level], device=y.device))
        scaled = y * up[0]
        z = network.h_a(scaled[None])[0]
        encodings.append(Encoding(coder, scaled.cpu(), z.cpu()))
    return [y_hat.half().reshape(y.shape) for y_hat in coder.run(encodings)]


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
    size = (round(x.shape[0] / factor), round(x.shape[1] / factor))
    planes = interpolate(x.permute(2, 0, 1)[None], size, mode="bicubic", antialias=True)
    return planes[0].permute(1, 2, 0).clamp(0, 1)
