"""What exactness costs: real file sizes against what the float model's likelihoods predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import SAMPLES, predicted_bytes

from ticodec import container, weights
from ticodec.codec import Codec
from ticodec.picture import Picture


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The default model's codec."""
    entry = next(e for e in weights.entries(weights.store.SHIPPED) if e.default)
    return Codec(entry, "cpu", bf16=False)


@pytest.mark.parametrize("quality", [1, 5, 8])
@pytest.mark.parametrize("photo", sorted(SAMPLES.glob("kodim*.png")), ids=lambda p: p.stem)
def test_files_are_as_small_as_the_float_model_says(
    codec: Codec, photo: Path, quality: float
) -> None:
    pixels = np.array(Image.open(photo).convert("RGB"))
    data = codec.encode(Picture(pixels), quality)
    y_hat = codec.latents(container.read(data))
    predicted = predicted_bytes(codec, pixels, y_hat, codec.stored_quality(quality))
    # Nearly all symbols are sure to be zero at low quality. In tables of 16 bits such a symbol
    # cannot be as cheap as the float model says.
    tables = 0.0005 * y_hat.numel() / 8
    assert len(data) <= 1.002 * predicted + tables + 40  # at most 40 bytes are the container
