"""The cases that are coded on all machines: weights, and latents for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ticodec import container, weights
from ticodec.codec import Codec
from ticodec.entropy.coder import Decoded, EntropyCoder, Streams
from ticodec.models.config import STRIDE_Y, CodecConfig
from ticodec.models.families import build, preset
from ticodec.training.export.weights_file import compile_entropy

from .record import path

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
SAMPLE = ROOT / "docs" / "samples" / "kodim23.png"
CPU = torch.device("cpu")

Latents = tuple[Tensor, Tensor]


class Case(NamedTuple):
    """Latents of some images, which are coded together.

    Args:
        name: shown to people.
        config: of the entropy coder.
        parameters: of the entropy coder.
        latents: y and z of each image.
        files: the streams that must be the result. None if they are not known.
    """

    name: str
    config: CodecConfig
    parameters: Mapping[str, Tensor]
    latents: list[Latents]
    files: list[Streams] | None = None

    def coder(self) -> EntropyCoder:
        return EntropyCoder(self.config, self.parameters, CPU)

    def code(self) -> tuple[list[Streams], list[Decoded]]:
        """Encode and decode with a new coder, on the path that is chosen at the moment."""
        coder = self.coder()
        coded = coder.encode_many(self.latents)
        streams = [
            Streams(one.z_stream, one.y_stream, *z.shape[:2])
            for one, (_, z) in zip(coded, self.latents, strict=True)
        ]
        return streams, coder.decode_many(streams)


def exact(entry: weights.Entry) -> dict[str, Tensor]:
    """The integer parameters of a weights file."""
    tensors = weights.read(entry)[1]
    return {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("exact.")}


def golden() -> Iterator[Case]:
    """One case for each model that has golden files."""
    for entry in weights.entries(GOLDEN / "weights"):
        codec = Codec(entry, "cpu", bf16=False)
        files = []
        for file in sorted(GOLDEN.glob("v*/*.tic")):
            parsed = container.read(file.read_bytes())
            header, stride = parsed.header, codec.config.stride_z
            if header.fingerprint == entry.fingerprint:
                size = (-(-header.height // stride), -(-header.width // stride))
                z, y = parsed.section("z"), parsed.section("y")
                assert z
                assert y
                files.append(Streams(z, y, *size))
        case = Case(f"{len(files)} golden files of `{entry.name}`", codec.config, exact(entry), [])
        with path(None):
            coder = case.coder()
            decoded = coder.decode_many(files)
        latents = [
            (one.y_hat, z_of(coder, one, streams))
            for one, streams in zip(decoded, files, strict=True)
        ]
        yield case._replace(latents=latents, files=files)


def z_of(coder: EntropyCoder, decoded: Decoded, streams: Streams) -> Tensor:
    """ẑ (h, w, N) of a decoded image."""
    symbols = np.frombuffer(decoded.symbols.z, "<i2").astype(np.int64)
    return coder.z_hat(symbols.reshape(-1, coder.config.N), streams.height, streams.width)


def shipped() -> Iterator[Case]:
    """Cases of the shipped tic-plus and tic-lite.

    Their latents are those of a part of a photo, and some that are far outside the tables.
    """
    pixels = np.asarray(Image.open(SAMPLE).convert("RGB"))[:256, :384]
    for name in ("tic-plus", "tic-lite"):
        entry = weights.find(name)
        codec = Codec(entry, "cpu", bf16=False)
        with torch.inference_mode():
            photo = codec.scaled(codec.features(pixels), codec.stored_quality(3))
        parameters = exact(entry)
        yield Case(f"`{name}`, photo of 384 × 256", codec.config, parameters, [photo])
        far = [chance(codec.config, 2, 3, 300.0), chance(codec.config, 1, 2, 300.0)]
        yield Case(f"`{name}`, 2 maps with outliers", codec.config, parameters, far)


def random() -> Iterator[Case]:
    """Cases with random weights: TIC+ with the widths of its published code, and a network whose
    sizes fill no vector."""
    yield untrained("`tic-plus-low`, random weights", preset("tic-plus-low"))
    odd = preset("tic-lite", N=32, M=40, cam_heads=20)
    yield untrained("M = 40, 20 heads, random weights", odd)


def untrained(name: str, config: CodecConfig) -> Case:
    """A case with random latents and random weights."""
    torch.manual_seed(1)
    network = build(config).eval()
    with torch.no_grad():
        torch.nn.init.normal_(network.cam.bias_table)
        torch.nn.init.normal_(network.cam.qkv.weight, std=0.3)
    y, z = chance(config, 2, 3, 4.0)
    parameters = compile_entropy(network, y[None].float(), z[None].float())
    return Case(name, config, parameters, [(y, z)])


def chance(config: CodecConfig, height: int, width: int, spread: float) -> Latents:
    """Random y and z (height, width, N)."""
    generator = torch.Generator().manual_seed(height)
    side = config.stride_z // STRIDE_Y
    y = torch.randn(side * height, side * width, config.M, generator=generator) * spread
    return y, torch.randn(height, width, config.N, generator=generator) * 2


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "golden": golden,
    "shipped": shipped,
    "random": random,
}
