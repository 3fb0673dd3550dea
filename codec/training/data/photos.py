"""Training images, decoded into memory and cropped there, on the GPU if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ticodec.errors import BadInputError
from ticodec.picture import Pixels

from .unusable import too_small

#: One of this many images, by name, is held out for validation.
HOLD_OUT = 50


def split(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Split paths, sorted by name, into training and validation images.

    Every 50th image, and at least one, is for validation. A single image is used for both.
    """
    held = paths[::HOLD_OUT]
    kept = set(held)
    return [p for p in paths if p not in kept] or paths, held


def send(x: Tensor, device: torch.device) -> Tensor:
    """x on the device. Sending it to a GPU does not wait for the GPU's current work."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x


def draw_levels(
    qualities: tuple[float, float], count: int, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Random quality levels, (count,) float32 on the device.

    Args:
        qualities: the lowest and the highest quality, from 1. A level is the quality minus 1.
        count: how many levels to draw.
        generator: a CPU generator.
        device: where the levels are needed.
    """
    low, high = qualities
    return send(low - 1 + (high - low) * torch.rand(count, generator=generator), device)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, H, W, 3) in [0, 1], resized to this height and width with a bicubic filter."""
    planes = interpolate(x.permute(0, 3, 1, 2), size, mode="bicubic", antialias=True)
    return planes.permute(0, 2, 3, 1).clamp(0, 1).contiguous()


class Photos:
    """Decoded images in one flat uint8 tensor, so that a batch of crops is one gather operation.

    Args:
        images: (H, W, 3) uint8, RGB, as `Decoding` yields them. An image with a side below
            `smallest` is left out, and so is a text, which says why an image cannot be read.
        smallest: the size of a crop that must fit into each image, in pixels.
        device: where the pixels are stored and crops are made.
        tick: called once for each image, for a progress bar.
        leave_out: called as `leave_out(number, why)` for each image that is left out. The first
            image has the number 0.

    Raises:
        BadInputError: No image is left.
    """

    def __init__(
        self,
        images: Iterable[Pixels | str],
        smallest: int,
        device: torch.device,
        tick: Callable[[], None] = lambda: None,
        leave_out: Callable[[int, str], None] = lambda number, why: None,
    ) -> None:
        pixels, sizes = [], []
        for number, photo in enumerate(images):
            tick()
            if isinstance(photo, str):
                leave_out(number, photo)
                continue
            if min(photo.shape[:2]) < smallest:
                leave_out(number, too_small(photo.shape[:2], smallest))
                continue
            sizes.append(photo.shape[:2])
            pixels.append(torch.from_numpy(photo).flatten())
        if not pixels:
            raise BadInputError(f"no readable image of at least {smallest}×{smallest} pixels")
        self.sizes = torch.tensor(sizes)  # (n, 2): height, width
        self.largest = int(self.sizes.amin(1).max())  # side of the largest square in any image
        ends = torch.tensor([p.numel() for p in pixels]).cumsum(0)
        self.starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
        self.pixels = torch.empty(int(ends[-1]), dtype=torch.uint8, device=device)
        for start in reversed(self.starts.tolist()):  # frees each image once it is copied
            part = pixels.pop()
            self.pixels[start : start + part.numel()] = part

    def __len__(self) -> int:
        return len(self.sizes)

    def crops(
        self, count: int, size: int, generator: torch.Generator, shrink: float = 1.0
    ) -> Tensor:
        """Random crops, half of them mirrored: (count, size, size, 3), float32 in [0, 1].

        Args:
            count: how many crops to make.
            size: width and height of a crop, in pixels.
            generator: a CPU generator, from which all random numbers come.
            shrink: the largest factor. Crops are cut larger by a random factor, from photos that
                are large enough, and shrunk to `size`. All crops of a call have the same factor.
        """
        factor = shrink ** float(torch.rand(1, generator=generator)) if shrink > 1 else 1.0
        piece = min(round(size * factor), self.largest)
        fits = (self.sizes.amin(1) >= piece).nonzero()[:, 0]
        pick = fits[torch.randint(len(fits), (count,), generator=generator)]
        room = self.sizes[pick] - piece + 1  # (count, 2)
        top, left = (torch.rand(count, 2, generator=generator) * room).long().unbind(1)
        mirrored = torch.rand(count, generator=generator) < 0.5
        crops = self.gather(pick, top, left, piece, mirrored)
        if piece == size:
            return crops
        return resized(crops, (size, size))

    def whole(self, number: int) -> Tensor:
        """One image, (H, W, 3), float32 in [0, 1]."""
        height, width = self.sizes[number].tolist()
        start = int(self.starts[number])
        pixels = self.pixels[start : start + height * width * 3]
        return pixels.view(height, width, 3).float() / 255

    def centres(self, size: int) -> Tensor:
        """The middle crop of every image: (n, size, size, 3), float32 in [0, 1]."""
        top, left = ((self.sizes - size) // 2).unbind(1)
        every = torch.arange(len(self))
        return self.gather(every, top, left, size, torch.zeros(len(self), dtype=torch.bool))

    def gather(
        self, pick: Tensor, top: Tensor, left: Tensor, size: int, mirrored: Tensor
    ) -> Tensor:
        """Crops at the given places. `mirrored` says which are mirrored from left to right."""
        width = self.sizes[pick, 1]
        step = torch.where(mirrored, -3, 3)
        first = torch.where(mirrored, left + size - 1, left)
        corner = self.starts[pick] + (top * width + first) * 3
        device = self.pixels.device  # only the few numbers below are sent to it
        width, step, corner = send(torch.stack([width, step, corner]), device)
        side = torch.arange(size, device=device)
        rows = (side[None] * width[:, None] * 3)[:, :, None, None]  # (n, size, 1, 1)
        columns = (side[None] * step[:, None])[:, None, :, None]  # (n, 1, size, 1)
        channels = torch.arange(3, device=device)
        return self.pixels[corner[:, None, None, None] + rows + columns + channels].float() / 255
