"""Fitting the layer that makes latents of a large image those of the same image at half its size.

            ┌► codec ─► ŷ (2h, 2w) ─► 2×2 side by side ─┐
    images ─┤                                           ├─► least squares
            └► half the size ─► codec ─► ŷ (h, w) ──────┘

A classifier reads a large image as a small one then, and no pixel has to be made for that. Codecs
are so nearly linear that this one layer is enough, also several times in a row.
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

#: Latents that the layer is fitted on, and how the crops for that are cut.
FITTED_LATENTS = 16384
#: A crop like this of twice the size is enlarged, 2 to 10 times.
CLOSE = Augmentation("mild", smallest=0.04)
MILD = Augmentation("mild", smallest=0.35)


def half_size(x: Tensor) -> Tensor:
    """Images (B, H, W, 3) in [0, 1] at half their size; H and W are even."""
    return resized(x, (x.shape[1] // 2, x.shape[2] // 2))


def groups(crop: int) -> list[tuple[int, Augmentation]]:
    """Sides and cuts of the groups of crops that the layer is fitted on.

    Half of the latents come from crops at native size, half from enlarged crops, because large
    photos may be sharp or blurry.
    """
    kinds = [(crop, MILD), (2 * crop, CLOSE)]
    counts = [FITTED_LATENTS * 2 * STRIDE_Y**2 // (GROUP * size**2) for size, _ in kinds]
    return [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count + 1)]


def layer_of(network: nn.Module) -> Halving:
    """The layer of a network that has one, a classifier or a joint model."""
    return next(module for module in network.modules() if isinstance(module, Halving))


def fit_to(
    trainer: BaseTrainer[Any, Any],
    images: ClassFolder,
    read: Callable[[Tensor, Tensor], Tensor],
    qualities: tuple[float, float],
    tick: Callable[[int], None],
) -> str:
    """Fit a trainer's layer to latents of crops and of the same crops at half the size.

    The averaged weights and those in training get the same. Nothing is drawn from the trainer's
    generators: it depends on the images, what is read of them, and the seed alone.

    Args:
        read: latents (B, h, w, M) float32 of images (B, H, W, 3) in [0, 1] at levels (B,).
        qualities: the lowest and the highest that the images are read at, from 1.
        tick: `tick(total)` is called once a group of crops.

    Returns a line about how well it fits.
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
    return f"latents of an image twice as large give {part:.0%} of the variance of its own"


@torch.no_grad()
def fit_halving(halve: Halving, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Set the layer so that it gives the second of each pair from the first.

    Args:
        pairs: ŷ of images (B, 2h, 2w, M), and of the same at half the size (B, h, w, M).

    Returns which part of the variance it explains, the mean over the channels, at most 1.
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
