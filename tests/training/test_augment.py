"""Augmentation: crops, flips, erasing, mixing, groups, and options out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import make_pixels
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from ticodec.errors import UsageError
from ticodec.training.data.augment import Augmentation, drawing_from, erased, middle, mixed

LABELS = torch.tensor([0, 1, 2, 1])


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """A picture (3, height, width) uint8, which is a view of pixels with the channels last."""
    return torch.from_numpy(make_pixels(height, width, seed)).permute(2, 0, 1)


def augmented(way: Augmentation, pictures: list[Tensor], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return way(pictures, LABELS[: len(pictures)], 3, 32, generator)


def ramp() -> Tensor:
    """A picture (3, 64, 64) uint8. Its first channel grows to the right, its second downwards."""
    y, x = np.mgrid[0:64, 0:64] * 4
    return torch.from_numpy(np.stack([x, y, x * 0]).astype(np.uint8))


@pytest.mark.parametrize("kind", ["full", "mild", "none"])
def test_pictures_of_any_size(kind: str) -> None:
    pictures = [picture(40, 90), picture(90, 40), picture(20, 20), picture(32, 32)]
    images, targets = augmented(Augmentation(kind), pictures)
    assert images.shape == (4, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_mild_crops_are_pieces_and_some_are_mirrored() -> None:
    parts = [augmented(Augmentation("mild"), [ramp()] * 4, seed) for seed in range(10)]
    assert all((targets == one_hot(LABELS, 3)).all() for _, targets in parts)
    images = torch.cat([images for images, _ in parts])
    spans = images.amax((2, 3)) - images.amin((2, 3))  # (40, 3): how much of the ramps is visible
    assert (spans[:, :2].std(0) > 0.05).all()
    assert (images[:, 1, 31] > images[:, 1, 0]).all()  # never upside down
    to_right = images[:, 0, :, 31] > images[:, 0, :, 0]
    assert (to_right == to_right[:, :1]).all()
    assert 0.2 < to_right.float().mean() < 0.8


def test_smallest_crop() -> None:
    def seen(smallest: float) -> float:
        way = Augmentation("mild", smallest)
        images = torch.cat([augmented(way, [ramp()] * 4, seed)[0] for seed in range(15)])
        spans = images.amax((2, 3)) - images.amin((2, 3))
        return float(spans[:, :2].prod(1).min())

    assert seen(0.08) < 0.2
    assert seen(0.8) > 0.7


def test_the_resized_middle_stays_within_range() -> None:
    edges = torch.zeros(3, 48, 80, dtype=torch.uint8)
    edges[:, :, 33:40] = 255  # bicubic resizing overshoots at these
    found = middle(edges, 32)
    assert found.shape == (3, 32, 32)
    wanted = interpolate(edges[None].float(), (32, 53), mode="bicubic", antialias=True)
    wanted = wanted.clamp(0, 255)[0, :, :, 10:42]
    assert (found.float() - wanted).abs().max() <= 2


def test_full_changes_more_than_the_crop() -> None:
    flat = [torch.full((3, 40, 40), 100, dtype=torch.uint8)] * 4
    images, _ = augmented(Augmentation("mild"), flat)
    assert (images - 100 / 255).abs().max() < 1e-6
    way = Augmentation("full", mixing=False)
    images = torch.cat([augmented(way, flat, seed)[0] for seed in range(50)])
    assert (images - 100 / 255).abs().amax((1, 2, 3)).gt(0.05).float().mean() > 0.3
    steps = images * 255
    noisy = (steps - steps.round()).abs().amax((1, 2, 3)) > 0.01  # random erasing changed it
    assert 0.15 < noisy.float().mean() < 0.35


def test_one_random_draw_per_group() -> None:
    crops = [picture(32, 32)] * 8
    for group, alike in ((8, 1), (4, 2), (3, 3), (1, 8)):
        with drawing_from(torch.Generator().manual_seed(1)):
            out = Augmentation(group=group).varied(crops)
        assert len(out) == 8
        # Two draws may be equal, so there may be fewer results than groups.
        assert len({x.numpy().tobytes() for x in out}) <= alike
        assert all((x == out[i // group * group]).all() for i, x in enumerate(out))
    assert len({x.numpy().tobytes() for x in out}) > 3


def test_a_quarter_is_erased() -> None:
    with drawing_from(torch.Generator().manual_seed(0)):
        images = erased(torch.full((400, 3, 16, 16), 0.2))
    changed = (images - 0.2).abs() > 1e-5
    assert 0.18 < changed.flatten(1).any(1).float().mean() < 0.32
    assert changed.flatten(1).float().mean(1).max() < 0.5
    assert images.min() >= 0
    assert images.max() <= 1
    assert images[changed].std() > 0.15  # noise


def test_images_are_mixed_like_their_targets() -> None:
    values = torch.tensor([0.0, 0.3, 1.0, 0.3])
    images = values[:, None, None, None].expand(4, 3, 32, 32).contiguous()
    targets = one_hot(LABELS, 3).float()
    kinds = set()
    for seed in range(12):
        with drawing_from(torch.Generator().manual_seed(seed)):
            out, soft = mixed(images, targets)
        torch.testing.assert_close(soft.sum(1), torch.ones(4))
        wanted = soft @ torch.tensor([0.0, 0.3, 1.0])
        torch.testing.assert_close(out.mean((1, 2, 3)), wanted, atol=1e-4, rtol=0)
        if 0.01 < float(soft[0, 0]) < 0.99:
            kinds.add("MixUp" if out[0].unique().numel() == 1 else "CutMix")
    assert kinds == {"MixUp", "CutMix"}


@pytest.mark.parametrize("mixing", [True, False])
def test_mixing_can_be_turned_off(mixing: bool) -> None:
    way = Augmentation("full", mixing=mixing)
    soft = 0
    for seed in range(8):
        _, targets = augmented(way, [picture(40, 40, i) for i in range(4)], seed)
        soft += bool(((targets > 0.01) & (targets < 0.99)).any())
    assert soft > 4 if mixing else soft == 0


def test_global_state_is_restored_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="dimensions"), drawing_from(torch.Generator()):
        mixed(torch.zeros(3, 8, 8), one_hot(LABELS, 3).float())
    assert (torch.get_rng_state() == before).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wild"}, "no augmentation 'wild': choose one of full, mild, none"),
        ({"smallest": 0.0}, "smallest area must be above 0, at most 1, not 0.0"),
        ({"smallest": 1.5}, "smallest area must be above 0, at most 1, not 1.5"),
        ({"group": 0}, "at least 1 image, not 0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmentation(**options)
