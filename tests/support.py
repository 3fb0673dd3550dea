"""Helpers of all tests that are not fixtures: paths, small networks, generated photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import ImageCms

from ticodec.codec import Codec
from ticodec.models.config import ModelConfig
from ticodec.models.prior import gaussian_likelihood
from ticodec.reading.colours import icc, transfer
from ticodec.reading.colours.primaries import PRIMARIES
from ticodec.training.options import TrainOptions

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SAMPLES = ROOT / "docs" / "samples"
CPU = torch.device("cpu")
#: ICC profiles of sRGB, as LittleCMS writes it, and of a screen with other primaries.
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE_ICC = icc.rgb_profile(PRIMARIES[12], transfer.SRGB) or b""
#: A network that trains in a moment, and options to train it with.
SMALL = ModelConfig("tic-lite", N=16, M=16, depths=(0, 2, 2), activation="none", mlp_ratio=2)
SMALL_RUN = TrainOptions(crop=64, batch=2, lr=1e-3, warmup=5)


class Result:
    """Exit code and output of one run."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def fails(self, code: int, *words: str) -> None:
        """Assert that the command failed with this code and one line that contains all `words`."""
        assert self.code == code, (self.code, self.out, self.err)
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("ticodec: ")
        for word in words:
            assert word in lines[0]


def make_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A generated picture with smooth areas, edges and texture, (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 48
    smooth = np.stack([np.sin(x + seed), np.cos(y - x), np.sin(y * 0.7 + 1)], -1) * 70 + 120
    smooth[(x * 3 % 2 < 1) & (y % 1.5 < 0.4)] += 60
    texture = random.normal(0, 12, (height, width, 3)) * (x[..., None] % 2 > 1)
    return (smooth + texture).clip(0, 255).astype(np.uint8)


@torch.inference_mode()
def predicted_bytes(codec: Codec, pixels: np.ndarray, y_hat: torch.Tensor, stored: int) -> float:
    """The size of a file in bytes according to the float model's likelihoods of ẑ and ŷ."""
    _, z = codec.scaled(codec.features(pixels), stored)
    network, z_hat = codec.network, z.round()[None]
    scales, means = network.head(network.h_s(z_hat), network.cam(y_hat[None].float()))
    p_y = gaussian_likelihood(y_hat[None].float(), means, scales)
    p_z = network.prior.likelihood(z_hat)
    return float(-(p_y.double().log2().sum() + p_z.double().log2().sum()) / 8)
