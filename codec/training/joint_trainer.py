"""Training the joint model of compression and analysis: Bai et al., "Training Strategy".

step 1:  no quantisation, no hyperprior:   CE + 0.001·MSE         (from random weights)
step 2:  all of the network:               α·CE + β·MSE + bpp     (from the weights of step 1)

In step 2 the rate is that of y with noise, as in the paper; distortion and labels see y rounded,
with the gradient passed straight through, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.errors import BadInputError, UsageError
from ticodec.models.config import IcatConfig
from ticodec.models.icat import Icat
from ticodec.models.prior import FactorizedPrior
from ticodec.psnr import psnr_of_mse

from .ablation import leave_out_aggregation
from .data.augment import Augmentation
from .data.class_folder import ClassFolder, find_classes
from .float_latents import latents
from .halving import fit_to, layer_of
from .losses import JointLoss, joint, lambda_at
from .trainer import CALIBRATION, BaseTrainer, Row

#: What new gains make of y's standard deviation, at the middle quality.
SPREAD = 0.4
#: A new prior of z begins this wide, and h_s with its last weights this small.
Z_SCALE, QUIET = 2.0, 0.1
#: Images that these are fitted to.
FITTED = 32
#: Validation images that the estimate is made of, drawn evenly from all classes.
VALIDATION_IMAGES = 256
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
        self.partial = o.step == 1  # the hyperprior and the gains are not trained then
        self.augmentation = augmentation_of(self)
        self.whole: Icat | None = None  # with the aggregation that this one is begun without
        return Icat(self.config)

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[ClassFolder, str]:
        """Labelled images, every 50th of a class held out; keeps a few of those for export."""
        data, line = load_classes(folder, self.config.labels, self.options.crop, self.device, tick)
        # They are in the order of their classes: every so manieth is of all of them.
        data.validation = data.validation[:: -(-len(data.validation) // VALIDATION_IMAGES)]
        if self.calibration is None:
            images = every_so_many(data, self.options.crop, CALIBRATION)
            self.calibration = (images * 255).round().byte().cpu()
        runs = self.record()
        if self.options.step == 2 and not (runs and runs[-1].get("step") == 2):
            self.begin_rate(data)
        files = len(data) + data.left_out
        if self.has_halving() and not layer_of(self.average).weight.any():
            line += f"\n{self.fit_halving(data, lambda more: tick(files + more))}"
        if self.whole is not None and not self.step:
            images = every_so_many(data, self.options.crop, FITTED)
            assert isinstance(self.network, Icat)
            assert isinstance(self.average, Icat)
            part = leave_out_aggregation(self.whole, images, self.network, self.average)
            line += f"\nwithout aggregation: {part:.0%} of what it gave is left to rebuild from"
            self.whole = None
        return data, line

    def finish(self, data: ClassFolder) -> str:
        """Fit the layer that halves latents to what the encoder gives now; a line about it."""
        return self.fit_halving(data, lambda total: None) if self.has_halving() else ""

    def has_halving(self) -> bool:
        """Whether there is such a layer to fit; the first step has not the latents of files."""
        return self.config.halving and self.options.step == 2

    def fit_halving(self, data: ClassFolder, tick: Callable[[int], None]) -> str:
        """Fit it to what the averaged weights make of these images, see `halving.fit_to`."""
        average = self.average.eval()
        assert isinstance(average, Icat)
        low, high = (min(q, self.config.levels) for q in self.options.quality_range)

        def read(x: Tensor, level: Tensor) -> Tensor:
            with self.autocast():
                return latents(average, x, level)

        return fit_to(self, data, read, (low, high), tick)

    @torch.no_grad()
    def begin_rate(self, data: ClassFolder) -> None:
        """Give the parts that step 1 did not train a start that fits its latents.

        Gains that make a quantisation step of 1 a sensible one; an h_s that knows the mean and
        the spread of every channel; a prior of z that is not too wide. From random ones the rate
        begins at 1 bpp, and Adam's small steps take thousands to bring it down.
        """
        assert isinstance(self.network, Icat)
        images = every_so_many(data, self.options.crop, FITTED)
        with self.autocast():
            y = self.network.g_a(images - 0.5).float()
        up = (SPREAD / y.std()).log()
        if self.network.gains is not None:
            y = y * up.exp()
        start = torch.cat([y.std((0, 1, 2)), y.mean((0, 1, 2))])  # (2M,): scales, means
        prior = FactorizedPrior(self.config.N, Z_SCALE).state_dict()
        for network in (self.network, self.average):
            assert isinstance(network, Icat)
            if network.gains is not None:
                network.gains.log_up.add_(up - network.gains.log_up.mean())
                network.gains.log_down.add_(-up - network.gains.log_down.mean())
            last = network.h_s[-1].conv  # type: ignore[union-attr]
            last.weight.mul_(QUIET)  # type: ignore[operator,union-attr]
            last.bias.copy_(start)  # type: ignore[operator,union-attr]
            network.prior.load_state_dict(prior)

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
            output = self.model(x, level, second)
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
                    db = sum(psnr_of_mse(each) for each in mse.tolist())
                    sums += torch.tensor([len(x), float(right), float(bits), db])
                count, right, bits, db = sums.tolist()
                row = {"quality": level + 1.0, "top1": round(right / count, 4)}
                rows.append(row | {"bpp": round(bits / count, 4), "psnr": round(db / count, 3)})
        return rows

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> IcatConfig:
        """The network's dimensions."""
        return IcatConfig.from_dict(fields)


def every_so_many(data: ClassFolder, size: int, count: int) -> Tensor:
    """About `count` of the held-out images, of all classes: (n, size, size, 3) in [0, 1]."""
    images = torch.cat([x for x, _ in data.centre(size)])
    return images[:: max(1, len(images) // count)][:count]


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
    total = sum(map(len, find_classes(folder).values()))
    data = ClassFolder(folder, side * 8 // 7, device, lambda: tick(total))
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
