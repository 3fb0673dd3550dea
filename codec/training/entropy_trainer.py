"""Trains the entropy model alone, with the option `--freeze transforms`.

g_a, g_s and the gains stay as they are. The other parts learn from latents that are encoded once.

    photos ─► g_a, once ─► y ─► ·gain ─► h_a ─► z ─► round ─► h_s ─┐
                                │        │       └► prior          ├─► head ─► scales, means
                                └────────┴─► integer coder ─► ŷ ─► CAM

The loss is a sum of five terms. Each term trains the part on its left:

    scales   bits of the symbols, round(y - means), as they are in a file
    means    bits of y - means, not rounded, with the same scales
    means    error in pixels that ŷ - y causes (see `sensitivity`), times λ as in every codec's loss
    prior    bits of round(z), as they are in a file
    h_a      bits of z with noise, with the same prior

Rounding has no gradient. Scales and prior need no gradient through it, so they learn from the
values that are really coded. Means and h_a do need one. So the second term does not round y, and
the last one adds noise to z instead of rounding it. h_a also learns through scales and means, as
if z were not rounded.

The CAM sees ŷ of the integer coder, as in a file. (When a whole network is trained, the CAM sees y
with noise, which holds more information about y than ŷ does.) The integer coder is compiled again
every `COMPILED` steps. If it stayed the coder of the first weights, ŷ would hold information that
the first h_a sent in z. Then the new h_a would learn to send less of this information, and files
would lack it, because they are written with the new h_a only.

At the end of a phase symbols are counted. Export fits the tables to them, see `SymbolCounts`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ticodec.entropy.coder import Encoding, EntropyCoder
from ticodec.entropy.tic_context import SCALE_BITS, scale_indexes
from ticodec.errors import UsageError
from ticodec.models.codec_network import CodecNetwork, lambda_at, straight_through_round
from ticodec.models.config import STRIDE_Y
from ticodec.models.prior import gaussian_likelihood
from ticodec.psnr import psnr_of_mse

from .data.decoding import Decoding
from .encoded_photos import EncodedPhotos, code, encode_photos, fast_analysis
from .export.tables import scale_thresholds
from .export.weights_file import calibration_latents, compile_entropy
from .option_field import Training
from .options import TrainOptions
from .photo_trainer import PhotoTrainer
from .request import Beginning, Request
from .sensitivity import sensitivity
from .symbol_counts import SymbolCounts, counts_of
from .trainer import CALIBRATION, Row

#: Parts of the network that are trained.
TRAINED = ("h_a", "h_s", "cam", "head", "prior")
#: The integer coder is compiled again after this many steps.
COMPILED = 40
#: At the end of a phase, symbols of this many pieces are counted.
COUNTED = 512


class EncodedData(NamedTuple):
    """The data of a run.

    Args:
        photos: latents of the training photos.
        held: crops of held-out photos, (n, size, size, 3), float32 in [0, 1].
        held_y: latents of `held`, before the gain, (n, h, w, M), float32.
    """

    photos: EncodedPhotos
    held: Tensor
    held_y: Tensor


class EntropyLoss(NamedTuple):
    """Scalars of one batch: the loss to minimise, and the rate.

    `bpp` counts the bits of symbols and rounded z. It differs from the rate of a file in two ways:
    h_s and CAM are float code, and the probabilities of symbols are those of gaussians. The loss
    counts the bits of y and z twice, see the module.
    """

    loss: Tensor
    bpp: Tensor


class EntropyTrainer(PhotoTrainer[EncodedData]):
    """Trains h_a, h_s, context model, head and prior, see the module and `BaseTrainer`.

    A resumed run encodes its photos again, which gives the same y, and compiles its coder at once.
    If the run stopped at a multiple of `COMPILED` steps, where the coder is compiled in any case,
    its weights equal the weights of a run that never stopped, in every bit.
    """

    training = Training.ENTROPY
    columns = EntropyLoss._fields
    #: Symbols counted at the end of the last phase. None before the first phase ends.
    symbols: SymbolCounts | None = None
    #: Makes ŷ of batches.
    batch_coder: EntropyCoder | None = None
    #: y of the calibration images, multiplied by the gains.
    calibration_y: Tensor | None = None

    def build(self) -> CodecNetwork:
        """The network, with all parts frozen except `TRAINED`."""
        network = super().build().requires_grad_(False)
        # This tensor must exist before the pass is compiled. `load_data` fills in the sensitivity.
        self.costs = torch.ones(self.config.M, device=self.device)
        for name in TRAINED:
            network.get_submodule(name).requires_grad_(True)
        return network

    def begin_loading(self, folder: Path) -> Decoding:
        """As for every codec. Raises UsageError if several processes were started."""
        if self.ranks.world > 1:
            raise UsageError("`freeze` trains in one process: start it without torchrun")
        return super().begin_loading(folder)

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[EncodedData, str]:
        """The photos of a folder, encoded. Every 50th one, by name, is held out.

        Raises:
            BadInputError: No photo can be used.
        """
        o, seen = self.options, 0

        def counted(total: int) -> None:
            nonlocal seen
            seen += 1
            tick(total)

        (photos, held), line = self.load_photos(folder, counted)
        generator = torch.Generator().manual_seed(o.seed + 1)
        self.costs.copy_(sensitivity(self.average, held[:CALIBRATION], generator))
        total = seen + len(photos) * (2 if o.shrink > 1 else 1)
        encoded = encode_photos(
            self.average, photos, o.crop, o.shrink, generator, lambda: tick(total)
        )
        g_a = fast_analysis(self.average, self.device)
        held_y = torch.cat([g_a(x[None] - 0.5) for x in held])
        positions = sum(y[..., 0].numel() for y in encoded.maps)
        line += f"\n{positions * STRIDE_Y**2 / 1e6:,.1f} megapixels encoded, "
        line += f"in {len(encoded.maps):,} pieces"
        return EncodedData(encoded, held, held_y), line

    def coder(self, network: CodecNetwork) -> EntropyCoder:
        """Compiles the current weights to an integer coder, with tables fitted to the last counts.

        An export makes the same coder, except that it first rounds weights to half precision.

        Args:
            network: the network in training, or its average.
        """
        network = deepcopy(network).cpu().eval()
        if self.calibration_y is None:  # g_a and the gains do not change
            assert self.calibration is not None  # `load_photos` makes it
            self.calibration_y, _ = calibration_latents(network, self.calibration)
        with torch.no_grad():
            z = network.h_a(self.calibration_y)
        exact = compile_entropy(network, self.calibration_y, z, self.symbols)
        return EntropyCoder(self.config, exact, torch.device("cpu"))

    def batch(self, data: EncodedData) -> tuple[Tensor, Tensor, Tensor]:
        """Random pieces: y before the gain (B, h, w, M), levels (B,), and ŷ as in a file."""
        if self.batch_coder is None or self.step % COMPILED == 0:
            self.batch_coder = self.coder(self.network)
        count = self.options.batch
        y = data.photos.draw(count, self.sampler)
        level = self.draw_levels(count, self.config.levels)
        y_hat = code(self.network, self.batch_coder, y * self.network.scaling(level)[0])
        return y, level, y_hat

    def example(self) -> tuple[Tensor, Tensor, Tensor]:
        """Random values in the shapes of a batch."""
        o, side = self.options, self.options.crop // STRIDE_Y
        y = torch.randn(o.batch, side, side, self.config.M, device=self.device)
        levels = torch.rand(o.batch, device=self.device) * (self.config.levels - 1)
        return y, levels, y.round()

    def forward(self, *batch: Any) -> EntropyLoss:
        """The loss of pieces, given as in `batch`: y before the gain, levels, and ŷ."""
        y, level, y_hat = batch
        network = self.network
        up, down = network.scaling(level)
        y = y * up
        with self.autocast():
            z = network.h_a(y).float()
            scales, means = network.prediction(straight_through_round(z), y_hat)
        symbols = (y - means).detach().round()
        coded = bits(gaussian_likelihood(symbols, torch.zeros_like(symbols), scales))
        near = bits(gaussian_likelihood(y, means, scales.detach()))
        coded_z = bits(network.prior.likelihood(z.detach().round()))
        noisy_z = bits(network.prior.likelihood(z + torch.rand_like(z) - 0.5, frozen=True))
        error = ((symbols + means - y) * down).pow(2) * self.costs
        trade = lambda_at(level, self.lambdas)
        cost = coded + near + coded_z + noisy_z + trade * 255**2 / 3 * error.flatten(1).sum(1)
        pixels = y.shape[1] * y.shape[2] * STRIDE_Y**2
        loss = (cost / pixels / (130 * trade) ** self.options.balance).mean()
        return EntropyLoss(loss, ((coded + coded_z) / pixels).mean().detach())

    @torch.no_grad()
    def validate(self, data: EncodedData) -> list[Row]:
        """The rate of held-out crops, in streams that the integer coder writes, and their PSNR.

        Before symbols are counted the tables are those of gaussians, and the rate is higher.
        """
        coder = self.coder(self.average)
        return [self.measured(data, quality, coder) for quality in self.validation_qualities()]

    def measured(self, data: EncodedData, quality: float, coder: EntropyCoder) -> Row:
        """The row of `validate` for one quality."""
        up, down = self.average.scaling(torch.tensor([quality - 1], device=self.device))
        coded, db = 0, 0.0
        for x, y in zip(data.held, data.held_y, strict=True):
            scaled = y * up[0]
            z = self.average.h_a(scaled[None])[0]
            encoding = Encoding(coder, scaled.cpu(), z.cpu())
            (y_hat,) = coder.run([encoding])
            streams = encoding.finish()
            coded += len(streams.z_stream) + len(streams.y_stream)
            with self.autocast():
                x_hat = self.average.g_s(y_hat.reshape(y.shape)[None].to(y) * down)[0].float() + 0.5
            db += psnr_of_mse(float((x_hat.clamp(0, 1) - x).pow(2).mean()))
        pixels = data.held.numel() / 3
        return {
            "quality": quality,
            "bpp": round(8 * coded / pixels, 4),
            "psnr": round(db / len(data.held), 3),
        }

    @torch.no_grad()
    def finish(self, data: EncodedData) -> str:
        """Counts symbols of random pieces, for the tables of the export, if a step was taken."""
        if self.crops == self.begun[0]:  # the stable phase had no step: --max-minutes 0
            return ""
        network, coder = self.average, self.coder(self.average)
        thresholds = scale_thresholds().to(self.device)
        counts = SymbolCounts.none(len(thresholds) + 1, self.config.N)
        generator = torch.Generator().manual_seed(self.options.seed + 2)
        batch = self.options.batch
        for _ in range(-(-COUNTED // batch)):
            level = self.draw_levels(batch, self.config.levels, generator)
            y = data.photos.draw(batch, generator) * network.scaling(level)[0]
            y_hat = code(network, coder, y)
            with self.autocast():
                z = network.h_a(y).float().round()
                scales, means = network.prediction(z, y_hat)
            indexes = scale_indexes((scales * 2**SCALE_BITS).round().int(), thresholds)
            counts.add(indexes, (y - means).round(), z)
        self.symbols = counts
        return f"{int(counts.y.sum()):,} symbols counted for the tables"

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, and the last counts, which export needs."""
        counts = None if self.symbols is None else self.symbols._asdict()
        return {**super().state(), "symbols": counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state, see the class."""
        super().restore(state)
        self.symbols = counts_of(state)

    @classmethod
    def beginning(cls, request: Request) -> Beginning:
        """The codec of `init`, for all or some of the qualities that it was trained for.

        Raises:
            UsageError: There is no `init`, or it was not trained for one of the qualities. The
                gains of that quality would stay untrained.
        """
        if request.codec is None:
            raise UsageError("`freeze` keeps the transforms of trained weights: give `init`")
        start = super().beginning(request)
        qualities = request.options.get("quality_range", request.codec.qualities)
        refuse_untrained(qualities, request.codec.qualities)
        return replace(start, options=replace(start.options, quality_range=qualities))

    @classmethod
    def check_resumed(cls, path: Path, began: TrainOptions, options: TrainOptions) -> None:
        """As for every trainer. Also raises UsageError for qualities that the run did not have."""
        super().check_resumed(path, began, options)
        refuse_untrained(options.quality_range, began.quality_range)


def refuse_untrained(qualities: tuple[float, float], trained: tuple[float, float]) -> None:
    """Raises UsageError for qualities that the transforms were not trained for.

    Args:
        qualities: the lowest and the highest quality asked for, from 1.
        trained: the lowest and the highest quality that the transforms were trained for.
    """
    low, high = trained
    if qualities[0] < low or qualities[1] > high:
        raise UsageError(
            f"`quality_range` must be within {low:g} to {high:g}: `freeze` keeps transforms that "
            "were trained for these qualities only"
        )


def bits(likelihoods: Tensor) -> Tensor:
    """The bits that symbols with these likelihoods (B, …) take, (B,)."""
    return -likelihoods.log2().flatten(1).sum(1)
