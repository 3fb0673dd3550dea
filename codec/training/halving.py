"""Fits the halving layer: from the latents of an image it computes those of a half-size image.

            ┌► codec ─► ŷ (2h, 2w) ─► blocks of 2×2 ────┐
    images ─┤                                           ├─► least squares
            └► half the size ─► codec ─► ŷ (h, w) ──────┘

With this layer a classifier can read a large image as a small one, without decoding it to pixels.
Codecs are so nearly linear that a single linear layer is enough. It also works several times in a
row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ticodec.models.config import STRIDE_Y
from ticodec.models.vit import Halving

from .data.augment import Augmentation
from .data.class_folder import ClassFolder
from .data.photos import draw_levels, resized
from .float_latents import GROUP
from .least_squares import stitch
from .standardised_input import LEAST

if TYPE_CHECKING:
    from .trainer import BaseTrainer

#: Number of latents that the layer is fitted on.
FITTED_LATENTS = 16384
#: Cuts small parts of an image: at twice the crop size these are enlarged 2 to 10 times.
CLOSE = Augmentation("mild", smallest=0.04)
#: Cuts large parts of an image.
MILD = Augmentation("mild", smallest=0.35)


def half_size(x: Tensor) -> Tensor:
    """Images (B, H, W, 3) in [0, 1] at half their size. H and W must be even."""
    return resized(x, (x.shape[1] // 2, x.shape[2] // 2))


def groups(crop: int) -> list[tuple[int, Augmentation]]:
    """The groups of crops that the layer is fitted on: side in pixels, and how they are cut.

    Half of the latents come from crops at native size, half from enlarged crops, because large
    photos may be sharp or blurry.

    Args:
        crop: the side of the training crops, in pixels.
    """
    kinds = [(crop, MILD), (2 * crop, CLOSE)]
    counts = [FITTED_LATENTS * 2 * STRIDE_Y**2 // (GROUP * size**2) for size, _ in kinds]
    return [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count + 1)]


def layer_of(network: nn.Module) -> Halving:
    """The halving layer of a classifier or joint model that has one."""
    return next(module for module in network.modules() if isinstance(module, Halving))


def fit_to(
    trainer: BaseTrainer[Any, Any],
    images: ClassFolder,
    read: Callable[[Tensor, Tensor], Tensor],
    qualities: tuple[float, float],
    tick: Callable[[int], None],
) -> str:
    """Fit a trainer's halving layer to the latents of crops, and of these crops at half size.

    The averaged network and the network in training get the same layer. It depends only on the
    images, their latents and the seed: nothing is drawn from the trainer's generators.

    Args:
        trainer: trains a classifier or joint model.
        images: the labelled images.
        read: returns latents (B, h, w, M) float32 of images (B, H, W, 3) in [0, 1] at levels (B,).
        qualities: the lowest and the highest quality at which images are read, from 1.
        tick: called as `tick(total)` once for each group of crops.

    Returns:
        A line for people: how well the layer fits.
    """
    o, count = trainer.options, len(images.training)
    generator, kinds = torch.Generator().manual_seed(o.seed), groups(o.crop)

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for size, cut in kinds:
            pick = images.training[torch.randint(count, (GROUP,), generator=generator)]
            x, _ = images.augmented(pick, size, generator, cut)
            level = draw_levels(qualities, GROUP, generator, trainer.device)
            yield read(x, level), read(half_size(x), level)
            tick(len(kinds))

    fitted = layer_of(trainer.average)
    part = fit_halving(fitted, pairs())
    layer_of(trainer.network).load_state_dict(fitted.state_dict())
    return f"halved latents explain {part:.0%} of the variance of a half-size image's latents"


@torch.no_grad()
def fit_halving(halve: Halving, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Fit the layer so that it computes the second map of each pair from the first.

    Args:
        halve: the layer, which is changed in place.
        pairs: ŷ of images (B, 2h, 2w, M), and ŷ of these images at half size (B, h, w, M).

    Returns:
        The part of the variance that the layer explains, averaged over the channels, at most 1.
    """
    rows = [(halve.blocks(large).flatten(0, 2), small.flatten(0, 2)) for large, small in pairs]
    given, wanted = (torch.cat(parts) for parts in zip(*rows, strict=True))
    (std, mean), (out, middle) = torch.std_mean(given, 0), torch.std_mean(wanted, 0)
    std, out = std.clamp(min=LEAST), out.clamp(min=LEAST)
    layer = nn.utils.skip_init(nn.Linear, len(mean), len(middle))  # draws no random numbers
    part = stitch(layer, [((given - mean) / std, (wanted - middle) / out)])
    weight = (layer.weight * out[:, None].cpu()).to(std.device) / std
    halve.weight.copy_(weight)
    halve.bias.copy_(layer.bias.to(std.device) * out + middle - linear(mean, weight))
    return part
