"""Latents of photos, encoded once and kept: what an entropy model is trained on.

photos ─► mirror, shrink ─► g_a ─► y, without gain ──────────────────────► kept, float16
                                   └► ·gain of a few levels ─► coder ─► ŷ ─► kept, float16

A batch is windows of both at the same places. A step on latents costs a hundredth of one that runs
g_a and g_s. ŷ comes from the integer coder, so the context that is learned from is the one that a
file has: with noise in place of rounding, neighbours tell more about y than ŷ does.
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
#: Photos are shrunk by this factor at least, if at all.
SHRUNK_LEAST = 1.3
#: Sides of pieces are multiples of this, so that z has whole positions.
STRIDE_Z = 64
#: z has one position for this many of y each way; windows begin where one does.
Z_TO_Y = 4


class Coding(NamedTuple):
    """ŷ of a map at one level: the map's number, the level, and ŷ (h, w, M), float16."""

    map: int
    level: float
    y_hat: Tensor


class EncodedPhotos:
    """Latents of photos and what they decode to, in memory.

    Args:
        maps: y of each, before the gain, (h, w, M), float16.
        codings: ŷ of them, several for each, gains applied.
        device: where batches go.
    """

    def __init__(self, maps: list[Tensor], codings: list[Coding], device: torch.device) -> None:
        self.maps, self.codings, self.device = maps, codings, device
        areas = torch.tensor([float(c.y_hat.shape[0] * c.y_hat.shape[1]) for c in codings])
        self.share = areas.double().cumsum(0) / areas.sum()

    def windows(
        self, count: int, side: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Windows at random places, large maps more often.

        Args:
            count: B; side: of the windows, in latents, a multiple of 4 that fits into every map.
            generator: a CPU generator, which alone decides.
        Returns: y before the gain (B, side, side, M), levels (B,), and ŷ as y; all float32.
        """
        drawn = torch.rand(count, generator=generator, dtype=torch.float64)
        picks = torch.searchsorted(self.share, drawn).clamp(max=len(self.codings) - 1).tolist()
        places = torch.rand(count, 2, generator=generator).tolist()
        parts = []
        for pick, (down, right) in zip(picks, places, strict=True):
            coding = self.codings[pick]
            height, width = coding.y_hat.shape[:2]
            top = Z_TO_Y * int(down * ((height - side) // Z_TO_Y + 1))
            left = Z_TO_Y * int(right * ((width - side) // Z_TO_Y + 1))
            window = (slice(top, top + side), slice(left, left + side))
            parts.append((self.maps[coding.map][window], coding.y_hat[window]))
        y, y_hat = (
            torch.stack(windows).float().to(self.device) for windows in zip(*parts, strict=True)
        )
        levels = torch.tensor([self.codings[pick].level for pick in picks], device=self.device)
        return y, levels, y_hat


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
    """Run g_a once over photos, and code what comes out at a few levels.

    Args:
        network: on the device of the photos; coder: of the same network, on the CPU.
        side, shrink: see `pieces`. qualities: the lowest and the highest, from 1.
        generator: a CPU generator, which alone decides.
        tick: called once a piece.

    Raises BadInputError when no photo is as large as `side`.
    """
    device = photos.pixels.device
    g_a = fast_analysis(network, device)
    low, high = (min(quality, network.config.levels) for quality in qualities)
    maps: list[Tensor] = []
    codings: list[Coding] = []
    for x in pieces(photos, side, shrink, generator):
        y = g_a(x[None] - 0.5)[0].half()
        levels = [
            low
            - 1
            + (high - low) * (part + float(torch.rand(1, generator=generator))) / CODED_LEVELS
            for part in range(CODED_LEVELS)
        ]
        coded = code(network, coder, y.float(), levels)
        codings += [Coding(len(maps), *pair) for pair in zip(levels, coded, strict=True)]
        maps.append(y.cpu())
        tick()
    if not maps:
        raise BadInputError(f"no photo is as large as a crop: {side}×{side} pixels")
    return EncodedPhotos(maps, codings, device)


def fast_analysis(network: CodecNetwork, device: torch.device) -> Transform:
    """g_a of a network as the encoder runs it."""
    dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
    return Transform(deepcopy(network.g_a), device, dtype, keep_last=True)


@torch.inference_mode()
def code(
    network: CodecNetwork, coder: EntropyCoder, y: Tensor, levels: list[float]
) -> list[Tensor]:
    """ŷ (h, w, M), float16 on the CPU, of y (h, w, M), before the gain, at each of the levels."""
    encodings = []
    for level in levels:
        up, _ = network.scaling(torch.tensor([level], device=y.device))
        scaled = y * up[0]
        z = network.h_a(scaled[None])[0]
        encodings.append(Encoding(coder, scaled.cpu(), z.cpu()))
    return [y_hat.half().reshape(y.shape) for y_hat in coder.run(encodings)]


def pieces(
    photos: Photos, side: int, shrink: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """What of each photo is encoded: all of it, and once more shrunk; (H, W, 3) float32 in [0, 1].

    Sides are multiples of 64, since the middle is cut out. Half of them are mirrored.

    Args:
        side: pieces that are smaller than this, in pixels, are left out.
        shrink: the largest factor; 1: photos are encoded once, as large as they are.
        generator: a CPU generator, which alone decides.
    """
    least = min(SHRUNK_LEAST, shrink)
    for number in range(len(photos)):
        for again in (False, True)[: 1 + (shrink > 1)]:
            part, turn = torch.rand(2, generator=generator).tolist()
            x = photos.whole(number)
            if again:
                x = shrunk(x, least + (shrink - least) * part)
            if turn < 0.5:
                x = x.flip(1)
            height, width = (n // STRIDE_Z * STRIDE_Z for n in x.shape[:2])
            if min(height, width) < side:
                continue
            top, left = (x.shape[0] - height) // 2, (x.shape[1] - width) // 2
            yield x[top : top + height, left : left + width]


def shrunk(x: Tensor, factor: float) -> Tensor:
    """An image (H, W, 3) in [0, 1], this many times smaller."""
    size = (round(x.shape[0] / factor), round(x.shape[1] / factor))
    planes = interpolate(x.permute(2, 0, 1)[None], size, mode="bicubic", antialias=True)
    return planes[0].permute(1, 2, 0).clamp(0, 1)
