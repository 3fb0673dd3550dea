"""Encodes random views of the training images once, and trains a classifier on them many times.

images ─► crop, mirror, enlarge f times ─► codec ─► ŷ ─► halved until f is 1 ─► kept, float16
                                          a random part of each map ◄────────────┘  in every step

A view is an image, cropped and mirrored at random. Encoding it takes longer than a training step
of the classifier does, on a CPU or with a large codec. This is why views are encoded only once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from ticodec.models.config import HeadConfig

from .data.augment import Augmentation
from .data.class_folder import ClassFolder
from .distributed import Ranks
from .halving import half_size, layer_of
from .options import TrainOptions
from .teacher import Teacher

#: How many images are encoded at a time.
BATCH = 16
#: Training steps use a part of each view. Its sides are at least this fraction of the view's sides.
LEAST_WINDOW = 2 / 3


class Reader(Protocol):
    """What `encode_views` needs from a `HeadTrainer`."""

    config: HeadConfig
    options: TrainOptions
    ranks: Ranks
    network: nn.Module
    teacher: Teacher | None

    def draw_qualities(self, count: int, generator: torch.Generator) -> Tensor:
        """Random levels of the frozen codec, (count,)."""

    def read(self, x: Tensor, level: Tensor) -> Tensor:
        """Latents (B, h, w, M) of images (B, H, W, 3) in [0, 1] at levels (B,)."""

    def taught(self, x: Tensor, targets: Tensor) -> Tensor:
        """Targets (B, classes) of images (B, H, W, 3), mixed with the teacher's answers if any."""


def encode_views(
    trainer: Reader, images: ClassFolder, tick: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Latents of randomly cropped and mirrored images, and their targets, see `HeadData`.

    There are `views` views of every image at its own size. Of images enlarged f times there are
    f² times fewer views, so that every scale takes the same time to encode. `tick(total)` is called
    once for each batch.
    """
    o = trainer.options
    generator = torch.Generator().manual_seed(trainer.ranks.seed(o.seed + 1))
    crops = Augmentation("mild" if o.augment != "none" else "none", smallest=o.smallest)
    count = len(images.training)
    parts = []
    for factor in scales(o.enlarge):
        count_at_a_time = max(1, BATCH // factor**2)
        for _ in range(o.views):
            some = torch.randperm(count, generator=generator)[: -(-count // factor**2)]
            parts += [(factor, pick) for pick in images.training[some].split(count_at_a_time)]
    length = sum(len(pick) for _, pick in parts)
    views, done = torch.empty(0), 0
    targets = torch.empty(length, len(trainer.config.labels), dtype=torch.float16)
    for factor, pick in parts:
        y, soft = encoded(trainer, images, pick, factor, generator, crops)
        if not done:
            views = y.new_empty((length, *y.shape[1:]), dtype=torch.float16)
        views[done : done + len(y)] = y
        targets[done : done + len(y)] = soft.cpu()
        done += len(y)
        tick(len(parts))
    return views, targets


def encoded(
    trainer: Reader,
    images: ClassFolder,
    pick: Tensor,
    factor: int,
    generator: torch.Generator,
    augmentation: Augmentation,
) -> tuple[Tensor, Tensor]:
    """Encodes images at `factor` times their size and reduces the latents to the usual size.

    Args:
        trainer: encodes the images.
        images: the labelled images.
        pick: numbers of the images to encode, (n,).
        factor: by how much the images are enlarged, a power of two.
        generator: a CPU generator, from which crops and qualities are drawn.
        augmentation: how images are cropped and mirrored.

    Returns:
        The latents (n, h, w, channels), float32, and the soft targets (n, classes). A teacher sees
        the images at their own size.
    """
    size = trainer.options.crop * factor
    x, targets = images.augmented(pick, size, generator, augmentation)
    y = trainer.read(x, trainer.draw_qualities(len(pick), generator))
    while factor > 1:
        y, factor = layer_of(trainer.network)(y), factor // 2
        x = half_size(x) if trainer.teacher else x
    targets = trainer.taught(x, targets)
    return y, targets


def windows(y: Tensor) -> Tensor:
    """A random part of each map (B, h, w, M). All parts have the same random size.

    With random parts, a view that is used many times is a new crop each time. They also make steps
    cheaper.
    """
    _, h, w, _ = y.shape
    high, wide = (int(torch.randint(math.ceil(LEAST_WINDOW * n), n + 1, ())) for n in (h, w))
    tops, lefts = torch.randint(h - high + 1, (len(y),)), torch.randint(w - wide + 1, (len(y),))
    places = zip(y, tops.tolist(), lefts.tolist(), strict=True)
    return torch.stack([view[i : i + high, j : j + wide] for view, i, j in places])


def scales(largest: int) -> list[int]:
    """The factors by which images are enlarged: 1, 2, … up to `largest`."""
    return [factor for factor in (1, 2, 4) if factor <= largest]
