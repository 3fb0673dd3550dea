"""Swin layers and convolutions in C. Weights are packed once, and one call runs rows of a map.

    SwinLayer (torch) ─► pack ─► NativeSwin ─► run(rows of windows)
    Conv, GDN (torch) ─► pack ─► NativeConv ─► run(rows with borders)

Constants are folded into the weights next to them: LayerNorm's affine part into qkv and mlp1, 1/√d
into q, and the base of the exponential into q and the position biases.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ticodec.models.attention import shift_regions
from ticodec.models.conv import Conv, LinearGDN, shuffled
from ticodec.models.swin import SwinLayer

from . import kernel_set, module
from .team import share

#: This many outputs lie together in memory. It is the same in kernels.h.
BLOCK = 16
#: The numbers of the activations, as in kernels.h.
NOTHING, LEAKY_RELU, GDN, INVERSE_GDN = range(4)
#: The kernels have LeakyReLU with this slope only.
SLOPE = 0.01

Packed = tuple[NDArray[Any], NDArray[np.float32]]


class NativeSwin:
    """A Swin layer for the extension.

    Args:
        layer: the trained layer.
        dtype: the type of its operands, float32 or bfloat16.
        back: whether `gradient` will be used.

    Raises ValueError if the extension has no kernel for this layer or type.
    """

    def __init__(self, layer: SwinLayer, dtype: torch.dtype, back: bool = False) -> None:
        self.module, name = _extension(dtype)
        self.shift = layer.shift
        c, heads = layer.proj.in_features, layer.heads
        hidden = layer.mlp1.out_features
        qkv, bias = _with_norm(layer.qkv, layer.norm1)
        # The kernels compute powers of 2, not of e.
        factor = torch.ones(3 * c, 1, dtype=torch.float64)
        factor[:c] = (c // heads) ** -0.5 * math.log2(math.e)
        layers = [
            (qkv * factor, bias * factor[:, 0]),
            (_double(layer.proj.weight), _double(layer.proj.bias)),
            _with_norm(layer.mlp1, layer.norm2),
            (_double(layer.mlp2.weight), _double(layer.mlp2.bias)),
        ]
        packed = tuple(_pack(*one, dtype) for one in layers)
        size = (c, heads, layer.window, hidden, layer.shift > 0)
        transposes = None
        if back:
            # The derivative of 2^x has the factor log 2, which the kernels leave out.
            factor[: 2 * c] *= math.log(2)
            weights = [qkv * factor, *(weight for weight, _ in layers[1:])]
            transposes = tuple(_transposed(weight, dtype) for weight in weights)
        self.layer = self.module.swin_layer(name, size, packed, _biases(layer), transposes)

    @classmethod
    def of(cls, layer: SwinLayer, dtype: torch.dtype) -> NativeSwin | None:
        """A `NativeSwin`, or None if the extension has no kernel for it."""
        try:
            return cls(layer, dtype)
        except ValueError:
            return None

    def run(self, source: Tensor, add: Tensor | None, to: Tensor, absent: int) -> None:
        """Sends rows of windows through the layer.

        Args:
            source: rows (R, W, C), float32. W is a multiple of the window.
            add: is added to the result, (R, W, C) float32, or None.
            to: the result goes here, (R, W, C) float32. It may be `source`.
            absent: how many rows of the first windows are missing: 0 or the shift.
        """
        rows, width, _ = source.shape
        arrays = (source.numpy(), None if add is None else add.numpy(), to.numpy())
        share(lambda taken: self.module.swin(self.layer, (rows, width, absent), *arrays, taken))

    def gradient(
        self, source: Tensor, above: Tensor, add: Tensor | None, to: Tensor, absent: int
    ) -> None:
        """The backward pass of the layer. All tensors are (R, W, C), float32.

        Args:
            source: the layer's input.
            above: the gradient of a loss with respect to the layer's output.
            add: is added to the gradient with respect to `source`, or None.
            to: the gradient with respect to `source` goes here. It may be `above`.
            absent: as for `run`.
        """
        rows, width, _ = source.shape
        size = (rows, width, absent)
        add_to = None if add is None else add.numpy()
        arrays = (source.numpy(), above.numpy(), add_to, to.numpy())
        share(lambda taken: self.module.swin_gradient(self.layer, size, *arrays, taken))


class Part(NamedTuple):
    """A part of a convolution: all its outputs, or the outputs of one parity.

    The taps in one row of the neighbourhood are one run of inputs.

    Args:
        weight: (outputs, runs, inputs of a run), float64.
        rows: the row of each run, counted from the first row of the neighbourhood.
        column: the column where the runs begin.
        row_out, column_out: the parity of the outputs' rows and columns, 0 or 1.
    """

    weight: Tensor
    rows: tuple[int, ...]
    column: int
    row_out: int = 0
    column_out: int = 0


class NativeConv:
    """A convolution and the activation after it, for the extension.

    Args:
        conv: the trained convolution.
        activation: a LeakyReLU, a GDN or None.
        dtype: the type of its operands, float32 or bfloat16.
        back: whether `activation_gradient` will be used.

    Raises ValueError if the extension has no kernel for these layers or this type.

    Attributes:
        down: the distance between the inputs of two neighbouring outputs of a part.
        border: how many columns of zeros the outermost outputs read.
        spare: 1 if one more number is read, see `borders`. Otherwise 0.
        out: the number of channels of the result.
        outputs: the number of channels that the kernel computes. It fills whole blocks.
        up: how many rows and columns of outputs the kernel computes for each position.
        shuffled: whether the kernel computes the 2×2 outputs of a position as channels of one
            output.
    """

    def __init__(
        self,
        conv: Conv,
        activation: nn.Module | None,
        dtype: torch.dtype,
        back: bool = False,
    ) -> None:
        self.module, name = _extension(dtype)
        self.name, self.dtype, inner = name, dtype, conv.conv
        channels, self.out = inner.in_channels, inner.out_channels
        transposed = isinstance(inner, nn.ConvTranspose2d)
        self.down = 1 if transposed else int(inner.stride[0])
        self.border = 1 if transposed else inner.kernel_size[0] // 2
        # Fewer than BLOCK outputs would not fill a block. Then the outputs of all parities are
        # computed together, from the neighbourhood that all of them need.
        self.shuffled = transposed and self.out < BLOCK
        self.up = 2 if transposed and not self.shuffled else 1
        weight, bias = _double(inner.weight), _double(inner.bias)
        if not transposed:
            parts = [_whole(weight)]
        elif self.shuffled:
            parts, bias = [_together(weight)], bias.repeat(4)
        else:
            parts = [_parity(weight, row, column) for row in (0, 1) for column in (0, 1)]
        per = 2 if dtype == torch.bfloat16 else 1
        self.spare = int(any(part.weight.shape[-1] % per for part in parts))
        self.outputs = -(-len(bias) // BLOCK) * BLOCK  # including zeros that fill the last block
        packed = []
        for part in parts:
            runs = _padded(part.weight, 2, per)
            layer = _pack(runs.flatten(1), bias, dtype)
            packed.append(
                (layer, part.rows, runs.shape[2], part.column, part.row_out, part.column_out)
            )
        kind, gdn = _activation(activation, dtype)
        size = (channels, self.outputs, self.down, self.up, kind)
        transposed_gdn = None
        if back and isinstance(activation, LinearGDN):
            transposed_gdn = _transposed(_double(activation.gamma_root) ** 2, dtype)
        self.layer = self.module.conv_layer(name, size, tuple(packed), gdn, transposed_gdn)

    @classmethod
    def of(cls, conv: Conv, activation: nn.Module | None, dtype: torch.dtype) -> NativeConv | None:
        """A `NativeConv`, or None if the extension has no kernel for it."""
        try:
            return cls(conv, activation, dtype)
        except ValueError:
            return None

    def borders(self, width: int) -> tuple[int, int]:
        """How many columns of zeros rows of this width need on the left and on the right.

        In bf16, if a run has an odd number of inputs, one more number after it is read, which has a
        weight of zero. Also, a row has an even number of columns.
        """
        wide = width + 2 * self.border + self.spare
        return self.border, self.border + self.spare + wide % 2

    def fill(self, to: Tensor, rows: Tensor) -> None:
        """Writes rows (r, W, C), of any float type, between the borders of `to` (r, …, C)."""
        count, width, channels = rows.shape
        size = (count, width * channels, to.shape[1] * channels, self.border * channels)
        arrays = (rows.float().contiguous().numpy(), self.array(to))
        share(lambda taken: self.module.round(self.name, size, *arrays, taken))

    def array(self, operands: Tensor) -> NDArray[Any]:
        """Operands as an array. NumPy has no bfloat16, but the extension only checks sizes."""
        return (operands.view(torch.int16) if self.dtype == torch.bfloat16 else operands).numpy()

    def activation_gradient(self, kept: Tensor, above: Tensor, to: Tensor) -> None:
        """The backward pass of the activation. GDN has none, only inverse GDN has one.

        Args:
            kept: the input of an inverse GDN, or the output of a LeakyReLU, (r, W, C), float32.
            above: the gradient with respect to the activation's output, (r, W, C), float32.
            to: rows (r, …, C) in `dtype`. The gradient with respect to the activation's input goes
                between their borders. The left border has one column.
        """
        count, width, channels = above.shape
        size = (count, width * channels, to.shape[1] * channels, channels)
        arrays = (kept.numpy(), above.numpy(), self.array(to))
        share(lambda taken: self.module.activation_gradient(self.layer, size, *arrays, taken))

    def run(self, near: Tensor, to: Tensor, kept: Tensor | None = None) -> Tensor:
        """Rows of outputs, (rows, columns, out).

        Args:
            near: the input rows that the outputs need, (R, W, C) in `dtype`, with borders. There
                may be more rows than needed.
            to: the outputs of the kernel go here, (up · r, up · w, `outputs`), float32. The result
                is a view of it, or a copy if `shuffled`.
            kept: the input of a GDN goes here, of the same shape as `to`. None drops it.
        """
        rows, width = to.shape[0] // self.up, to.shape[1] // self.up
        size = (*near.shape[:2], rows, width)
        arrays = (self.array(near), to.numpy())
        before = None if kept is None else kept.numpy()
        share(lambda taken: self.module.conv(self.layer, size, *arrays, taken, before))
        if not self.shuffled:
            return to[..., : self.out]
        return shuffled(to[..., : 4 * self.out])


def _extension(dtype: torch.dtype) -> tuple[Any, str]:
    """The extension, and the name of its kernels. Raises ValueError if there are none."""
    name = kernel_set(dtype == torch.bfloat16)
    if name is None:
        raise ValueError(f"no kernels for {dtype}")
    return module(), name


def _double(x: Tensor | None) -> Tensor:
    assert x is not None
    return x.detach().double().cpu()


def _with_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of `linear` after the affine part of `norm` is folded into them."""
    weight, bias = _double(linear.weight), _double(linear.bias)
    return weight * _double(norm.weight), bias + weight @ _double(norm.bias)


