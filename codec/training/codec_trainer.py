"""Training a codec: rate and distortion of random crops of photos (Lu et al., section 4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ticodec.errors import BadInputError, UsageError
from ticodec.image_files import list_images
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import CodecConfig
from ticodec.models.families import build
from ticodec.psnr import psnr_of_mse

from .data.decoding import Decoding, useful_processes
from .data.photos import Photos, split
from .losses import Loss, rate_distortion
from .option_field import Training
from .options import TrainOptions
from .request import Beginning, Request
from .trainer import CALIBRATION, CALIBRATION_SIZE, BaseTrainer, Row

VALIDATION_IMAGES = 16
VALIDATION_QUALITIES = (1.0, 3.0, 5.0, 8.0)


class PhotoData(NamedTuple):
    """Photos to train on, and held-out crops (n, size, size, 3), float32 in [0, 1]."""

    photos: Photos
    held: Tensor


class Loading(NamedTuple):
    """Photos that are being decoded; the first `training` are to train on, the others held out."""

    decoding: Decoding
    training: int


class Trainer(BaseTrainer[CodecConfig, PhotoData]):
    """A codec in training, see `BaseTrainer`."""

    kind = "codec"
    columns = Loss._fields
    loading: Loading | None = None

    def build(self) -> CodecNetwork:
        """The network; crops must fit its strides."""
        if self.options.crop % self.config.stride_z:
            raise UsageError(f"`crop` must be a multiple of {self.config.stride_z}")
        self.lambdas = torch.tensor(self.config.lambdas, device=self.device)
        return build(self.config)

    def begin_loading(self, folder: Path) -> Decoding:
        """Let other processes decode the photos of a folder from now on, if there are cores."""
        self.loading = self.decode(folder)
        return self.loading.decoding

    def decode(self, folder: Path) -> Loading:
        """The photos of a folder, every 50th by name held out."""
        training, held = split(list_images(folder))
        paths = [*training, *held]
        decoding = Decoding(paths, useful_processes(len(paths), self.ranks.here))
        return Loading(decoding, len(training))

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[PhotoData, str]:
        """Photos of a folder, every 50th by name held out; keeps a few crops for export."""
        decoding, count = self.loading or self.decode(folder)
        self.loading = None
        images, step = iter(decoding), partial(tick, len(decoding))
        photos = Photos(islice(images, count), self.options.crop, self.device, step)
        size = CALIBRATION_SIZE
        try:
            validation = Photos(images, size, self.device, step)
        except BadInputError:  # small photos: better a look at those of training than none
            validation, size = photos, self.options.crop
        crops = validation.centres(size)
        if self.calibration is None:
            self.calibration = (crops[:CALIBRATION] * 255).round().byte().cpu()
        held = "none (too small)" if validation is photos else len(validation)
        line = (
            f"{len(photos)} photos to train on, {held} held out, "
            f"{photos.left_out} left out (too small or unreadable)"
        )
        return PhotoData(photos, crops[:VALIDATION_IMAGES]), line

    def batch(self, data: PhotoData) -> tuple[Tensor, Tensor]:
        """Crops (B, H, W, 3), float32 in [0, 1], and their quality levels (B,)."""
        o = self.options
        crops = data.photos.crops(o.batch, o.crop, self.sampler, o.shrink)
        return crops, self.draw_levels(o.batch, self.config.levels)

    def example(self) -> tuple[Tensor, Tensor]:
        """Crops and levels of noise."""
        o = self.options
        crops = torch.rand(o.batch, o.crop, o.crop, 3, device=self.device)
        return crops, torch.rand(o.batch, device=self.device) * (self.config.levels - 1)

    def forward(self, *batch: Any) -> Loss:
        """Loss of images (B, H, W, 3) at levels (B,)."""
        x, level = batch
        with self.autocast():
            output = self.model(x, level)
        return rate_distortion(output, x, level, self.lambdas, self.options.balance)

    def validate(self, data: PhotoData) -> list[Row]:
        """Rate and distortion on held-out crops at a few qualities."""
        qualities = [q for q in VALIDATION_QUALITIES if q <= self.config.levels]
        return [self.estimate(data.held, quality) for quality in qualities]

    @torch.no_grad()
    def estimate(self, x: Tensor, quality: float) -> Row:
        """Rate, with noise and rounded (see `Loss`), and PSNR of the averaged weights.

        Args:
            x: images (B, H, W, 3).
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

    @classmethod
    def training_of(cls, config: CodecConfig, options: TrainOptions) -> Training:
        """Always the same."""
        return Training.CODEC

    @classmethod
    def beginning(cls, request: Request) -> Beginning:
        """A preset with random weights, or the codec of `init` with its own dimensions."""
        options = TrainOptions.of(Training.CODEC, request.options)
        if request.codec is None:
            return Beginning(request.preset(), options)
        request.refuse_dimensions()
        config, floats, history = request.codec
        return Beginning(config, options, floats, history)
