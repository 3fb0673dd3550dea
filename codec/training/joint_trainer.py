"""Trains the joint model of compression and analysis: Bai et al., "Training Strategy".

step 1:  no quantisation, no hyperprior:   CE + 0.001·MSE         (from random weights)
step 2:  all of the network:               α·CE + β·MSE + bpp     (from the weights of step 1)

In step 2 the rate is computed from y with noise, as in the paper. Distortion and labels are
computed from rounded y, with a straight-through gradient, as for the other codecs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.errors import UsageError
from ticodec.models.codec_network import lambda_at
from ticodec.models.config import STRIDE_Y, IcatConfig
from ticodec.models.icat import Icat
from ticodec.models.prior import FactorizedPrior
from ticodec.psnr import psnr_of_mse

from .ablation import leave_out_aggregation
from .data.augment import augmentation_of
from .data.class_folder import ClassFolder, labels_of, load_classes
from .float_latents import latents
from .halving import fit_to, layer_of
from .losses import JointLoss, joint
from .option_field import Training
from .options import TrainOptions
from .parameters import AGGREGATION, GAINS, HALVE, VIT, on_grid, without, without_labels
from .request import Beginning, Request
from .trainer import CALIBRATION, BaseTrainer, Row

#: New gains start so that y at the middle quality has this standard deviation.
SPREAD = 0.4
#: A new prior of z starts with this scale.
Z_SCALE = 2.0
#: The weights of the last layer of h_s are multiplied by this at the start of step 2.
QUIET = 0.1
#: The start of step 2 is fitted to this many images.
FITTED = 32
#: Largest number of validation images. They come evenly from all classes.
VALIDATION_IMAGES = 256


class JointTrainer(BaseTrainer[IcatConfig, ClassFolder]):
    """Trains the joint model, see `BaseTrainer`."""

    kind = "icat"
    columns = JointLoss._fields
    crop_is_fixed = True
    network: Icat
    average: Icat
    #: The network with aggregation that this one imitates, if this one starts without aggregation.
    imitated: Icat | None

    def build(self) -> Icat:
        """The network. Raises UsageError when the crops do not fit its stride."""
        o = self.options
        if o.crop % self.config.stride_z:
            raise UsageError(f"`crop` must be a multiple of {self.config.stride_z}")
        self.betas = torch.tensor(self.config.lambdas, device=self.device)
        self.partial = o.step == 1  # step 1 does not train the hyperprior and the gains
        self.augmentation = augmentation_of(o, self.device)
        return Icat(self.config)

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[ClassFolder, str]:
        """The labelled images. Every 50th image of a class is held out.

        A few held-out images are kept in the checkpoint, for export.
        """
        data, line = load_classes(folder, self.config.labels, self.options.crop, self.device, tick)
        # Images are sorted by class, so taking every n-th one samples all classes.
        data.validation = data.validation[:: -(-len(data.validation) // VALIDATION_IMAGES)]
        if self.calibration is None:
            images = sample_held_out(data, self.options.crop, CALIBRATION)
            self.calibration = (images * 255).round().byte().cpu()
        runs = self.record()
        if self.options.step == 2 and not (runs and runs[-1].get("step") == 2):
            self.begin_rate(data)
        files = len(data) + len(data.left_out)
        if self.has_halving() and not layer_of(self.average).weight.any():
            line += f"\n{self.fit_halving(data, lambda more: tick(files + more))}"
        if self.imitated is not None and not self.step:
            images = sample_held_out(data, self.options.crop, FITTED)
            part = leave_out_aggregation(self.imitated, images, self.network, self.average)
            line += f"\nwithout aggregation: latents explain {part:.0%} of the aggregated variance"
            self.imitated = None
        return data, line

    def finish(self, data: ClassFolder) -> str:
        """Fit the halving layer to the current latents. Returns a line about it for people."""
        return self.fit_halving(data, lambda total: None) if self.has_halving() else ""

    def has_halving(self) -> bool:
        """Whether to fit a halving layer. Not in step 1, where latents are not quantised."""
        return self.config.halving and self.options.step == 2

    def fit_halving(self, data: ClassFolder, tick: Callable[[int], None]) -> str:
        """Fit the halving layer to latents of the averaged weights, see `halving.fit_to`."""
        average = self.average.eval()
        low, high = (min(q, self.config.levels) for q in self.options.quality_range)

        def read(x: Tensor, level: Tensor) -> Tensor:
            with self.autocast():
                return latents(average, x, level)

        return fit_to(self, data, read, (low, high), tick)

    @torch.no_grad()
    def begin_rate(self, data: ClassFolder) -> None:
        """Let the parts that step 1 did not train start from values that fit its latents.

        The gains get values for which a quantisation step of 1 makes sense, h_s predicts the mean
        and the standard deviation of every channel, and the prior of z is not too wide. With
        random values the rate would start at 1 bpp, and Adam would take thousands of its small
        steps to lower it.
        """
        images = sample_held_out(data, self.options.crop, FITTED)
        with self.autocast():
            y = self.network.g_a(images - 0.5).float()
        up = (SPREAD / y.std()).log()
        if self.network.gains is not None:
            y = y * up.exp()
        start = torch.cat([y.std((0, 1, 2)), y.mean((0, 1, 2))])  # (2M,): scales, means
        prior = FactorizedPrior(self.config.N, Z_SCALE).state_dict()
        for network in (self.network, self.average):
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

    def example(self) -> tuple[Tensor, Tensor, Tensor]:
        """Random images, targets and levels."""
        o = self.options
        images = torch.rand(o.batch, o.crop, o.crop, 3, device=self.device)
        targets = torch.rand(o.batch, len(self.config.labels), device=self.device).softmax(1)
        return images, targets, torch.rand(o.batch, device=self.device) * (self.config.levels - 1)

    def forward(self, *batch: Any) -> JointLoss:
        """The loss of images at quality levels. Step 1 ignores the levels."""
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
        rows = []
        self.average.eval()
        with self.undisturbed():
            for level in range(self.config.levels if second else 1):
                sums = torch.zeros(5)
                for x, classes in data.centre(self.options.crop):
                    levels = torch.full((len(x),), float(level), device=self.device)
                    with self.autocast():
                        output = self.average(x, levels, second)
                    right = (output.logits.argmax(1) == classes).sum()
                    mse = (output.x_hat.clamp(0, 1) - x).pow(2).flatten(1).mean(1)
                    pixels = x[0, :, :, 0].numel()
                    bits = (output.bits_y + output.bits_z).sum() / pixels
                    rounded = output.rounded.sum() / pixels
                    db = sum(psnr_of_mse(error) for error in mse.tolist())
                    sums += torch.tensor([len(x), float(right), float(bits), db, float(rounded)])
                top1, bpp, psnr, bpp_rounded = (sums[1:] / sums[0]).tolist()
                row = {"quality": level + 1.0, "top1": round(top1, 4), "bpp": round(bpp, 4)}
                rows.append(row | {"psnr": round(psnr, 3), "bpp_rounded": round(bpp_rounded, 4)})
        return rows

    @classmethod
    def training_of(cls, config: IcatConfig, options: TrainOptions) -> Training:
        """The kind of training: the step."""
        return Training.STEP_1 if options.step == 1 else Training.STEP_2

    @classmethod
    def beginning(cls, request: Request) -> Beginning:
        """A preset, or the joint model of `init`, with the classes of the data.

        Of the dimensions of `init` only β and the aggregation may change. If `init` has an
        aggregation and the new model does not, the new model is first fitted to imitate `init`. See
        `ablation.py`.
        """
        training = Training.STEP_1 if request.options.get("step") == 1 else Training.STEP_2
        options = TrainOptions.of(training, request.options)
        labels, grid = labels_of(request.data), options.crop // STRIDE_Y
        given: IcatConfig = request.codec.config if request.codec else request.preset()  # type: ignore[assignment]
        vit = replace(given.vit, grid=grid)  # position embeddings fit one size of crops
        if request.codec is None:
            return Beginning(replace(given, labels=labels, vit=vit, halving=True), options)
        request.refuse_dimensions("lambdas", "aggregation")
        floats, history = request.codec.floats, request.codec.history
        config = replace(given, labels=labels, vit=vit, halving=True, **request.dimensions)
        if config.labels != given.labels:
            floats = without_labels(floats)
        if config.lambdas != given.lambdas:  # gains belong to their list of λ
            floats = without(floats, GAINS)
        # The halving layer is fitted when the run starts and when it ends.
        floats = without(on_grid(floats, grid), VIT + HALVE)
        imitated = None
        if given.aggregation and not config.aggregation:
            imitated = Icat(replace(config, aggregation=True)).to(request.device)
            imitated.load_state_dict(floats, strict=False)  # the label layer may be missing
            imitated.eval().requires_grad_(False)
        if not config.aggregation:
            floats = without(floats, AGGREGATION)
        return Beginning(config, options, floats, history, imitated)


def sample_held_out(data: ClassFolder, size: int, count: int) -> Tensor:
    """At most `count` held-out images of all classes: (n, size, size, 3) in [0, 1]."""
    images = torch.cat([x for x, _ in data.centre(size)])
    return images[:: max(1, len(images) // count)][:count]