def _padded(x: Tensor, axis: int, multiple: int) -> Tensor:
    """Appends zeros to an axis until its size is a multiple of `multiple`."""
    shape = list(x.shape)
    shape[axis] = -shape[axis] % multiple
    return torch.cat([x, x.new_zeros(shape)], axis)


def _pack(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Packed:
    """Weight (outputs, inputs) and bias in the form of `linear_layer` in kernels.h."""
    per = 2 if dtype == torch.bfloat16 else 1
    weight = _padded(_padded(weight, 0, BLOCK), 1, per)
    pairs = weight.reshape(len(weight) // BLOCK, BLOCK, -1, per).transpose(1, 2)
    packed = pairs.to(dtype).contiguous()  # [blocks][steps][BLOCK][per]
    if dtype == torch.bfloat16:
        packed = packed.view(torch.int16)
    return packed.numpy(), _padded(bias, 0, BLOCK).float().numpy()


def _transposed(weight: Tensor, dtype: torch.dtype) -> Packed:
    """The packed transpose of a weight (outputs, inputs), with zero bias, for the backward pass."""
    return _pack(weight.t(), weight.new_zeros(weight.shape[1]), dtype)


def _biases(layer: SwinLayer) -> NDArray[np.float32]:
    """Position biases [patterns][heads][T][T, padded]. Masked pairs have -inf.

    The four windows of a map of 2 × 2 windows show all patterns: inside, in the last column, in
    the last row, in both.
    """
    bias = layer.position_bias().detach().cpu().double() * math.log2(math.e)
    tokens = bias.shape[1]
    bias = bias[None]
    if layer.shift:
        size = 2 * layer.window
        regions = shift_regions(size, size, layer.window)
        apart = regions[:, :, None] != regions[:, None, :]  # (4, T, T)
        bias = bias.masked_fill(apart[:, None], -math.inf)
    filled = torch.full((*bias.shape[:3], -(-tokens // BLOCK) * BLOCK), -math.inf)
    filled[..., :tokens] = bias
    return filled.numpy()


def _whole(weight: Tensor) -> Part:
    """The only part of a convolution that is not transposed, (outputs, inputs, k, k)."""
    runs = weight.permute(0, 2, 3, 1).flatten(2)  # (outputs, k, k · inputs)
    return Part(runs, tuple(range(runs.shape[1])), 0)


def _reach(kernel: int, parity: int) -> list[int]:
    """The offsets of the inputs that outputs of a parity need in a transposed convolution."""
    return [at for at in (-1, 0, 1) if 0 <= parity + kernel // 2 - 2 * at < kernel]


def _parity(weight: Tensor, row: int, column: int) -> Part:
    """The part for one parity of a transposed convolution (inputs, outputs, k, k)."""
    kernel = weight.shape[-1]
    down, across = _reach(kernel, row), _reach(kernel, column)
    taps_down = [row + kernel // 2 - 2 * at for at in down]
    taps_across = [column + kernel // 2 - 2 * at for at in across]
    taps = weight[:, :, taps_down][..., taps_across]  # (inputs, outputs, rows, columns)
    runs = taps.permute(1, 2, 3, 0).flatten(2)
    return Part(runs, tuple(at + 1 for at in down), across[0] + 1, row, column)


def _together(weight: Tensor) -> Part:
    """One part for all four parities of a transposed convolution (inputs, outputs, k, k).

    Its outputs are ordered as (row, column, output).
    """
    inputs, outputs, kernel, _ = weight.shape
    runs = weight.new_zeros(2, 2, outputs, 3, 3, inputs)
    for row in (0, 1):
        for column in (0, 1):
            for y in _reach(kernel, row):
                for x in _reach(kernel, column):
                    tap = (row + kernel // 2 - 2 * y, column + kernel // 2 - 2 * x)
                    runs[row, column, :, y + 1, x + 1] = weight[:, :, tap[0], tap[1]].t()
    return Part(runs.reshape(4 * outputs, 3, 3 * inputs), (0, 1, 2), 0)


def _activation(after: nn.Module | None, dtype: torch.dtype) -> tuple[int, Packed | None]:
    """The number of an activation, and the linear layer that it needs, or None."""
    if after is None:
        return NOTHING, None
    if isinstance(after, LinearGDN):
        weight, bias = _double(after.gamma_root) ** 2, _double(after.beta_root) ** 2 + 1e-6
        return INVERSE_GDN if after.inverse else GDN, _pack(weight, bias, dtype)
    if isinstance(after, nn.LeakyReLU) and after.negative_slope == SLOPE:
        return LEAKY_RELU, None
    raise ValueError(f"no kernel for {type(after).__name__}")
