"""Latents to streams and back: the exact entropy path, whole.

encode:  z ─► round ─► tables of the channels ─► z stream
         ẑ ─► h_s ─► wavefront ─► round(y - mean) ─► tables of the scales ─► y stream
decode:  the same with the arrows into the streams turned round

The joint model `icat` has no context model: there rows take the place of the wavefront.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ticodec.errors import BadInputError
from ticodec.models.analysis_config import IcatConfig
from ticodec.models.config import STRIDE_Y, Config

from .context import MEAN_BITS, Context
from .exact import Fixed, Ops
from .hyper import hyper_synthesis
from .mean_scale import mean_scale, run_rows
from .rans import Ints, Reader, Tables, Writer
from .wavefront import Coder, run_wavefront

#: Symbols are 16-bit integers.
SYMBOL_MAX = 2**15 - 1


class Coded(NamedTuple):
    """Streams, and the symbols' bytes (z then y, raster order, int16) for their checksum."""

    z_stream: bytes
    y_stream: bytes
    symbols: bytes


class Decoded(NamedTuple):
    """ŷ (h, w, M), float64 multiples of 2^-8, and the symbols' bytes as in `Coded`."""

    y_hat: Tensor
    symbols: bytes


class EntropyCoder:
    """Codes latents with the integers of a weights file.

    Args:
        config: dimensions; parameters: what `compile_entropy` made; device: any, the
            streams are the same.
    """

    def __init__(
        self, config: Config, parameters: Mapping[str, Tensor], device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self.ops = Ops(parameters, device)
        self.z_to_y = config.stride_z // STRIDE_Y
        self.context = None if isinstance(config, IcatConfig) else Context(self.ops, config)
        self.y_tables, self.z_tables = (
            Tables(parameters[f"{k}.halves"].numpy(), parameters[f"{k}.frequencies"].numpy())
            for k in "yz"
        )
        self.centres = parameters["z.centres"].numpy().astype(np.int64)
        self.thresholds = parameters["y.thresholds"].double().to(device)
        if self.context is None:  # a layer that is missing or does not fit is told now
            mean_scale(self.ops, torch.zeros(1, 1, 1, config.N, device=device))
        z_fits = len(self.centres) == len(self.z_tables.halves) == config.N
        if not z_fits or len(self.thresholds) + 1 != len(self.y_tables.halves):
            raise BadInputError("damaged weights: the entropy tables do not fit the model")

    @torch.inference_mode()
    def encode(self, y: Tensor, z: Tensor) -> Coded:
        """Latents y (h, w, M) and z (h/n, w/n, N), gains applied, to streams; n is 4, icat's 2."""
        rounded = z.double().round().numpy().astype(np.int64) - self.centres
        z_symbols = rounded.clip(-SYMBOL_MAX, SYMBOL_MAX).reshape(-1, self.config.N)
        writer = Writer()
        writer.write(z_symbols.flatten(), self.channels(len(z_symbols)), self.z_tables)
        z_stream = writer.finish()

        height, width, m = y.shape
        flat = y.reshape(-1, m).double().to(self.device)
        symbols = np.zeros((height * width, m), np.int64)
        writer = Writer()

        def code(positions: Tensor, means: Tensor, indexes: Tensor) -> Tensor:
            step = torch.round(flat[positions] - means).clamp_(-SYMBOL_MAX, SYMBOL_MAX)
            values = step.cpu().numpy().astype(np.int64)
            writer.write(values.flatten(), indexes.flatten().cpu().numpy(), self.y_tables)
            symbols[positions.cpu().numpy()] = values
            return step

        self.run(z_symbols, height // self.z_to_y, width // self.z_to_y, code)
        return Coded(z_stream, writer.finish(), _bytes(z_symbols, symbols))

    @torch.inference_mode()
    def decode(self, z_stream: bytes, y_stream: bytes, height: int, width: int) -> Decoded:
        """Streams of a z map of height × width back to ŷ (n·height, n·width, M).

        Raises BadInputError on streams that no encoder writes; others decode to something,
        which the checksum of the symbols tells from the truth.
        """
        cells, m = height * width, self.config.M
        reader = Reader(z_stream, cells * self.config.N)
        z_symbols = _checked(reader.read(self.channels(cells), self.z_tables))
        z_symbols = z_symbols.reshape(cells, self.config.N)

        positions_y = cells * self.z_to_y**2
        symbols = np.zeros((positions_y, m), np.int64)
        reader = Reader(y_stream, positions_y * m)

        def code(positions: Tensor, means: Tensor, indexes: Tensor) -> Tensor:
            read = reader.read(indexes.flatten().cpu().numpy(), self.y_tables)
            values = _checked(read).reshape(-1, m)
            symbols[positions.cpu().numpy()] = values
            return torch.from_numpy(values).to(self.device).double()

        y_hat = self.run(z_symbols, height, width, code)
        shape = (height * self.z_to_y, width * self.z_to_y, m)
        return Decoded(y_hat.reshape(shape).cpu(), _bytes(z_symbols, symbols))

    def channels(self, positions: int) -> Ints:
        """Number of the table of each symbol of z: its channel."""
        return np.tile(np.arange(self.config.N), positions)

    def run(self, z_symbols: Ints, height: int, width: int, coder: Coder) -> Tensor:
        """Code y, n times the size of z each way, in either direction: ŷ (h·w, M)."""
        if self.context is None:
            z = self.z_hat(z_symbols, height, width)
            return run_rows(self.ops, z, self.thresholds, coder) * 2.0**-MEAN_BITS
        hyper = self.hyper(z_symbols, height, width)
        height, width = height * self.z_to_y, width * self.z_to_y
        y_hat = run_wavefront(self.context, hyper, self.thresholds, height, width, coder)
        return y_hat * 2.0**-MEAN_BITS

    def z_hat(self, z_symbols: Ints, height: int, width: int) -> Tensor:
        """ẑ (height, width, N), integers."""
        return torch.from_numpy(z_symbols + self.centres).reshape(height, width, -1).to(self.device)

    def hyper(self, z_symbols: Ints, height: int, width: int) -> Tensor:
        """h_s of TIC and the head's first layer on it: (h·w, 10M/3), see `Context.hyper_part`."""
        assert self.context is not None
        assert not isinstance(self.config, IcatConfig)
        z = self.z_hat(z_symbols, height, width)[None]
        features = hyper_synthesis(self.ops, self.config, z)
        return self.context.hyper_part(Fixed(features.ints.flatten(0, 2), features.frac))


def _checked(values: Ints) -> Ints:
    if np.abs(values).max(initial=0) > SYMBOL_MAX:
        raise BadInputError("damaged file: impossible symbol in an entropy stream")
    return values


def _bytes(z_symbols: Ints, y_symbols: Ints) -> bytes:
    return z_symbols.astype("<i2").tobytes() + y_symbols.astype("<i2").tobytes()
