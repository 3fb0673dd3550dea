"""Latents to streams and back: the whole exact entropy path.

encode:  z ─► round ─► tables of the channels ─► z stream
         ẑ ─► h_s ─► wavefront ─► round(y - mean) ─► tables of the scales ─► y stream
decode:  the same, with the arrows into the streams reversed

The joint model `icat` has no context model. It codes row by row instead of along the wavefront.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticodec.errors import BadInputError
from ticodec.models.config import STRIDE_Y, CodecConfig
from ticodec.models.families import family_of

from .exact import Ops
from .latent_coder import LatentMap, NativeStream
from .parameters import check_parameters
from .rans import Ints, Reader, Tables, Writer
from .rounding import Rounding

#: Symbols are 16-bit integers.
SYMBOL_MAX = 2**15 - 1


class Symbols(NamedTuple):
    """The symbols of an image as bytes: raster order, int16, little-endian."""

    z: memoryview
    y: memoryview


class Coded(NamedTuple):
    """The streams of an image, and its symbols."""

    z_stream: bytes
    y_stream: bytes
    symbols: Symbols


class Decoded(NamedTuple):
    """ŷ (h, w, M), float32, exact multiples of 2^-8, and the symbols of the image."""

    y_hat: Tensor
    symbols: Symbols


class Streams(NamedTuple):
    """The streams of one file, and the height and width of its z."""

    z: bytes
    y: bytes
    height: int
    width: int


class EntropyCoder:
    """Codes latents with the integers of a weights file.

    Args:
        config: the network's dimensions.
        parameters: what `compile_entropy` made.
        device: where to run. Every device gives the same streams.

    Raises ValueError, KeyError, IndexError, RuntimeError or BufferError if the parameters do not
    fit a network of these dimensions.
    """

    def __init__(
        self, config: CodecConfig, parameters: Mapping[str, Tensor], device: torch.device
    ) -> None:
        check_parameters(parameters)
        self.config, self.device = config, device
        self.ops = Ops(parameters, device)
        self.z_to_y = config.stride_z // STRIDE_Y
        self.y_tables, self.z_tables = (
            Tables(parameters[f"{k}.halves"].numpy(), parameters[f"{k}.frequencies"].numpy())
            for k in "yz"
        )
        self.centres = parameters["z.centres"].numpy().astype(np.int64)
        self.thresholds = parameters["y.thresholds"].double().to(device)
        family = family_of(config.model)
        self.latents = family.make_latent_coder(self.ops, config, self.thresholds)
        z_fits = len(self.centres) == len(self.z_tables.halves) == config.N
        if not z_fits or len(self.thresholds) + 1 != len(self.y_tables.halves):
            raise BadInputError("damaged weights: the entropy tables do not fit the model")
        if (self.thresholds.diff() <= 0).any():
            raise BadInputError("damaged weights: the thresholds of the scales do not ascend")

    def encode(self, y: Tensor, z: Tensor) -> Coded:
        """Encodes latents y (h, w, M) and z (h/n, w/n, N). Gains must already be applied.

        n is 4 for TIC models and 2 for icat. Raises BadInputError if a latent is infinite or NaN.
        """
        return self.encode_many([(y, z)])[0]

    @torch.inference_mode()
    def encode_known(
        self, y: Tensor, z: Tensor, rounding: Rounding | None = None
    ) -> tuple[Coded, Tensor]:
        """Encodes one image. Returns its streams and the ŷ (h, w, M), float32, that they decode to.

        Args:
            y, z: as for `encode`.
            rounding: how to round y. None means to round to the nearest integer.
        """
        encoding = Encoding(self, y, z, rounding)
        (y_hat,) = self.run([encoding])
        return encoding.finish(), y_hat.reshape(y.shape)

    @torch.inference_mode()
    def encode_many(self, latents: Sequence[tuple[Tensor, Tensor]]) -> list[Coded]:
        """Encodes several images of any sizes. This takes less time than `encode` for each."""
        writings = [Encoding(self, y, z) for y, z in latents]
        self.latents.run([self.map_of(encoding, None) for encoding in writings])
        return [encoding.finish() for encoding in writings]

    def decode(self, z_stream: bytes, y_stream: bytes, height: int, width: int) -> Decoded:
        """Decodes streams to ŷ (n·height, n·width, M). The map of z has height × width positions.

        Raises BadInputError if no encoder can have written the streams. Other damaged streams
        decode to wrong symbols, which the caller detects by their checksum.
        """
        return self.decode_many([Streams(z_stream, y_stream, height, width)])[0]

    @torch.inference_mode()
    def decode_many(self, files: Sequence[Streams]) -> list[Decoded]:
        """Decodes several files, in less time than `decode` for each. Raises if one is damaged."""
        readings = [Decoding(self, streams) for streams in files]
        pairs = zip(readings, self.run(readings), strict=True)
        return [decoding.finish(y_hat) for decoding, y_hat in pairs]

    def channels(self, positions: int) -> Ints:
        """For every symbol of z, the number of its table, which is the number of its channel."""
        return np.tile(np.arange(self.config.N), positions)

    def run(self, images: Sequence[Encoding | Decoding]) -> list[Tensor]:
        """Encodes or decodes y of several images. Returns ŷ of each, (h·w, M), as in `Decoded`."""
        y_hats = [torch.empty(image.symbols.shape) for image in images]
        maps = [self.map_of(*pair) for pair in zip(images, y_hats, strict=True)]
        self.latents.run(maps)
        return y_hats

    def map_of(self, image: Encoding | Decoding, y_hat: Tensor | None) -> LatentMap:
        """The argument of `LatentCoder.run` for one image. See `LatentMap` for `y_hat`."""
        return LatentMap(self.z_hat(*image.z), image, y_hat)

    def z_hat(self, z_symbols: Ints, height: int, width: int) -> Tensor:
        """ẑ (height, width, N), integers: the symbols plus the centres of the channels."""
        return torch.from_numpy(z_symbols + self.centres).reshape(height, width, -1).to(self.device)


class ZMap(NamedTuple):
    """The symbols of z, (height·width, N), and the size of its map."""

    symbols: Ints
    height: int
    width: int


class Encoding:
    """One image that is being encoded. `code` quantises and writes the next positions of y."""

    def __init__(
        self, owner: EntropyCoder, y: Tensor, z: Tensor, rounding: Rounding | None = None
    ) -> None:
        if not (_finite(y) and _finite(z)):
            raise BadInputError("damaged weights: the latents of this image are not finite")
        rounded = z.double().round().numpy().astype(np.int64) - owner.centres
        z_symbols = rounded.clip(-SYMBOL_MAX, SYMBOL_MAX).reshape(-1, owner.config.N)
        writer = Writer()
        writer.write(z_symbols.flatten(), owner.channels(len(z_symbols)), owner.z_tables)
        self.z_stream = writer.finish()
        height, width, m = y.shape
        self.z = ZMap(z_symbols, height // owner.z_to_y, width // owner.z_to_y)
        self.flat = y.reshape(-1, m).float().contiguous().to(owner.device)
        self.symbols = np.zeros((height * width, m), np.int16)
        self.writer, self.tables, self.rounding = Writer(), owner.y_tables, rounding

    def code(self, positions: Tensor, means: Tensor, indexes: Tensor) -> Tensor:
        steps = (self.flat[positions].double() - means).clamp_(-SYMBOL_MAX, SYMBOL_MAX)
        tables = indexes.cpu().numpy()
        if self.rounding is None:
            values = steps.round_().cpu().numpy().astype(np.int64)
        else:
            values = self.rounding(steps.cpu().numpy(), tables)
        self.writer.write(values.flatten(), tables.flatten(), self.tables)
        self.symbols[positions.cpu().numpy()] = values
        return torch.from_numpy(values).to(steps)

    def native(self) -> NativeStream | None:
        return native_stream(
            self.flat.numpy(), self.rounding, self.writer, self.tables, self.symbols
        )

    def finish(self) -> Coded:
        symbols = Symbols(_bytes(self.z.symbols), _bytes(self.symbols))
        return Coded(self.z_stream, self.writer.finish(), symbols)


class Decoding:
    """One file that is being decoded. `code` reads the next positions of y."""

    def __init__(self, owner: EntropyCoder, streams: Streams) -> None:
        cells, m = streams.height * streams.width, owner.config.M
        reader = Reader(streams.z, cells * owner.config.N)
        z_symbols = _checked(reader.read(owner.channels(cells), owner.z_tables))
        self.z = ZMap(z_symbols.reshape(cells, owner.config.N), streams.height, streams.width)
        positions_y = cells * owner.z_to_y**2
        self.shape = (streams.height * owner.z_to_y, streams.width * owner.z_to_y, m)
        self.symbols = np.zeros((positions_y, m), np.int16)
        self.reader, self.tables = Reader(streams.y, positions_y * m), owner.y_tables
        self.device = owner.device

    def code(self, positions: Tensor, means: Tensor, indexes: Tensor) -> Tensor:
        read = self.reader.read(indexes.flatten().cpu().numpy(), self.tables)
        values = _checked(read).reshape(-1, self.shape[-1])
        self.symbols[positions.cpu().numpy()] = values
        return torch.from_numpy(values).to(self.device).double()

    def native(self) -> NativeStream | None:
        return native_stream(None, None, self.reader, self.tables, self.symbols)

    def finish(self, y_hat: Tensor) -> Decoded:
        symbols = Symbols(_bytes(self.z.symbols), _bytes(self.symbols))
        return Decoded(y_hat.reshape(self.shape), symbols)


def native_stream(
    y: NDArray[np.float32] | None,
    rounding: Rounding | None,
    coder: Writer | Reader,
    tables: Tables,
    symbols: NDArray[np.int16],
) -> NativeStream | None:
    """A `NativeStream` with these fields, or None if the rANS coder is not the C extension's."""
    if coder.native is None or tables.native is None:
        return None
    return NativeStream(y, rounding, coder.native, tables.native, symbols)


def _checked(values: Ints) -> Ints:
    if np.abs(values).max(initial=0) > SYMBOL_MAX:
        raise BadInputError("damaged file: impossible symbol in an entropy stream")
    return values


def _finite(latents: Tensor) -> bool:
    """Whether no latent is infinite or NaN. It allocates no map of booleans, to save memory."""
    return bool(torch.stack(latents.aminmax()).isfinite().all())


def _bytes(symbols: NDArray[np.signedinteger[Any]]) -> memoryview:
    """The symbols as int16, little-endian. It copies them only if they are of another type."""
    return symbols.astype("<i2", copy=False).data.cast("B")
