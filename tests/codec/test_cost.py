"""What exactness costs: real file sizes against what the float model's likelihoods predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import SAMPLES
from ticodec import container, weights
from ticodec.codec import Codec
from ticodec.images import Picture
from ticodec.models.prior import gaussian_likelihood


@torch.inference_mode()
def predicted_bytes(codec: Codec, pixels: np.ndarray, y_hat: torch.Tensor, stored: int) -> float:
    """Bits of ẑ and ŷ by the float network, in bytes."""
    _, z = codec.analyse(pixels, stored)
    network, z_hat = codec.network, z.round()[None]
    scales, means = network.head(network.h_s(z_hat), network.cam(y_hat[None].float()))
    p_y = gaussian_likelihood(y_hat[None].float(), means, scales)
    p_z = network.prior.likelihood(z_hat)
    return float(-(p_y.double().log2().sum() + p_z.double().log2().sum()) / 8)


@pytest.mark.parametrize("quality", [1, 5, 8])
@pytest.mark.parametrize("photo", sorted(SAMPLES.glob("kodim*.png")), ids=lambda p: p.stem)
def test_files_are_as_small_as_the_float_model_says(photo: Path, quality: float) -> None:
    entry = next(e for e in weights.entries(weights.store.SHIPPED) if e.default)
    codec = Codec(entry, "cpu", bf16=False)
    pixels = np.array(Image.open(photo).convert("RGB"))
    data = codec.encode(Picture(pixels), quality)
    y_hat = codec.latents(container.read(data))
    predicted = predicted_bytes(codec, pixels, y_hat, codec.stored_quality(quality))
    assert len(data) <= 1.005 * predicted
