"""The wavefront in C: the same symbols, streams and ŷ as `ticodec.entropy.wavefront`, faster.

    Context (torch) ──► pack ──► Network, once a model
    maps, streams ─────────────► run ──► ŷ, symbols          one call for all steps of all maps

`wavefront.h` has the data flow. Weights are packed so that 16 outputs of a layer lie together, and
attention heads so that each has its own lane of a vector.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
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
    Ops,
)
from ticodec.errors import BadInputError
from ticodec.entropy.latent_coder import NativeStream
from ticodec.entropy.tic_context import MEAN_BITS, SCALE_LIMIT, Context

#: Outputs of a layer that lie together, and heads that are computed together: BLOCK in layers.h.
BLOCK = 16
#: More threads than this wait for each other longer than they work.
MOST_THREADS = 8

Layer = tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64], float]


class NativeMap(NamedTuple):
    """A map of latents for the extension.

    Args:
        features: of h_s, (height·width, 2M), integers in float32 (they have 25 bits at most).
        height, width: of the latents.
        stream: where symbols come from or go to.
    """

    features: Tensor
    height: int
    width: int
    stream: NativeStream


class NativeWavefront:
    """The CAM and the entropy head, packed for the extension.

    Args:
        module: the extension.
        context: the compiled layers.
        thresholds: of the scale tables, (tables - 1,), float64.
        instructions: of which kind: "avx512", "avx2", "plain". The best one by default.

    Raises ValueError when this processor lacks the instructions, or when the weights have numbers
    that only the torch path can take.
    """

    def __init__(
        self, module: ModuleType, context: Context, thresholds: Tensor, instructions: str | None = None
    ) -> None:
        self.module, self.M = module, context.M
        ops, m, heads = context.ops, context.M, context.heads
        order = head_lanes(m, heads)
        shapes = {n: ops.parameters[f"{n}.weight"].shape for n in ("cam.mlp1", "head.hyper")}
        hidden, (mixed, features) = shapes["cam.mlp1"][0], shapes["head.hyper"]
        deep = ops.parameters["head.conv2.weight"].shape[0]
        frac, qkv_frac = int(ops.parameters["cam.frac"]), context.qkv_frac
        if qkv_frac < 0:
            raise ValueError("scores could be too large to round")
        layers = (
            pack(ops, "cam.qkv", NARROW, order),
            pack(ops, "cam.mlp1", NARROW),
            pack(ops, "cam.mlp2", LONG),
            pack(ops, "head.hyper", LONG),
            pack(ops, "head.context", LONG),
            pack(ops, "head.conv2", LONG),
            pack(ops, "head.scales", SCALE_LIMIT),
            pack(ops, "head.means", WIDE),
        )
        fracs = [int(ops.parameters[f"{n}.frac"]) for n in ("cam.mlp1", "head.context", "head.conv2")]
        self.network = module.network(
            (m, heads, features, hidden, mixed, deep),
            layers,
            tuple(_int32(ops.gelu_table(frac)) for frac in fracs),
            _biases(ops.parameter("cam.bias"), heads),
            _int32(ops.exp[:EXP_SIZE]),
            _rows(context.masked, order).astype(np.int16),
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
    def of(
        cls, module: ModuleType, context: Context, thresholds: Tensor
    ) -> NativeWavefront | None:
        """The same, or None where only the torch path can take these weights."""
        try:
            return cls(module, context, thresholds)
        except ValueError:
            return None

    def run(self, maps: Sequence[NativeMap]) -> list[Tensor]:
        """Code maps; fills their streams' symbols, and returns ŷ of each as `run_wavefront` does.

        Raises what the rANS backend raises on damaged streams, and KeyboardInterrupt.
        """
        y_hats = [np.empty((m.height * m.width, self.M)) for m in maps]
        arguments = tuple(
            (m.height, m.width, m.features.numpy(), *m.stream, y_hat)
            for m, y_hat in zip(maps, y_hats, strict=True)
        )
        try:
            run_team(self.module, self.network, arguments)
        except ValueError as error:
            raise BadInputError(f"damaged file: {error}") from None
        return [torch.from_numpy(y_hat) for y_hat in y_hats]


def run_team(module: ModuleType, network: Any, maps: tuple[Any, ...]) -> None:
    """Run a wavefront on as many threads as torch has, of which this is one."""
    count = min(torch.get_num_threads(), MOST_THREADS)
    job = module.wavefront(network, maps, count)
    others = [
        threading.Thread(target=module.run, args=(job, number), daemon=True)
        for number in range(1, count)
    ]
    for thread in others:
        thread.start()
    try:
        module.run(job, 0)
    finally:
        for thread in others:
            thread.join()


def head_lanes(channels: int, heads: int) -> NDArray[np.int64]:
    """Which output of a qkv layer lies where: (3·groups·depth·16,), -1 for none.

    A layer has [3][heads][depth]; the extension wants [3][groups][depth][16 heads].
    """
    depth, groups = channels // heads, -(-heads // BLOCK)
    order = np.full((3, groups * BLOCK, depth), -1)
    order[:, :heads] = np.arange(3 * channels).reshape(3, heads, depth)
    return order.reshape(3, groups, BLOCK, depth).transpose(0, 1, 3, 2).flatten()


def pack(ops: Ops, name: str, limit: float, order: NDArray[np.int64] | None = None) -> Layer:
    """Weight, bias, scale and limit of a layer in the form of `layer` in layers.h."""
    weight, bias, exponent = (ops.parameters[f"{name}.{k}"] for k in ("weight", "bias", "exponent"))
    if order is None:
        order = np.arange(len(weight))
    order = np.append(order, np.full(-len(order) % BLOCK, -1))
    rows = _rows(weight, order)
    packed = rows.reshape(-1, BLOCK, rows.shape[1]).transpose(0, 2, 1)
    scale = np.ldexp(1.0, _rows(exponent, order).astype(np.int32))
    return np.ascontiguousarray(packed), _rows(bias, order).astype(np.float64), scale, float(limit)


def _rows(tensor: Tensor, order: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of a tensor in this order; zeros where it is -1."""
    rows = tensor.cpu().numpy()[order]
    rows[order < 0] = 0
    return rows


def _biases(bias: Tensor, heads: int) -> NDArray[np.int32]:
    """Position biases (heads, 25, 13) to [groups][25][13][16]."""
    groups = -(-heads // BLOCK)
    lanes = np.zeros((groups * BLOCK, *bias.shape[1:]), np.int32)
    lanes[:heads] = bias.cpu().numpy()
    return np.ascontiguousarray(lanes.reshape(groups, BLOCK, *bias.shape[1:]).transpose(0, 2, 3, 1))


def _int32(tensor: Tensor) -> NDArray[np.int32]:
    return tensor.cpu().numpy().astype(np.int32)
