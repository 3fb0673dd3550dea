"""Training a classifier of its own: a ViT on the latents of frozen weights, or on pixels.

images ─► augment ─► frozen g_a, quantised at a random quality ─► ŷ ─► ViT ─► cross entropy
images ─► augment ─► 16×16 patches ──────────────────────────────────► ViT ─► cross entropy
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ticodec import weights
from ticodec.classifier import patches
from ticodec.models.analysis_config import HeadConfig
from ticodec.models.build import AnyNetwork, build
from ticodec.models.config import STRIDE_Y, config_from
from ticodec.models.icat import Icat, Normalize
from ticodec.models.inference import pad_image
from ticodec.models.vit import ViT

from .augment import Augmentation, drawing_from, mixed
from .base import BaseTrainer, Row
from .classes import ClassFolder
from .data import send
from .joint import augmentation_of, load_classes

#: Images that are encoded at a time; the qualities that are validated, of as many as there are.
BATCH = 16
VALIDATION_QUALITIES = (1.0, 3.0, 5.0, 8.0)


class HeadData(NamedTuple):
    """What a head is trained on.

    Args:
        images: the folder.
        views: ŷ of every training image so many times, (views, n, h, w, M) float16, or None.
        held: ŷ of the held-out images at each validation quality, (n, h, w, M) float16.
    """

    images: ClassFolder
    views: Tensor | None
    held: dict[float, Tensor]


class HeadLoss(NamedTuple):
    """Scalars of one batch: cross entropy in nats, and the share of right answers."""

    loss: Tensor
    top1: Tensor


@torch.no_grad()
def latents(network: AnyNetwork, x: Tensor, level: Tensor) -> Tensor:
    """ŷ of images (B, H, W, 3) in [0, 1] at levels (B,), divided by the gain: (B, h, w, M).

    As a file would hold it, but for two things: this is float code, and the context model of
    TIC sees round(y) in place of ŷ, so that one pass does for a map. H and W are multiples of 16.
    """
    h, w = x.shape[1] // STRIDE_Y, x.shape[2] // STRIDE_Y
    up, down = network.scaling(level)
    y = network.g_a(pad_image(x - 0.5, network.config.stride_z)).float() * up
    z = network.h_a(y).float().round()
    if isinstance(network, Icat):
        _, means = network.h_s(z).float().chunk(2, -1)
    else:
        _, means = network.head(network.h_s(z), network.cam(y.round()))
    y_hat = (y - means).round() + means
    return (y_hat * down)[:, :h, :w].float()


class HeadTrainer(BaseTrainer[HeadConfig, HeadData]):
    """A classifier in training, see `BaseTrainer`; `config.stem` says what it reads."""

    kind = "head"
    columns = HeadLoss._fields
    told = ("crop", "batch", "lr", "warmup", "optimizer", "weight_decay", "smoothing", "augment",
            "smallest", "views", "seed")  # fmt: skip

    def build(self) -> ViT:
        """The Transformer; loads the weights whose latents it reads, and freezes them.

        Raises BadInputError when they are not installed.
        """
        c = self.config
        self.normalize = Normalize(inverse=False).to(self.device)
        self.augmentation = augmentation_of(self)
        self.frozen: AnyNetwork | None = None
        self.qualities: tuple[float, float] = (1.0, 1.0)
        if c.stem == "latents":
            entry = weights.find_fingerprint(bytes.fromhex(c.fingerprint), c.codec)
            self.frozen, self.qualities = frozen_network(entry, self.device)
        return ViT(c.channels, c.vit, len(c.labels))

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[HeadData, str]:
        """Labelled images, every 50th of a class held out; encodes those, and the views."""
        images, line = load_classes(
            folder, self.config.labels, self.options.crop, self.device, tick
        )
        held = {q: self.held(images, q) for q in self.validation_qualities()}
        views = self.encoded_views(images, tick) if self.options.views and self.frozen else None
        return HeadData(images, views, held), line

    def validation_qualities(self) -> list[float]:
        """Those that the frozen weights have; one that means nothing for pixels."""
        low, high = self.qualities
        return [q for q in VALIDATION_QUALITIES if low <= q <= high] or [low]

    def read(self, x: Tensor, level: Tensor) -> Tensor:
        """What the Transformer reads of images (B, H, W, 3): latents at levels (B,), or patches."""
        if self.frozen is None:
            return patches(self.normalize(x - 0.5))
        with self.autocast():
            return latents(self.frozen, x, level)

    def draw_qualities(self, count: int, generator: torch.Generator) -> Tensor:
        """Random levels of the frozen weights, (count,)."""
        low, high = self.qualities
        level = low - 1 + (high - low) * torch.rand(count, generator=generator)
        return send(level, self.device)

    def held(self, images: ClassFolder, quality: float) -> Tensor:
        """What the Transformer reads of the held-out images at a quality, float16."""
        parts = []
        for x, _ in images.centre(self.options.crop):
            level = torch.full((len(x),), quality - 1, device=self.device)
            parts.append(self.read(x, level).half())
        return torch.cat(parts)

    def encoded_views(self, images: ClassFolder, tick: Callable[[int], None]) -> Tensor:
        """Every training image, cropped and mirrored at random, so many times: see `HeadData`."""
        o = self.options
        count = len(images.training)
        generator = torch.Generator().manual_seed(self.ranks.seed(o.seed + 1))
        crops = Augmentation("mild" if o.augment != "none" else "none", smallest=o.smallest)
        every = torch.empty(0)
        for view in range(o.views):
            for start in range(0, count, BATCH):
                pick = images.training[start : start + BATCH]
                x, _ = images.augmented(pick, o.crop, generator, crops)
                y = self.read(x, self.draw_qualities(len(pick), generator)).half()
                if not len(every):
                    every = y.new_empty((o.views, count, *y.shape[1:]))
                every[view, start : start + len(pick)] = y
                tick(len(images) + images.left_out + o.views * -(-count // BATCH))
        return every

    def batch(self, data: HeadData) -> tuple[Tensor, Tensor]:
        """What the Transformer reads (B, h, w, channels), and soft targets (B, classes)."""
        o = self.options
        if data.views is None:
            x, targets = data.images.batch(o.batch, o.crop, self.sampler, self.augmentation)
            return self.read(x, self.draw_qualities(o.batch, self.sampler)), targets
        pick = torch.randint(data.views.shape[1], (o.batch,), generator=self.sampler)
        view = torch.randint(o.views, (o.batch,), generator=self.sampler)
        y = data.views[view.to(self.device), pick.to(self.device)].float()
        classes = data.images.targets[data.images.training[pick]].to(self.device)
        targets = torch.nn.functional.one_hot(classes, len(self.config.labels)).float()
        if o.augment == "full":  # what is left to do when images are encoded: mix the latents
            with drawing_from(self.sampler):
                y, targets = mixed(y.permute(0, 3, 1, 2), targets)
            y = y.permute(0, 2, 3, 1)
        return y, targets

    def forward(self, *batch: Any) -> HeadLoss:
        """Cross entropy of what was read (B, h, w, channels)."""
        y, targets = batch
        with self.autocast():
            logits = self.model(y).float()
        loss = cross_entropy(logits, targets, label_smoothing=self.options.smoothing)
        right = (logits.argmax(1) == targets.argmax(1)).float().mean()
        return HeadLoss(loss, right)

    @torch.no_grad()
    def validate(self, data: HeadData) -> list[Row]:
        """Accuracy on held-out images at a few qualities."""
        self.average.eval()
        classes = data.images.targets[data.images.validation].to(self.device)
        rows = []
        for quality, every in data.held.items():
            with self.autocast():
                logits = torch.cat([self.average(y.float()).float() for y in every.split(BATCH)])
            best = logits.topk(min(5, logits.shape[1])).indices == classes[:, None]
            shares = {"top1": best[:, 0], "top5": best.any(1)}
            shown = {name: round(float(hit.float().mean()), 4) for name, hit in shares.items()}
            rows.append(({"quality": quality} if self.frozen else {}) | shown)
        return rows

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> HeadConfig:
        """The classifier's dimensions."""
        return HeadConfig.from_dict(fields)


def frozen_network(
    entry: weights.Entry, device: torch.device
) -> tuple[AnyNetwork, tuple[float, float]]:
    """The float network of weights, frozen, and its lowest and highest quality."""
    fields, tensors = weights.read(entry)
    network = build(config_from(fields))
    network.load_state_dict(weights.floats(tensors))
    frozen = network.to(device).eval().requires_grad_(False)
    return frozen, entry.qualities or (1.0, 1.0)
