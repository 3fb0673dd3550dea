"""The wavefront in C. It gives the same symbols, streams and ŷ as `entropy.wavefront`, faster.

    Context (torch) ──► pack ──► network                     once per model
    maps, streams ─────────────► run ──► ŷ, symbols          one call for all steps of all maps

`wavefront.h` has the data flow, which begins with the last layer of h_s. Weights are packed so that
16 outputs of a layer lie together. Each attention head has its own lane of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ticodec.entropy.exact import (
    EXP_SIZE,
    LONG,
    LONG_SPARE,
    NARROW,
    PROBABILITY_BITS,
    SCORE_BITS,
    WIDE,
)
from ticodec.entropy.latent_coder import NativeStream
from ticodec.entropy.tic_context import MEAN_BITS, SCALE_LIMIT, Context
from ticodec.errors import BadInputError

from .pack import BLOCK, TorchOnlyError, head_lanes, int32, pack, rows_of
from .team import run_team


class NativeMap(NamedTuple):
    """A map of latents for the extension.

    Args:
        hidden: the input of the last layer of h_s, (height·width, N), integers in float32.
        height, width: the size of the map of y.
        stream: where the symbols come from or go to.
        y_hat: the extension puts ŷ here, as in `LatentMap`. None if ŷ is not wanted.
    """

    hidden: Tensor
    height: int
    width: int
    stream: NativeStream
    y_hat: Tensor | None


class NativeWavefront:
    """The CAM and the entropy head, packed for the extension.

    Args:
        module: the extension.
        context: the compiled layers.
        thresholds: the thresholds between the scale tables, (tables - 1,), float64.
        instructions: the set to use, one of `module.INSTRUCTIONS`. By default the fastest.

    Raises ValueError if this processor lacks the instructions, TorchOnlyError if the weights have
    numbers that only the torch path accepts, and ValueError, IndexError or BufferError if the
    weights do not fit the model.
    """

    def __init__(
        self,
        module: ModuleType,
        context: Context,
        thresholds: Tensor,
        instructions: str | None = None,
    ) -> None:
        self.module = module
        ops, m, heads = context.ops, context.M, context.heads
        order = head_lanes(m, heads)
        names = ("cam.mlp1", "head.hyper", "h_s.out")
        hidden, mixed, features = (ops.parameters[f"{name}.weight"].shape[0] for name in names)
        if features != 2 * m:
            raise ValueError("layer h_s.out has the wrong number of outputs")
        deep = ops.parameters["head.conv2.weight"].shape[0]
        channels = ops.parameters["h_s.out.weight"].shape[1] // 9
        frac, qkv_frac = int(ops.parameters["cam.frac"]), context.qkv_frac
        if ops.parameters["head.context.bias"].any():
            raise TorchOnlyError("head.context has a bias, which is zero in every export")
        layers = (
            pack(ops, "cam.qkv", NARROW, order=order),
            pack(ops, "cam.mlp1", NARROW),
            pack(ops, "cam.mlp2", LONG, m),
            pack(ops, "h_s.out", LONG),
            pack(ops, "head.hyper", LONG),
            pack(ops, "head.context", LONG, mixed),
            pack(ops, "head.conv2", LONG),
            pack(ops, "head.scales", SCALE_LIMIT, m),
            pack(ops, "head.means", WIDE, m),
        )
        curved = ("cam.mlp1", "head.context", "head.conv2")
        fracs = [int(ops.parameters[f"{name}.frac"]) for name in curved]
        self.network = module.network(
            (m, heads, channels, features, hidden, mixed, deep),
            layers,
            tuple(int32(ops.gelu_table(frac)) for frac in fracs),
            _biases(ops.parameter("cam.bias"), heads),
            int32(ops.exp[:EXP_SIZE]),
            rows_of(context.masked, order).astype(np.int16),
            np.ascontiguousarray(thresholds.cpu().numpy()),
            (
                2.0 ** (SCORE_BITS - 2 * qkv_frac),
                2.0 ** (frac - MEAN_BITS),
                2.0 ** (frac - PROBABILITY_BITS - qkv_frac),
                ops.epsilon(m, MEAN_BITS),
                ops.epsilon(m, frac - LONG_SPARE),
            ),
            instructions,
        )

    @classmethod
    def of(cls, module: ModuleType, context: Context, thresholds: Tensor) -> NativeWavefront | None:
        """A `NativeWavefront`, or None if only the torch path accepts these weights."""
        try:
            return cls(module, context, thresholds)
        except TorchOnlyError:
            return None

    def run(self, maps: Sequence[NativeMap]) -> None:
        """Codes maps. It fills the symbols of their streams, and their ŷ.

        Raises the errors of a rANS `Reader` if a stream is damaged, and KeyboardInterrupt.
        """
        y_hats = [None if m.y_hat is None else m.y_hat.numpy() for m in maps]
        arguments = tuple(
            (m.height, m.width, m.hidden.numpy(), *m.stream, y_hat)
            for m, y_hat in zip(maps, y_hats, strict=True)
        )
        try:
            run_team(
                self.module, lambda count: self.module.wavefront(self.network, arguments, count)
            )
        except ValueError as error:
            raise BadInputError(f"damaged file: {error}") from None


def _biases(bias: Tensor, heads: int) -> NDArray[np.int32]:
    """Position biases (heads, 25, 13) to [groups][25][13][16]."""
    groups = -(-heads // BLOCK)
    lanes = np.zeros((groups * BLOCK, *bias.shape[1:]), np.int32)
    lanes[:heads] = bias.cpu().numpy()
    return np.ascontiguousarray(lanes.reshape(groups, BLOCK, *bias.shape[1:]).transpose(0, 2, 3, 1))
