"""Training the joint model of compression and analysis: Bai et al., "Training Strategy".

step 1:  no quantisation, no hyperprior:   CE + 0.001·MSE         (from random weights)
step 2:  all of the network:               α·CE + β·MSE + bpp     (from the weights of step 1)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.errors import BadInputError, UsageError
from ticodec.models.analysis_config import IcatConfig
from ticodec.models.icat import Icat

from .augment import Augmentation
from .base import CALIBRATION, BaseTrainer, Row
from .classes import ClassFolder
from .loss import JointLoss, joint, lambda_at, psnr

#: What random gains make of y's standard deviation, at the middle quality: a step of 1 is near.
SPREAD = 1.0
#: Validation images that the estimate is made of, drawn evenly from all classes.
VALIDATION_IMAGES = 192
#: Labels that a message names.
SHOWN = 12


class JointTrainer(BaseTrainer[IcatConfig, ClassFolder]):
    """The joint model in training, see `BaseTrainer`."""

    kind = "icat"
    columns = JointLoss._fields
    told = ("step", "crop", "batch", "lr", "warmup", "optimizer", "weight_decay", "balance",
            "ratio", "smoothing", "augment", "smallest", "seed")  # fmt: skip

    def build(self) -> Icat:
        """The network; crops must fit its strides."""
        o = self.options
        if o.crop % self.config.stride_z:
            raise UsageError(f"--crop must be a multiple of {self.config.stride_z}")
        self.betas = torch.tensor(self.config.lambdas, device=self.device)
        self.augmentation = augmentation_of(self)
        return Icat(self.config)

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[ClassFolder, str]:
        """Labelled images, every 50th of a class held out; keeps a few of those for export."""
        data, line = load_classes(folder, self.config.labels, self.options.crop, self.device, tick)
        # They are in the order of their classes: every so manieth is of all of them.
        data.validation = data.validation[:: -(-len(data.validation) // VALIDATION_IMAGES)]
        if self.calibration is None:
            images = torch.cat([x for x, _ in data.centre(self.options.crop)])
            some = images[:: -(-len(images) // CALIBRATION)]
            self.calibration = (some * 255).round().byte().cpu()
        runs = self.record()
        if self.options.step == 2 and not (runs and runs[-1].get("step") == 2):
            self.set_gains(data)
        return data, line

    @torch.no_grad()
    def set_gains(self, data: ClassFolder) -> None:
        """Give y the spread that a quantisation step of 1 is made for; step 1 knew of none."""
        images, _ = next(data.centre(self.options.crop))
        assert isinstance(self.network, Icat)
        with self.autocast():
            spread = self.network.g_a(images - 0.5).float().std()
        for network in (self.network, self.average):
            assert isinstance(network, Icat)
            gains = network.gains
            if gains is not None:
                gains.log_up.add_((SPREAD / spread).log() - gains.log_up.mean())
                gains.log_down.add_((spread / SPREAD).log() - gains.log_down.mean())

    def batch(self, data: ClassFolder) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, H, W, 3) in [0, 1], soft targets (B, classes), quality levels (B,)."""
        o = self.options
        images, targets = data.batch(o.batch, o.crop, self.sampler, self.augmentation)
        return images, targets, self.draw_levels(o.batch, self.config.levels)

    def forward(self, *batch: Any) -> JointLoss:
        """Loss of images at levels; in step 1 levels have no part in it."""
        x, targets, level = batch
        o = self.options
        second = o.step == 2
        with self.autocast():
            output = self.network(x, level, second)
        beta = lambda_at(level, self.betas) if second else None
        return joint(output, x, targets, beta, o.ratio, o.smoothing, o.balance)

    @torch.no_grad()
    def validate(self, data: ClassFolder) -> list[Row]:
        """Accuracy, rate and distortion on held-out images at every level."""
        second = self.options.step == 2
        cuda = [self.device] if self.device.type == "cuda" else []
        rows = []
        self.average.eval()
        with torch.random.fork_rng(cuda):  # validation must not change what training draws
            for level in range(self.config.levels if second else 1):
                sums = torch.zeros(4)
                for x, classes in data.centre(self.options.crop):
                    levels = torch.full((len(x),), float(level), device=self.device)
                    with self.autocast():
                        output = self.average(x, levels, second)
                    right = (output.logits.argmax(1) == classes).sum()
                    mse = (output.x_hat.clamp(0, 1) - x).pow(2).flatten(1).mean(1)
                    bits = (output.bits_y + output.bits_z).sum() / x[0, :, :, 0].numel()
                    db = sum(psnr(each) for each in mse.tolist())
                    sums += torch.tensor([len(x), float(right), float(bits), db])
                count, right, bits, db = sums.tolist()
                row = {"quality": level + 1.0, "top1": round(right / count, 4)}
                rows.append(row | {"bpp": round(bits / count, 4), "psnr": round(db / count, 3)})
        return rows

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> IcatConfig:
        """The network's dimensions."""
        return IcatConfig.from_dict(fields)


def augmentation_of(trainer: BaseTrainer[Any, Any]) -> Augmentation:
    """The augmentation of a trainer's options."""
    o = trainer.options
    group = 1 if trainer.device.type == "cpu" else 8
    return Augmentation(o.augment, smallest=o.smallest, group=group)


def listed(labels: tuple[str, ...]) -> str:
    """Labels for a message, the first ones of many."""
    more = f" … ({len(labels)} in all)" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more


def load_classes(
    folder: Path,
    labels: tuple[str, ...],
    side: int,
    device: torch.device,
    tick: Callable[[int], None],
) -> tuple[ClassFolder, str]:
    """The images of a folder of classes, and a line about them.

    Raises BadInputError when there are none, UsageError when the classes are other ones than
    the network has.
    """
    data = ClassFolder(folder, side * 8 // 7, device, lambda: tick(0))
    if data.labels != labels:
        raise UsageError(
            f"{folder} has the classes {listed(data.labels)}; this network was begun with "
            f"{listed(labels)}; --init takes its weights to other classes"
        )
    if not len(data.validation):
        raise BadInputError(f"{folder}: every class needs two images at least, one to validate by")
    line = (
        f"{len(data.training)} images of {len(labels)} classes to train on, "
        f"{len(data.validation)} held out, {data.left_out} left out (unreadable)"
    )
    return data, line
