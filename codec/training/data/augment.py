"""Augmentation: random changes to the images that a classifier learns from, with torchvision.

Only training code imports this module, because torchvision takes seconds to import and belongs to
the extra `train`. Without torchvision, importing this module raises UsageError.
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
GREY = 128  # fills the areas that rotations and shifts leave empty
#: Random erasing fills areas with noise around grey. This is the standard deviation of the noise.
#: The pixels of a photo have about the same one.
NOISE = 0.25


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """A context in which torch's global CPU generator is seeded from this CPU generator.

    torchvision's transforms only use the global generator. Its state is restored at the end. No
    other thread may draw from it meanwhile, because each would change what the other draws.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):  # no transform here draws on a GPU
        torch.default_generator.manual_seed(seed)
        yield


def middle(picture: Tensor, size: int) -> Tensor:
    """The middle square (3, size, size) uint8 of a picture (3, H, W) uint8.

    The picture is first resized so that its short side is `size`.
    """
    resized = v2.functional.resize(picture, [size], BICUBIC, antialias=True)
    return v2.functional.center_crop(resized, [size, size])


def to_float(pictures: Sequence[Tensor]) -> Tensor:
    """Stack n pictures (3, H, W) uint8 to (n, 3, H, W) float32 in [0, 1]."""
    return torch.stack(list(pictures)).float().div_(255)


@dataclass(frozen=True)
class Augmentation:
    """One way to augment.

    Args:
        kind: "full" is the augmentation of DeiT: random resized crop, flip, RandAugment (2
            operations of magnitude 9), random erasing, and MixUp or CutMix. "mild" is a random
            resized crop and flip. "none" is the middle square.
        smallest: the smallest area of a random crop, as a fraction of the image's area, in
            (0, 1]. Small data sets need more than the usual 0.08.
        mixing: whether "full" mixes images, by MixUp (α 0.8) or CutMix (α 1), with equal
            probability.
        group: how many images share one draw of RandAugment. On a GPU it should be more than 1,
            because starting work for single images would take most of the time.

    Raises:
        UsageError: A value is out of range.
    """

    kind: str = "full"
    smallest: float = 0.08
    mixing: bool = True
    group: int = 1

    def __post_init__(self) -> None:
        if self.kind not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            raise UsageError(f"no augmentation {self.kind!r}: choose one of {known}")
        if not 0 < self.smallest <= 1:
            raise UsageError(f"the smallest area must be above 0, at most 1, not {self.smallest}")
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
        """Augment pictures to a training batch.

        Args:
            pictures: n pictures (3, H, W) uint8, whose sizes may differ, on one device.
            labels: the class of each picture, (n,) long, on the same device.
            classes: the number of classes.
            size: side of the returned images, in pixels.
            generator: a CPU generator, from which all random numbers come.

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
        """Apply RandAugment to n crops (3, H, W) uint8 of one size, with one draw per group."""
        vary = v2.RandAugment(
            num_ops=2, magnitude=9, interpolation=v2.InterpolationMode.BILINEAR, fill=GREY
        )
        starts = range(0, len(crops), self.group)
        # Stacked crops are contiguous, which is faster.
        groups = [torch.stack(crops[i : i + self.group]) for i in starts]
        return [picture for group in groups for picture in vary(group)]


def erased(images: Tensor) -> Tensor:
    """Erase a random area in one image of four: (n, 3, H, W) float in [0, 1], in place."""
    erase = v2.RandomErasing(p=0.25, value="random", inplace=True)
    images.sub_(0.5).div_(NOISE)  # the noise of torchvision has mean 0 and variance 1
    for image in images:
        erase(image)
    return images.mul_(NOISE).add_(0.5).clamp_(0, 1)


def mixed(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mix each image with the one before it, by MixUp or CutMix, with equal probability.

    Args:
        images: (n, 3, H, W) float.
        targets: (n, classes) float, which are mixed in the same way.
    """
    mix = v2.RandomChoice([v2.MixUp(alpha=0.8), v2.CutMix(alpha=1.0)])
    return mix(images, targets)


def augmentation_of(options: TrainOptions, device: torch.device) -> Augmentation:
    """The augmentation of a run."""
    group = 1 if device.type == "cpu" else 8
    return Augmentation(options.augment, smallest=options.smallest, group=group)
