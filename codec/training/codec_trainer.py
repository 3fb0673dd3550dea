"""Trains a codec on rate and distortion of random crops of photos (Lu et al., section 4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.psnr import psnr_of_mse

from .losses import Loss, rate_distortion
from .photo_trainer import PhotoData, PhotoTrainer
from .trainer import Row


class Trainer(PhotoTrainer[PhotoData]):
    """A whole codec in training."""

    columns = Loss._fields

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[PhotoData, str]:
        """The photos of a folder, see `load_photos`."""
        return self.load_photos(folder, tick)

    def batch(self, data: PhotoData) -> tuple[Tensor, Tensor]:
        """Crops (B, H, W, 3), float32 in [0, 1], and their quality levels (B,)."""
        o = self.options
        crops = data.photos.crops(o.batch, o.crop, self.sampler, o.shrink)
        return crops, self.draw_levels(o.batch, self.config.levels)

    def example(self) -> tuple[Tensor, Tensor]:
        """Random crops (B, H, W, 3) and levels (B,)."""
        o = self.options
        crops = torch.rand(o.batch, o.crop, o.crop, 3, device=self.device)
        return crops, torch.rand(o.batch, device=self.device) * (self.config.levels - 1)

    def forward(self, *batch: Any) -> Loss:
        """The loss of images (B, H, W, 3) at quality levels (B,)."""
        x, level = batch
        with self.autocast():
            output = self.model(x, level)
        return rate_distortion(output, x, level, self.lambdas, self.options.balance)

    def validate(self, data: PhotoData) -> list[Row]:
        """Rate and distortion on held-out crops at a few qualities."""
        return [self.estimate(data.held, quality) for quality in self.validation_qualities()]

    @torch.no_grad()
    def estimate(self, x: Tensor, quality: float) -> Row:
        """Estimates both rates (see `Loss`) and the PSNR of the averaged weights.

        Args:
            x: images (B, H, W, 3), float32 in [0, 1].
            quality: the quality to estimate, from 1.
        """
        levels = torch.full((len(x),), quality - 1.0, device=self.device)
        noisy = rounded = db = 0.0
        with self.undisturbed():
            for image, level in zip(x.split(4), levels.split(4), strict=True):
                with self.autocast():
                    output = self.average(image, level)
                noisy += float((output.bits_y + output.bits_z).sum())
                rounded += float(output.rounded.sum())
                mse = (output.x_hat.clamp(0, 1) - image).pow(2).flatten(1).mean(1)
                db += sum(psnr_of_mse(error) for error in mse.tolist())
        pixels = x.numel() / 3
        return {
            "quality": quality,
            "bpp": round(noisy / pixels, 4),
            "psnr": round(db / len(x), 3),
            "bpp_rounded": round(rounded / pixels, 4),
        }
