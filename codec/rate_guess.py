"""What files of a picture will be like at every quality, guessed from its features alone.

A guess says where the search begins, and how the curve runs from one trial to the next; the trials
decide. The constants were fitted to 27 photos with tic-plus. They follow the trade-off λ of each
quality, so they serve other weights too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .container import QUALITY_STEPS
from .models.config import STRIDE_Y
from .rate_search import Curve

if TYPE_CHECKING:
    from .codec import Codec

#: Points of the curves from one whole quality to the next.
POINTS = 8
#: At most so many positions of the latents are looked at.
SAMPLE = 2048
#: The squared error of pixels, 0 … 255, is this times that of the latents / λ, and the floor: what
#: is lost whatever the quality. It follows from least D·λ + R with a uniform quantiser.
PIXELS_PER_LATENT = 6 / math.log(2) / STRIDE_Y**2

Values = NDArray[np.float64]


class Guess:
    """The curves of one picture, over the stored qualities of the weights.

    Args:
        codec: of weights that have more than one quality.
        features: what g_a gives of the picture, without gains, (1, h, w, M).
    """

    @torch.inference_mode()
    def __init__(self, codec: Codec, features: Tensor) -> None:
        assert codec.entry.qualities is not None
        low, high = (round(quality * QUALITY_STEPS) for quality in codec.entry.qualities)
        whole = np.linspace(low, high, 1 + round((high - low) / QUALITY_STEPS)).round().astype(int)
        flat = features.flatten(0, 2)
        flat = flat[:: -(-len(flat) // SAMPLE)]
        logs, errors = [], []
        for stored in whole:
            y = flat * codec.gains(int(stored))[0].flatten().to(flat.device)
            logs.append(float(y.abs().log1p().sum()) / math.log(2) / len(flat) / STRIDE_Y**2)
            errors.append(float((y - y.round()).square().sum()) / len(flat))
        points = 1 + POINTS * (len(whole) - 1)
        self.stored = np.linspace(low, high, points).round().astype(int)
        lambdas = codec.config.lambdas
        levels = self.stored / QUALITY_STEPS - 1
        self.lambdas = np.exp(np.interp(levels, range(len(lambdas)), np.log(lambdas)))

        def spread(values: list[float]) -> Values:
            return np.exp(np.interp(self.stored, whole, np.log(np.maximum(values, 1e-9))))

        #: Of all channels, means over the positions: log2(1 + |y|) a pixel, and what rounding
        #: does to y, squared.
        self.logs, self.rounding = spread(logs), spread(errors)

    def streams(self, pixels: int) -> Curve:
        """The logarithm of the bytes of both streams of a picture with so many pixels."""
        bits = -0.5 + 2.5 * np.log(self.logs) - 0.3 * np.log(self.lambdas)  # a pixel, logarithm
        return self._curve(bits + math.log(pixels / 8))

    def error(self, stored: int | None = None, latents: float = 0.0) -> Curve:
        """The mean squared error of pixels, 0 … 255, with a minus sign.

        Args:
            stored: a quality whose latents are known; latents: their squared error, summed over the
                channels, a mean over the positions. None: the usual share of what rounding does
                without the means that the entropy coder subtracts.
        """
        share = 0.5
        if stored is not None:
            share = latents / float(np.interp(stored, self.stored, self.rounding))
        floor = 11.5 * self.logs[-1] ** 3.1
        return self._curve(-(PIXELS_PER_LATENT * share * self.rounding / self.lambdas + floor))

    def similarity(self) -> Curve:
        """MS-SSIM in dB: the same for all pictures, which differ by 1.3 dB from it."""
        return self._curve(-10 * np.log10(0.004 + 0.0007 * self.lambdas**-0.65))

    def _curve(self, values: Values) -> Curve:
        return Curve(self.stored.tolist(), np.maximum.accumulate(values).tolist())
