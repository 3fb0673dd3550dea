"""What a training run is told. Imports no torch, so that the CLI can show its defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class TrainOptions:
    """Settings of a run; stored in its checkpoints.

    Args:
        crop: side of the training crops, pixels, a multiple of 64.
        batch: crops a step.
        lr: learning rate of the stable phase (Adam).
        warmup: steps of linear warm-up.
        ema: decay of the averaged weights, which are the ones exported.
        clip: largest norm of the gradient.
        seed: seeds the weights, the crops and the noise.
        quality_range: lowest and highest quality drawn, within 1 … levels.
    """

    crop: int = 256
    batch: int = 8
    lr: float = 1e-4
    warmup: int = 200
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    quality_range: tuple[float, float] = (1.0, 8.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, as stored in a checkpoint."""
        return asdict(self)
