"""Latents of photos, encoded once and kept: what an entropy model is trained on.

photos ─► shrink, mirror ─► g_a ─► y, without gain ────────────────────────► kept, float16
                                   └► ·gain of a few levels ─► coder ─► ŷ ─► kept, float16

A batch is windows of both, from the same places. A step on latents costs a hundredth of one that
runs g_a and g_s. ŷ is that of the integer coder, the context that a file has.

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
from ticodec.models.config import STRIDE_Y
from ticodec.models.inference import Transform, fast_bf16

from .data.photos import Photos

#: Levels that each map is coded at, each in a range of its own.
CODED_LEVELS = 3
#: Photos that are shrunk are at least this many times smaller, or `shrink` times if that is less.
SHRUNK_LEAST = 1.3
#: One position of z covers this many pixels each way. Sides of pieces are multiples of it.
STRIDE_Z = 64
#: And so many positions of y each way. Windows begin where a position of z does.
Z_TO_Y = STRIDE_Z // STRIDE_Y


class Coding(NamedTuple):
    """ŷ of a map at one level.

    Args:
        map: number of the map; level: of the quality, from 0.
        y_hat: (h, w, M), float16, gain applied.
    """

    map: int
    level: float
    y_hat: Tensor


class EncodedPhotos:
    """Latents of pieces of photos, y and ŷ, in memory.

    Args:
        maps: y of each piece, before the gain, (h, w, M), float16, on the CPU.
        codings: ŷ of these maps, at several levels each, on the CPU.
        device: where batches go.
    """

    def __init__(self, maps: list[Tensor], codings: list[Coding], device: torch.device) -> None:
        self.maps, self.codings, self.device = maps, codings, device
        areas = torch.tensor([float(c.y_hat.shape[0] * c.y_hat.shape[1]) for c in codings])
        self.share = areas.double().cumsum(0) / areas.sum()

    def windows(
        self, count: int, side: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Windows at random places; a map's share of them is that of its area.

        Args:
            count: of windows, B.
            side: of a window, in latents: a multiple of 4 that is at most that of every map.
            generator: a CPU generator, which alone decides.
        Returns: y before the gain, (B, side, side, M); levels, (B,); ŷ of the same windows, gain
            applied, (B, side, side, M). All float32, on the device.
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
    """Run g_a once over the pieces of photos, and code each map at a few levels.

    The range of levels has `CODED_LEVELS` parts of one width. Of each part one level is drawn.

    Args:
        network: on the device of the photos; coder: of the same network, on the CPU.
        side, shrink: see `pieces`.
        qualities: the lowest and the highest, from 1; for one above the network's that is taken.
        generator: a CPU generator, which alone decides.
        tick: called once a piece.

    Raises BadInputError when there is no piece: every photo is smaller than `side`.
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


def pieces(
    photos: Photos, side: int, shrink: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """What is encoded: each photo as it is, and once more shrunk; (H, W, 3), float32 in [0, 1].

    Of each the middle is cut out, as much as has sides that are multiples of 64. Chance decides
    whether it is mirrored, and the factor of shrinking.

    Args:
        side: pieces with a side below this many pixels are left out.
        shrink: the largest factor; 1: nothing is shrunk, and each photo is encoded once.
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
