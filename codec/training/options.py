"""What a training run is told. Imports no torch, so that the CLI can show its defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ticodec.errors import UsageError

OPTIMIZERS = ("adam", "muon")
AUGMENTATIONS = ("full", "mild", "none")
#: What differs from the defaults when labels are learned, as the paper has it: its first step
#: and its classifiers; its second step.
LEARNING = {"crop": 224, "batch": 32, "lr": 1e-3, "weight_decay": 0.05, "augment": "full"}
SECOND = {"crop": 224, "batch": 16, "lr": 1e-4}


@dataclass
class TrainOptions:
    """Settings of a run; stored in its checkpoints.

    Args:
        crop: side of the training crops, pixels, a multiple of 32.
        batch: crops a step and process.
        lr: learning rate of the stable phase.
        warmup: steps of linear warm-up.
        ema: decay of the averaged weights, which are the ones exported.
        clip: largest norm of the gradient.
        seed: seeds the weights, the crops and the noise.
        optimizer: "adam", or "muon" for the matrices.
        balance: the loss is divided by λ to this power; 0 is the papers' loss, where the
            highest quality has nearly all of the gradient, at 1 the lowest has most of it.
        shrink: crops are pieces of photos shrunk by a random factor of 1 to this.
        quality_range: lowest and highest quality drawn, within 1 … levels.
        weight_decay: AdamW's.

    Of training that classifies:
        step: 1 or 2 of the joint model (Bai et al., "Training Strategy").
        ratio: α/β, what the labels count beside the pixels.
        smoothing: of the labels.
        augment: "full" (DeiT's, the paper's step 1), "mild" (crops and mirrors) or "none".
        smallest: the least part of an image's area that a crop may be.
        views: a head's: so many views of every image are encoded once and kept; 0: a fresh one in
            every step, which costs encoding it.
        enlarge: a head's: some images are enlarged by 2, or by 2 and by 4, before they are encoded,
            and their latents halved as often.
        teacher: a classifier whose answers are learned beside the labels: installed weights or
            a file; "": none.
    """

    crop: int = 256
    batch: int = 8
    lr: float = 1e-4
    warmup: int = 200
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    optimizer: str = "adam"
    balance: float = 0.4
    shrink: float = 1.0
    quality_range: tuple[float, float] = (1.0, 8.0)
    weight_decay: float = 0.0
    step: int = 2
    ratio: float = 100.0
    smoothing: float = 0.1
    augment: str = "mild"
    smallest: float = 0.08
    views: int = 0
    enlarge: int = 1
    teacher: str = ""

    def __post_init__(self) -> None:
        low, high = self.quality_range = (self.quality_range[0], self.quality_range[1])
        checks = {
            "--crop must be a positive multiple of 32": self.crop > 0 and self.crop % 32 == 0,
            "--batch must be at least 1": self.batch >= 1,
            "--lr must be positive": 0 < self.lr < 1,
            "--warmup must not be negative": self.warmup >= 0,
            "--optimizer must be adam or muon": self.optimizer in OPTIMIZERS,
            "--balance must be from 0 to 1": 0 <= self.balance <= 1,
            "--shrink must be from 1 to 4": 1 <= self.shrink <= 4,
            "--quality-range must be within 1 to 8": 1 <= low <= high <= 8,
            "--weight-decay must be from 0 to 1": 0 <= self.weight_decay <= 1,
            "--step must be 1 or 2": self.step in (1, 2),
            "--ratio must not be negative": self.ratio >= 0,
            "--smoothing must be from 0 to 1": 0 <= self.smoothing < 1,
            "--augment must be full, mild or none": self.augment in AUGMENTATIONS,
            "--smallest must be above 0, at most 1": 0 < self.smallest <= 1,
            "--views must not be negative": self.views >= 0,
            "--enlarge must be 1, 2 or 4": self.enlarge in (1, 2, 4),
        }
        for message, holds in checks.items():
            if not holds:
                raise UsageError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, as stored in a checkpoint."""
        return asdict(self)
