"""Classifies an image from its latents. For comparison, also from its pixels.

ŷ (h, w, M), divided by the gain ─► halve large maps ─► ViT ─► labels
pixels ─► shrink ─► 16×16 patches (h, w, 768) ────────► ViT ─► labels
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.picture import Pixels

from .models.config import STRIDE_Y, HeadConfig
from .models.icat import Normalize
from .models.vit import Halving, ViT

#: The Transformer reads at most this many times the tokens that it was trained on.
LONGEST = 8
#: A map is halved while its short side is more than this many times the trained grid's.
LARGE = 1.5
#: Without a halving layer, maps up to REACH times the grid are read whole. Larger ones are split
#: into at most PARTS × PARTS interleaved sub-maps.
REACH, PARTS = 2, 2


class Label(NamedTuple):
    """A class and its probability.

    Args:
        label: the name of the class.
        probability: 0 … 1.
        number: the index of the class, from 0.
        classes: how many classes the classifier has.
    """

    label: str
    probability: float
    number: int
    classes: int


class Classifier:
    """A Vision Transformer, ready to run.

    Args:
        vit: the network. It is on its device and has its dtype already.
        labels: the names of its classes.
    """

    def __init__(self, vit: ViT, labels: tuple[str, ...]) -> None:
        if not labels:
            raise BadInputError("these weights have no labels, so they cannot classify")
        self.vit, self.labels = vit, labels

    @torch.inference_mode()
    def probabilities(self, y: Tensor) -> Tensor:
        """Classify latents (h, w, M), divided by the gain.

        Returns:
            The probabilities, (classes,), float32, on the CPU. Their sum is 1.

        Raises BadInputError if they are not finite.
        """
        weight = self.vit.embed.weight
        parts = self.parts(y[None].to(weight.device, torch.float32))
        answers = [self.vit(part.to(weight.dtype)).float().softmax(1) for part in parts]
        mean = torch.cat(answers).mean(0).cpu()
        if not bool(mean.isfinite().all()):
            raise BadInputError("damaged classifier: its answer is not finite")
        return mean

    def parts(self, y: Tensor) -> list[Tensor]:
        """Split or shrink latents (1, h, w, M) into the maps that the Transformer reads."""
        if self.vit.halve is None:
            return interleaved(y, self.vit.config.grid)
        return [halved(y, self.vit.halve, self.vit.config.grid)]

    def __call__(self, y: Tensor, top: int) -> list[Label]:
        """Return the `top` most probable labels of latents (h, w, M), the most probable first.

        Raises UsageError if `top` is below 1.
        """
        if top < 1:
            raise UsageError(f"top must be at least 1, not {top}")
        best = self.probabilities(y).topk(min(top, len(self.labels)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        count = len(self.labels)
        return [Label(self.labels[i], round(value, 6), i, count) for i, value in pairs]


def halved(y: Tensor, halve: Halving, grid: int) -> Tensor:
    """Halve latents (1, h, w, M) until the Transformer can read the whole map at once.

    In the result the short side is at most `LARGE` times the side of the trained grid, and the map
    has at most `LONGEST` times the grid's tokens.
    """
    while min(y.shape[1:3]) > LARGE * grid or y.shape[1] * y.shape[2] > LONGEST * grid * grid:
        y = halve(y)
    return y


def interleaved(y: Tensor, grid: int) -> list[Tensor]:
    """Split a large map into sub-maps, each with every k-th latent in both directions.

    This is for classifiers without a halving layer: they read a large photo as several smaller
    ones. The latents of a sub-map are like those of the training. Means over k×k latents would lose
    the details. A map of up to `REACH` times the grid is read whole, with interpolated positions,
    which is no less accurate.

    Args:
        y: (1, h, w, M).
        grid: the side of the map that the Transformer was trained on.

    Returns:
        Up to `PARTS`² maps (1, about h/k, about w/k, M). k brings the short side as near to the
        grid as possible, and leaves no map with more than about `LONGEST` times the grid's tokens.
    """
    h, w = y.shape[1:3]
    most = LONGEST * grid * grid
    if min(h, w) <= REACH * grid and h * w <= most:
        return [y]
    k = max(round(min(h, w) / grid), math.ceil(math.sqrt(h * w / most)))
    down, across = min(k, h), min(k, w)
    # A map that is thinner than k can be divided along its length only.
    across = min(w, max(across, math.ceil(w * math.ceil(h / down) / most)))
    down = min(h, max(down, math.ceil(h * math.ceil(w / across) / most)))
    return [y[:, i::down, j::across] for i in beginnings(down) for j in beginnings(across)]


def beginnings(k: int) -> list[int]:
    """The rows (or columns) at which sub-maps begin, if each has every k-th row (or column).

    There are up to `PARTS` of them, evenly spread.
    """
    count = min(k, PARTS)
    return [(2 * i + 1) * k // (2 * count) for i in range(count)]


def patches(x: Tensor) -> Tensor:
    """Cut images minus ½, (B, H, W, 3), into patches (B, H/16, W/16, 768).

    H and W are multiples of 16. A Linear on the patches is the patchify stem of ViT, which is
    usually written as a 16×16 convolution of stride 16.
    """
    b, h, w, _ = x.shape
    x = x.reshape(b, h // STRIDE_Y, STRIDE_Y, w // STRIDE_Y, STRIDE_Y, 3)
    return x.transpose(2, 3).flatten(3)


class PixelClassifier(Classifier):
    """The same Transformer with a patchify stem, for decoded pixels.

    The paper compares the classification of latents with this one.
    """

    @torch.inference_mode()
    def of_pixels(self, pixels: Pixels, top: int) -> list[Label]:
        """Shrink (H, W, 3) uint8 pixels to the size of the training, and classify them."""
        x = torch.tensor(pixels)[None].permute(0, 3, 1, 2).float() / 255
        side = self.vit.config.grid * STRIDE_Y
        h, w = x.shape[2:]
        factor = min(side / min(h, w), side * math.sqrt(LONGEST / (h * w)))
        sizes = [max(1, round(n * factor / STRIDE_Y)) * STRIDE_Y for n in x.shape[2:]]
        x = interpolate(x, sizes, mode="bicubic", antialias=True).clamp(0, 1)
        x = Normalize(inverse=False)(x.permute(0, 2, 3, 1) - 0.5)
        return self(patches(x)[0], top)

    def parts(self, y: Tensor) -> list[Tensor]:
        """Return the patches unchanged, because the pixels were shrunk already."""
        return [y]


def load_head(
    entry: weights.Entry, path: Path | None, channels: int, device: torch.device, dtype: torch.dtype
) -> Classifier:
    """Load a classifier of latents.

    Args:
        entry: the weights that make the latents.
        path: the file of the classifier. None means the classifier that comes with the weights.
        channels: M of the weights.
        device, dtype: where and in which type the classifier runs.

    Raises BadInputError if there is no classifier, or if it is damaged or was trained on the
    latents of other weights.
    """
    if path is None and entry.head is None:
        raise BadInputError(
            f"the weights {entry.name} have no classifier; train one with `ticodec train --model "
            f"{entry.name} --head` and give its file as `head`"
        )
    config, vit = read_head(path, None if path else entry)
    if config.stem != "latents" or config.fingerprint != entry.fingerprint.hex():
        where = path or (entry.head.path if entry.head else "")
        of = f"weights {config.fingerprint} ({config.codec})" if config.fingerprint else "pixels"
        raise BadInputError(
            f"{where}: this classifier reads {of}, not the latents of {entry.name} "
            f"({entry.fingerprint.hex()})"
        )
    if config.channels != channels:
        raise BadInputError(
            f"{path or entry.name}: this classifier reads {config.channels} channels, but "
            f"{entry.name} has {channels}"
        )
    return Classifier(vit.move(device, dtype), config.labels)


def load_pixel_classifier(path: Path, device: torch.device) -> PixelClassifier:
    """Load a classifier of pixels. Raises BadInputError if the file has none."""
    config, vit = read_head(path, None)
    if config.stem != "pixels":
        raise BadInputError(f"{path}: this classifier reads latents, not pixels")
    return PixelClassifier(vit.to(device), config.labels)


def read_head(path: Path | None, entry: weights.Entry | None) -> tuple[HeadConfig, ViT]:
    """Read the config and the network of a classifier.

    Args:
        path: the file of the classifier. None means the classifier that comes with `entry`.

    Raises BadInputError if the file is damaged, or is not the one that the manifest describes.
    """
    fields, tensors = weights.read_head(path, entry)
    try:
        config = HeadConfig.from_dict(fields)
        return config, network_of(config, tensors)
    except (ValueError, RuntimeError) as error:
        where = path or (entry.head.path if entry and entry.head else "")
        raise BadInputError(f"{where}: not a classifier of this ticodec: {error}") from error


def network_of(config: HeadConfig, tensors: dict[str, Tensor]) -> ViT:
    """Build the network of a config with these weights: float32, on the CPU, frozen.

    Args:
        tensors: the weights, of any float type, by their names in `ViT`.

    Raises ValueError or RuntimeError if the tensors do not fit the config.
    """
    if len(tensors) < config.vit.L:  # a damaged file may ask for a huge number of blocks
        raise ValueError(f"{config.vit.L} blocks, but only {len(tensors)} tensors")
    with torch.device("meta"):  # allocates nothing, however large the sizes in a damaged file
        vit = ViT(config.channels, config.vit, len(config.labels), config.halving)
    vit.eval().requires_grad_(False).load_state_dict(
        {name: value.float() for name, value in tensors.items()}, assign=True
    )
    return vit
