"""Guesses the size and the error of a picture's files at every quality, without encoding them.

The search begins with the guess, and uses the shape of its curve between trials. The trials decide
the result, so a wrong guess only costs more trials. The constants were fitted to about 30 photos
with tic-plus. With other weights the first trial misses the target by more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from . import ms_ssim
from .container import QUALITY_STEPS
from .models.codec_network import lambda_at
from .models.config import STRIDE_Y
from .picture import Pixels
from .rate_search import Curve

if TYPE_CHECKING:
    from .codec import Codec

#: How many points the curves have per whole quality.
POINTS = 8
#: The most positions of the latents, or windows of the pixels, that are examined.
SAMPLE = 2048
#: The squared error of pixels, 0 … 255, is this factor times the squared error of latents over λ,
#: plus a floor, which is the same at every quality. With this factor, a uniform quantiser minimises
#: D·λ + R.
PIXELS_PER_LATENT = 6 / math.log(2) / STRIDE_Y**2

Values = NDArray[np.float64]


class Guess:
    """The guessed curves of one picture, over the stored qualities of the weights.

    Args:
        codec: its weights have more than one quality.
        features: the output of g_a for the picture, without gains, (1, h, w, M).
    """

    @torch.inference_mode()
    def __init__(self, codec: Codec, features: Tensor) -> None:
        assert codec.entry.qualities is not None
        low, high = (round(quality * QUALITY_STEPS) for quality in codec.entry.qualities)
        whole = np.linspace(low, high, 1 + round((high - low) / QUALITY_STEPS)).round().astype(int)
        flat = features.flatten(0, 2)
        flat = flat[:: -(-len(flat) // SAMPLE)]
        bits, errors = [], []
        for stored in whole:
            y = flat * codec.gains(int(stored))[0].flatten().to(flat.device)
            bits.append(_bits(2 * y.round()))
            errors.append(float((y - y.round()).square().sum()) / len(flat))
        #: The squared error of the pixels, 0 … 255, that is left at every quality. It is larger in
        #: photos with much detail. At this point y is that of the highest quality.
        self.floor = 11.5 * _bits(y) ** 3.1
        points = 1 + POINTS * (len(whole) - 1)
        self.stored = np.linspace(low, high, points).round().astype(int)
        levels = torch.from_numpy(self.stored / QUALITY_STEPS - 1)
        lambdas = torch.tensor(codec.config.lambdas, dtype=torch.float64)
        self.lambdas = lambda_at(levels, lambdas).numpy()

        def spread(values: list[float]) -> Values:
            return np.exp(np.interp(self.stored, whole, np.log(np.maximum(values, 1e-9))))

        #: The bits per pixel; and the squared error of rounding y, as a sum over the channels and a
        #: mean over the positions.
        self.bits, self.rounding = spread(bits), spread(errors)

    def streams(self, pixels: int) -> Curve:
        """Guess the logarithm of the bytes of both streams.

        Args:
            pixels: how many pixels the picture has.
        """
        return self._curve(np.log(self.bits * pixels / 8))

    def error(self, stored: int | None = None, latents: float = 0.0) -> Curve:
        """Guess the mean squared error of pixels, 0 … 255, with a minus sign.

        Args:
            stored: a stored quality whose latents were coded, or None.
            latents: the squared error of these latents, as a sum over the channels and a mean over
                the positions.
        """
        share = 0.5  # a usual share: the entropy coder subtracts the means before it rounds
        if stored is not None:
            share = latents / float(np.interp(stored, self.stored, self.rounding))
        lost = PIXELS_PER_LATENT * share * self.rounding / self.lambdas
        return self._curve(-(lost + self.floor))

    @torch.inference_mode()
    def similarity(self, pixels: Pixels) -> Curve:
        """Guess the MS-SSIM in dB of a picture of (H, W, 3) uint8 pixels, each side at least 161.

        SSIM compares the error in a window with the variance in that window. One error for all
        windows is guessed from λ. In a flat window the error is hardly larger than the variance,
        because blurring cannot remove more than there is. Each coarser scale has 0.06 of the error
        of the scale before.
        """
        error = torch.from_numpy(3.5 * self.lambdas**-0.85 + 25).float()[:, None]
        channels = []
        for channel in range(pixels.shape[2]):
            plane = torch.from_numpy(pixels[..., channel].astype(np.float32))[None]
            similarity = torch.ones(len(error))
            for scale, weight in enumerate(ms_ssim.WEIGHTS):
                variance = _variances(plane)
                lost = 1 / (1 / (0.06**scale * error) + 1 / (1.4 * variance))
                similarity *= (1 - lost / (2 * variance - lost + ms_ssim.C2)).mean(1) ** weight
                plane = avg_pool2d(plane, 2)
            channels.append(similarity)
        dissimilarity = 1 - torch.stack(channels).mean(0).double()
        return self._curve(-10 * np.log10(dissimilarity.numpy()))

    def _curve(self, values: Values) -> Curve:
        # Features that are not finite raise an error when they are coded.
        ascending = np.maximum.accumulate(np.nan_to_num(values))
        return Curve(self.stored.tolist(), ascending.tolist())


def _bits(symbols: Tensor) -> float:
    """The bits per pixel of symbols (positions, M): about log₂(1 + |symbol|) bits each."""
    return float(symbols.abs().log1p().sum()) / math.log(2) / len(symbols) / STRIDE_Y**2


def _variances(plane: Tensor) -> Tensor:
    """The variances of up to `SAMPLE` windows of 5×5 pixels in a plane (1, H, W)."""
    means, squares = avg_pool2d(plane, 5, stride=3), avg_pool2d(plane.square(), 5, stride=3)
    found = (squares - means.square()).clamp(min=1e-3).flatten()
    return found[:: -(-len(found) // SAMPLE)]
