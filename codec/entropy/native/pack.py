"""Compiled layers in the form that the extension takes.

The weights of 16 outputs lie together in memory. For each of these outputs the weights lie in
pairs: the weights of inputs 0 and 1, then of inputs 2 and 3, and so on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticodec.entropy.exact import Ops

#: This many outputs of a layer lie together, and this many heads are computed together. It is the
#: same in layers.h.
BLOCK = 16

Layer = tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64], float, int]


class TorchOnlyError(ValueError):
    """The weights have numbers that only the torch path accepts."""


def head_lanes(channels: int, heads: int) -> NDArray[np.int64]:
    """Which output of a qkv layer goes to each place, (3·groups·depth·16,). -1 means no output.

    The layer has its outputs as [3][heads][depth]. The extension needs them as
    [3][groups][depth][16 heads].
    """
    depth, groups = channels // heads, -(-heads // BLOCK)
    order = np.full((3, groups * BLOCK, depth), -1)
    order[:, :heads] = np.arange(3 * channels).reshape(3, heads, depth)
    return order.reshape(3, groups, BLOCK, depth).transpose(0, 1, 3, 2).flatten()


def pack(
    ops: Ops,
    name: str,
    limit: float,
    outputs: int | None = None,
    order: NDArray[np.int64] | None = None,
    inputs: NDArray[np.int64] | None = None,
    width: int | None = None,
) -> Layer:
    """Weight, bias, scale, limit and number of inputs of a layer, as `layer` in layers.h has them.

    Args:
        ops: the compiled layers.
        name: the name of the layer.
        limit: the layer's results are clamped to ±limit.
        outputs: how many outputs the layer must have. None if this is not checked here, because
            the number of inputs of the next layer is.
        order: which output goes to each place, -1 for none. By default all outputs in their order.
        inputs: the same for inputs. It may leave some of them out.
        width: how many inputs the stored weight must have. None if this is not checked here.

    Raises ValueError or IndexError if the layer has other sizes.
    """
    weight, bias, exponent = (ops.parameters[f"{name}.{k}"] for k in ("weight", "bias", "exponent"))
    if order is None:
        order = np.arange(len(weight) if outputs is None else outputs)
    if not len(weight) == len(bias) == len(exponent) == order.max(initial=-1) + 1:
        raise ValueError(f"layer {name} has the wrong number of outputs")
    if width is not None and weight.shape[1] != width:
        raise ValueError(f"layer {name} has the wrong number of inputs")
    if inputs is not None:
        weight = torch.from_numpy(rows_of(weight.t(), inputs)).t()
    order = np.append(order, np.full(-len(order) % BLOCK, -1))
    rows = rows_of(weight, order)
    count = rows.shape[1]
    even = np.pad(rows, ((0, 0), (0, count % 2)))  # an odd number gets one more weight of zero
    pairs = even.reshape(-1, BLOCK, even.shape[1] // 2, 2)
    packed = np.ascontiguousarray(pairs.transpose(0, 2, 1, 3))  # [blocks][pairs][16][2]
    scale = np.ldexp(1.0, rows_of(exponent, order).astype(np.int32))
    return packed, rows_of(bias, order).astype(np.float64), scale, float(limit), count


def rows_of(tensor: Tensor, order: NDArray[np.int64]) -> NDArray[Any]:
    """The rows of a tensor in this order. -1 gives a row of zeros."""
    rows = tensor.cpu().numpy()[order]
    rows[order < 0] = 0
    return rows


def int32(tensor: Tensor) -> NDArray[np.int32]:
    """A tensor of integers as an array of int32."""
    return tensor.cpu().numpy().astype(np.int32)
