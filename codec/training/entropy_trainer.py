"""Training what predicts and codes latents: `--freeze transforms`.

g_a, g_s and the gains stay as they are. The rest learns from latents that are encoded once.

    photos ─► g_a, once ─► y ─► ·gain ─► h_a ─► z ─► round ─► h_s ─┐
                                │        │       └► prior          ├─► head ─► scales, means
                                └────────┴─► integer coder ─► ŷ ─► CAM

The loss is a sum. Through each term one thing learns:

    scales   bits of the symbols, round(y - means), as a file has them
    means    bits of y - means, not rounded, by the same scales
    means    what the errors ŷ - y do to pixels, see `sensitivity`, times λ as in every codec's loss
    prior    bits of round(z), as a file has it
    h_a      bits of z with noise, by the same prior

Rounding has no gradient. Scales and prior do without it, so they learn from what is really coded.
Means and h_a cannot: for means y is not rounded, and for h_a noise stands for the rounding of z.
h_a learns through scales and means too, as if z was not rounded.

The CAM sees ŷ of the integer coder, as in a file. While a whole network learns, it sees y with
noise, which tells more about y than ŷ does. The coder is compiled anew every `COMPILED` steps. It
must not be that of the weights at the beginning: then ŷ has what their h_a sent in z, the new h_a
learns to send less, and in files that is missing.

At the end of a phase symbols are counted, and export fits the tables to the counts: `SymbolCounts`.
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
#: Steps from one integer coder to the next.
COMPILED = 40
#: Pieces in which symbols are counted at the end of a phase.
COUNTED = 512


class EncodedData(NamedTuple):
    """What is trained on.

    Args:
        photos: latents of photos, to train on.
        held: crops of held-out photos, (n, size, size, 3), float32 in [0, 1].
        held_y: their latents before the gain, (n, h, w, M), float32.
    """

    photos: EncodedPhotos
    held: Tensor
    held_y: Tensor


class EntropyLoss(NamedTuple):
    """Scalars of one batch: the loss to minimise, and the rate.

    `bpp` counts symbols and rounded z. It differs from the rate of a file in two things: h_s and
    CAM are float code, and symbols cost what they do by gaussians. The loss counts the bits of y
    and z twice, see the module.
    """

    loss: Tensor
    bpp: Tensor


class EntropyTrainer(PhotoTrainer[EncodedData]):
    """h_a, h_s, context model, head and prior in training, see the module and `BaseTrainer`.

    A run that is resumed encodes its photos again, to the same y, and compiles its coder at once.
    It goes on bit by bit where that would have happened anyway: every `COMPILED` steps.
    """

    training = Training.ENTROPY
    columns = EntropyLoss._fields
    #: Counted at the end of the last phase; None before that.
    symbols: SymbolCounts | None = None
    #: What makes ŷ of batches; and y of the calibration images, gains applied.
    batch_coder: EntropyCoder | None = None
    calibration_y: Tensor | None = None

    def build(self) -> CodecNetwork:
        """The network, all but `TRAINED` frozen."""
        network = super().build().requires_grad_(False)
        # What `sensitivity` finds is written in here: the pass is compiled before photos are there.
        self.costs = torch.ones(self.config.M, device=self.device)
        for name in TRAINED:
            network.get_submodule(name).requires_grad_(True)
        return network

    def begin_loading(self, folder: Path) -> Decoding:
        """As for every codec. Raises UsageError where several processes were started."""
        if self.ranks.world > 1:
            raise UsageError("`freeze` trains in one process; start it without torchrun")
        return super().begin_loading(folder)

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[EncodedData, str]:
        """Photos of a folder, encoded; every 50th by name is held out.

        Raises BadInputError when no photo can be used.
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
        """The integer coder of the weights of now, its tables fitted to the last counts.

        It is that of an export but for one thing: an export first rounds weights to half precision.

        Args:
            network: those in training, or the average.
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
        """y before the gain (B, h, w, M), levels (B,), and ŷ of random pieces, as files have it."""
        if self.batch_coder is None or self.step % COMPILED == 0:
            self.batch_coder = self.coder(self.network)
        count = self.options.batch
        y = data.photos.draw(count, self.sampler)
        level = self.draw_levels(count, self.config.levels)
        y_hat = code(self.network, self.batch_coder, y * self.network.scaling(level)[0])
        return y, level, y_hat

    def example(self) -> tuple[Tensor, Tensor, Tensor]:
        """Noise in the shapes of a batch."""
        o, side = self.options, self.options.crop // STRIDE_Y
        y = torch.randn(o.batch, side, side, self.config.M, device=self.device)
        levels = torch.rand(o.batch, device=self.device) * (self.config.levels - 1)
        return y, levels, y.round()

    def forward(self, *batch: Any) -> EntropyLoss:
        """Loss of pieces of y before the gain (B, h, w, M), at levels (B,), and their ŷ."""
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
        """Bits of held-out crops in streams that the integer coder writes, and their PSNR.

        Until symbols have been counted the tables are those of gaussians: then the rate is higher.
        """
        coder = self.coder(self.average)
        return [self.measured(data, quality, coder) for quality in self.validation_qualities()]

    def measured(self, data: EncodedData, quality: float, coder: EntropyCoder) -> Row:
        """One quality of `validate`."""
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
        """Count symbols of random pieces, for the tables of the export, if a step was taken."""
        if self.crops == self.begun[0]:  # as with --max-minutes 0, where annealing follows
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
        """Everything `restore` needs, and the last counts, which export needs."""
        counts = None if self.symbols is None else self.symbols._asdict()
        return {**super().state(), "symbols": counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, see the class."""
        super().restore(state)
        self.symbols = counts_of(state)

    @classmethod
    def beginning(cls, request: Request) -> Beginning:
        """The codec of `init`, for the qualities that it was trained for or some of them.

        Raises UsageError without one, and for other qualities: their gains would stay untrained.
        """
        if request.codec is None:
            raise UsageError("`freeze` keeps the transforms of trained weights: give `init`")
        start = super().beginning(request)
        qualities = request.options.get("quality_range", request.codec.qualities)
        refuse_untrained(qualities, request.codec.qualities)
        return replace(start, options=replace(start.options, quality_range=qualities))

    @classmethod
    def check_resumed(cls, path: Path, began: TrainOptions, options: TrainOptions) -> None:
        """As for every trainer. Raises UsageError for qualities that the run did not begin with."""
        super().check_resumed(path, began, options)
        refuse_untrained(options.quality_range, began.quality_range)


def refuse_untrained(qualities: tuple[float, float], trained: tuple[float, float]) -> None:
    """Raises UsageError for qualities that the transforms were not trained for.

    Args:
        qualities: the lowest and the highest asked for, from 1; trained: those of the transforms.
    """
    low, high = trained
    if qualities[0] < low or qualities[1] > high:
        raise UsageError(
            f"`quality_range` must be within {low:g} to {high:g}: the transforms that "
            "`freeze` keeps were trained for no others"
        )


def bits(likelihoods: Tensor) -> Tensor:
    """What symbols of these likelihoods (B, …) cost, in bits, (B,)."""
    return -likelihoods.log2().flatten(1).sum(1)
