"""CompressAI's published models with its own weights, which it downloads on first use."""

from __future__ import annotations

import struct
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from ticodec.errors import UsageError
from ticodec.evaluation.coder import Coder
from ticodec.picture import Pixels


class CompressAIPeer(Coder):
    """A model of `compressai.zoo`, with the name that it has there. It was trained for MSE.

    It runs on the CPU.

    Its files hold the image size, the latent size and the length of each string, then the strings.

    Raises UsageError when CompressAI is not installed.
    """

    suffix = ".bin"
    sizes = "<HHHH"
    stride = 64
    settings = ladder = tuple(float(q) for q in range(1, 9))

    def __init__(self) -> None:
        self.networks: dict[float, Any] = {}  # by setting
        try:
            self.version = f"CompressAI {version('compressai')}"
        except PackageNotFoundError as error:
            raise UsageError(
                f"{self.name} needs CompressAI, which needs Python below 3.13: "
                "pip install 'ticodec[evaluate]' there"
            ) from error

    def prepare(self) -> None:
        """Download and load the network of every quality."""
        for setting in self.ladder:
            self._network(setting)
        super().prepare()

    def _network(self, setting: float) -> Any:
        from compressai.zoo import image_models

        if setting in self.networks:
            return self.networks[setting]
        try:
            network = image_models[self.name](int(setting), metric="mse", pretrained=True)
        except Exception as error:  # urllib, the hub and torch raise many kinds
            raise UsageError(
                f"{self.name}: CompressAI cannot get its weights for quality {setting:g}: {error}"
            ) from error
        self.networks[setting] = network.eval()
        return self.networks[setting]

    @torch.inference_mode()
    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Encode with CompressAI, after repeating the edges up to a multiple of 64 pixels."""
        height, width = pixels.shape[:2]
        extra = [(0, -height % self.stride), (0, -width % self.stride), (0, 0)]
        padded = np.pad(pixels, extra, "edge").transpose(2, 0, 1)[None]  # (1, 3, H', W')
        coded = self._network(setting).compress(torch.from_numpy(padded).float() / 255)
        strings = [batch[0] for batch in coded["strings"]]
        data = struct.pack(self.sizes, height, width, *coded["shape"])
        data += struct.pack("<BB", int(setting), len(strings))
        data += b"".join(struct.pack("<I", len(string)) for string in strings)
        return data + b"".join(strings)

    @torch.inference_mode()
    def decode(self, data: bytes) -> Pixels:
        """Decode with CompressAI, then crop the image and round it to 8 bits."""
        at = struct.calcsize(self.sizes)
        height, width, *shape = struct.unpack_from(self.sizes, data)
        setting, count = struct.unpack_from("<BB", data, at)
        lengths = struct.unpack_from(f"<{count}I", data, at + 2)
        at += 2 + 4 * count
        strings = []
        for length in lengths:
            strings.append([data[at : at + length]])
            at += length
        out = self._network(float(setting)).decompress(strings, shape)["x_hat"][0]
        samples = (out.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()  # (H', W', 3)
        return np.ascontiguousarray(samples[:height, :width])


class Factorized(CompressAIPeer):
    """Ballé et al. 2018, factorized prior."""

    name = "bmshj2018-factorized"


class Hyperprior(CompressAIPeer):
    """Ballé et al. 2018, scale hyperprior."""

    name = "bmshj2018-hyperprior"


class MeanScale(CompressAIPeer):
    """Minnen et al. 2018, mean and scale hyperprior."""

    name = "mbt2018-mean"


class Autoregressive(CompressAIPeer):
    """Minnen et al. 2018, with a context model."""

    name = "mbt2018"


class ChengAnchor(CompressAIPeer):
    """Cheng et al. 2020, residual blocks."""

    name = "cheng2020-anchor"
    settings = ladder = tuple(float(q) for q in range(1, 7))


class ChengAttention(CompressAIPeer):
    """Cheng et al. 2020, with attention."""

    name = "cheng2020-attn"
    settings = ladder = tuple(float(q) for q in range(1, 7))
