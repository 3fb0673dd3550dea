"""Augmentation: what is done to the images a classifier learns from, with torchvision's transforms.

Only training code imports this module: torchvision takes seconds to import, and is in the extra
`train`. Importing this module without it raises UsageError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ticodec.errors import UsageError
from ticodec.extras import of_extra

from ..options import AUGMENTATIONS, TrainOptions

with of_extra("train", "training on labelled images"):
    from torchvision.transforms import v2

BICUBIC = v2.InterpolationMode.BICUBIC
GREY = 128  # of what rotations and shifts leave empty
#: Random erasing fills with noise about grey; its standard deviation is near that of a photo.
NOISE = 0.25


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let everything that draws from torch's global CPU generator follow this CPU generator.

    torchvision's transforms can be given none. The global state is put back at the end;
    another thread that draws from it meanwhile would change what comes out, and be changed.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):  # no transform here draws on a GPU
        torch.default_generator.manual_seed(seed)
        yield


def middle(picture: Tensor, size: int) -> Tensor:
    """The middle square: (3, H, W) uint8 to (3, size, size) uint8, its short side resized."""
    resized = v2.functional.resize(picture, [size], BICUBIC, antialias=True)
    return v2.functional.center_crop(resized, [size, size])


def to_float(pictures: Sequence[Tensor]) -> Tensor:
    """n of (3, H, W) uint8 to (n, 3, H, W) float32 in [0, 1]."""
    return torch.stack(list(pictures)).float().div_(255)


@dataclass(frozen=True)
class Augmentation:
    """One way to augment.

    Args:
        kind: "full": random resized crop, flip, RandAugment (2 of magnitude 9), random erasing,
            MixUp or CutMix, as DeiT is trained; "mild": random resized crop and flip; "none":
            the middle square.
        smallest: a random crop's smallest area, as a part of the image's, in (0, 1]; small data
            sets want more than the usual 0.08.
        mixing: whether "full" mixes images, by MixUp (α 0.8) or CutMix (α 1), evenly.
        group: images that share one draw of RandAugment. A GPU wants more than 1: it would
            spend its time on starting work for single images.

    Raises:
        UsageError: for values out of range.
    """

    kind: str = "full"
    smallest: float = 0.08
    mixing: bool = True
    group: int = 1

    def __post_init__(self) -> None:
        if self.kind not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            raise UsageError(f"no augmentation {self.kind!r}; there are {known}")
        if not 0 < self.smallest <= 1:
            raise UsageError(f"a crop's smallest area must be in (0, 1], not {self.smallest}")
        if self.group < 1:
            raise UsageError(f"a group must have at least 1 image, not {self.group}")

    def __call__(
        self,
        pictures: Sequence[Tensor],
        labels: Tensor,
        classes: int,
        size: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """A batch to learn from.

        Args:
            pictures: n of (3, H, W) uint8, each of its own size, on one device.
            labels: (n,) long, on the same device.
            classes: how many there are.
            size: side of what comes out, in pixels.
            generator: a CPU generator; it alone decides what comes out.

        Returns:
            images (n, 3, size, size) float32 in [0, 1], and targets (n, classes) float32 that
            sum to 1.
        """
        targets = nn.functional.one_hot(labels, classes).float()
        if self.kind == "none":
            return to_float([middle(p, size) for p in pictures]), targets
        with drawing_from(generator):
            crop = v2.RandomResizedCrop(
                size, (self.smallest, 1.0), interpolation=BICUBIC, antialias=True
            )
            flip = v2.RandomHorizontalFlip()
            crops = [flip(crop(p)) for p in pictures]
            if self.kind == "mild":
                return to_float(crops), targets
            images = erased(to_float(self.varied(crops)))
            return mixed(images, targets) if self.mixing else (images, targets)

    def varied(self, crops: list[Tensor]) -> list[Tensor]:
        """RandAugment, once a group: n of (3, H, W) uint8, of one size, to as many."""
        vary = v2.RandAugment(
            num_ops=2, magnitude=9, interpolation=v2.InterpolationMode.BILINEAR, fill=GREY
        )
        starts = range(0, len(crops), self.group)
        groups = [torch.stack(crops[i : i + self.group]) for i in starts]  # contiguous: faster
        return [picture for group in groups for picture in vary(group)]


def erased(images: Tensor) -> Tensor:
    """Random erasing of one image in four: (n, 3, H, W) float in [0, 1] to the same, in place."""
    erase = v2.RandomErasing(p=0.25, value="random", inplace=True)
    images.sub_(0.5).div_(NOISE)  # its noise has mean 0 and variance 1
    for image in images:
        erase(image)
    return images.mul_(NOISE).add_(0.5).clamp_(0, 1)


def mixed(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """MixUp or CutMix, evenly, of each image with the one before it.

    Args:
        images: (n, 3, H, W) float.
        targets: (n, classes) float.
    """
    mix = v2.RandomChoice([v2.MixUp(alpha=0.8), v2.CutMix(alpha=1.0)])
    return mix(images, targets)


def augmentation_of(options: TrainOptions, device: torch.device) -> Augmentation:
    """The augmentation of a run."""
    group = 1 if device.type == "cpu" else 8
    return Augmentation(options.augment, smallest=options.smallest, group=group)
