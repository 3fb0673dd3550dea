"""Views of training images: encoded once, each with crops of its own, and learned from many times.

images ─► crop, mirror, enlarge f times ─► codec ─► ŷ ─► halved until f is 1 ─► kept, float16
                                              a part of the map, at random ◄─────┘  in every step

On a CPU, and for large codecs, encoding costs more than the classifier's step.
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

#: Images that are encoded at a time.
BATCH = 16
#: Least side of the part of a view that is learned from, of the view's.
LEAST_WINDOW = 2 / 3


class Reader(Protocol):
    """What reads images for a classifier: a `HeadTrainer`."""

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
        """Targets (B, classes) of images (B, H, W, 3) with the teacher's answers, if any."""


def encode_views(
    trainer: Reader, images: ClassFolder, tick: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Maps of the images cropped and mirrored at random, and their targets: see `HeadData`.

    There are `views` of every image. At each larger scale f there are f² times fewer, so that each
    scale takes as long to encode. `tick(total)` is called once for each batch.
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
    """What is read of images (n,) at `factor` times the size: (n, h, w, channels), float32.

    Beside it the soft targets (n, classes); a teacher answers for the images at their own size.
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
    """A part of each map (B, h, w, M): all of one random size, each from a place of its own.

    A view is encoded once and seen many times: this makes it a new crop, and steps cheaper.
    """
    _, h, w, _ = y.shape
    high, wide = (int(torch.randint(math.ceil(LEAST_WINDOW * n), n + 1, ())) for n in (h, w))
    tops, lefts = torch.randint(h - high + 1, (len(y),)), torch.randint(w - wide + 1, (len(y),))
    places = zip(y, tops.tolist(), lefts.tolist(), strict=True)
    return torch.stack([view[i : i + high, j : j + wide] for view, i, j in places])


def scales(largest: int) -> list[int]:
    """What images are enlarged by: 1, 2, … to the largest."""
    return [factor for factor in (1, 2, 4) if factor <= largest]
