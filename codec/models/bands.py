"""Layers that take a map in bands of rows, one after the other, and give bands of the result.

A row of the result needs a few rows of the map above and below it. Each layer keeps these rows, and
passes on the rows of the result that are ready. So a whole map is never in memory, but the result
is the same as for a whole map:

    bands of a map (r, W, C) ─► [rows kept; new rows] ─► layer ─► bands of the result (r', W', C')

A band is valid only until the next one is requested, because its memory is used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .conv import Conv
from .native.layers import NativeConv, NativeSwin
from .swin import STB, SwinLayer
from .torch_swin import TorchSwin

#: All rows of a map from the top on, in bands (r, W, C) of any number of rows.
Bands = Iterator[Tensor]
#: Height, width and channels of a map.
Size = tuple[int, int, int]


class Stage(Protocol):
    """A layer that works on bands."""

    def size(self, size: Size) -> Size:
        """The size of the result for a map of that size."""

    def run(self, source: Bands, size: Size) -> Bands:
        """Bands (r, W, C) of a map of that size to bands of the result."""


class RowBuffer:
    """A queue of rows of a map. New rows are added at the end, and old rows leave at the beginning.

    Args:
        width, channels: the width and the channels of the map.
        dtype, device: the dtype and the device of its numbers.
        left, right: how many columns of zeros are added on both sides of the map.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        dtype: torch.dtype,
        device: torch.device,
        left: int = 0,
        right: int = 0,
    ) -> None:
        self.left, self.right, self.count = left, right, 0
        self.held = torch.empty(0, left + width + right, channels, dtype=dtype, device=device)

    @property
    def rows(self) -> Tensor:
        """All rows that are held, (count, left + width + right, C)."""
        return self.held[: self.count]

    def drop(self, count: int) -> None:
        """Removes the first `count` rows. The others move to the beginning."""
        if count:
            put(self.held[: self.count - count], self.held[count : self.count])
            self.count -= count

    def add(self, count: int) -> Tensor:
        """Adds rows at the end and returns them. Only their zeros at the sides are filled in."""
        first, self.count = self.count, self.count + count
        if len(self.held) < self.count:
            kept = self.held[:first]
            self.held = self.held.new_empty(self.count, *self.held.shape[1:])
            self.held[:, : self.left] = 0
            self.held[:, self.held.shape[1] - self.right :] = 0
            put(self.held[:first], kept)
        return self.held[first : self.count]


def put(to: Tensor, rows: Tensor) -> None:
    """Copies rows to `to`. The two may overlap. On the CPU, NumPy copies.

    PyTorch's copies wake its threads. These then spin for milliseconds while they wait for more
    work, and take the processor from the threads of the extension.
    """
    if to.device.type != "cpu" or to.dtype != rows.dtype:
        to.copy_(rows.clone() if to.dtype == rows.dtype else rows)  # a clone, as they may overlap
    elif to.dtype == torch.bfloat16:  # NumPy has no bfloat16
        np.copyto(to.view(torch.int16).numpy(), rows.view(torch.int16).numpy())
    else:
        np.copyto(to.numpy(), rows.numpy())


class Pointwise:
    """A module whose output at a position depends on the input at that position only."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parameter = next(module.parameters(), None)

    def size(self, size: Size) -> Size:
        return size

    def run(self, source: Bands, size: Size) -> Bands:
        for rows in source:
            yield self.module(rows if self.parameter is None else rows.to(self.parameter.dtype))


class ConvStage:
    """A convolution and the activation after it.

    Args:
        conv: the convolution, already in `dtype`.
        activation: the activation, already in `dtype`, or None.
        dtype: the type of the operands.
        native: whether the extension runs it, if it has a kernel for it.
    """

    def __init__(
        self, conv: Conv, activation: nn.Module | None, dtype: torch.dtype, native: bool
    ) -> None:
        self.inner, self.activation, self.dtype = conv.conv, activation, dtype
        self.native = NativeConv.of(conv, activation, dtype) if native else None
        self.transposed = isinstance(self.inner, nn.ConvTranspose2d)
        #: How many input rows an output row needs above its own input row, and below it.
        self.reach = 1 if self.transposed else int(self.inner.kernel_size[0]) // 2
        #: The distance in input rows between the inputs of two neighbouring output rows. A
        #: transposed convolution makes two output rows of each input row.
        self.down = 1 if self.transposed else int(self.inner.stride[0])

    def size(self, size: Size) -> Size:
        height, width, _ = size
        if self.transposed:
            return 2 * height, 2 * width, self.inner.out_channels
        return -(-height // self.down), -(-width // self.down), self.inner.out_channels

    def run(self, source: Bands, size: Size) -> Bands:
        height, width, channels = size
        device = self.inner.weight.device
        left, right = self.native.borders(width) if self.native else (0, 0)
        near = RowBuffer(width, channels, self.dtype, device, left, right)
        results = None
        if self.native:
            up = self.native.up
            across = up * -(-width // self.down)
            results = RowBuffer(across, self.native.outputs, torch.float32, device)
        count = -(-height // self.down)  # how many output rows, or pairs of output rows
        end = (count - 1) * self.down + self.reach + 1  # the last input row that they need, plus 1
        near.add(self.reach).zero_()
        received = done = 0
        for rows in source:
            received += len(rows)
            added = near.add(len(rows))
            if self.native:
                self.native.fill(added, rows)
            else:
                put(added, rows)
            ready = (received - 1 - self.reach) // self.down + 1
            if received == height:
                near.add(max(0, end - height)).zero_()
                ready = count
            if ready <= done:
                continue
            if self.native and results:
                results.drop(results.count)
                yield self.native.run(near.rows, results.add(self.native.up * (ready - done)))
            else:
                yield self.convolve(near.rows, ready - done)
            near.drop((ready - done) * self.down)
            done = ready

    def convolve(self, near: Tensor, count: int) -> Tensor:
        """Computes `count` output rows, or pairs of them, with PyTorch.

        `near` has the input rows, (R, W, C). The columns beside them count as zeros.
        """
        x = near.permute(2, 0, 1)[None]
        if isinstance(self.inner, nn.ConvTranspose2d):
            y = self.inner(x)[:, :, 2 : 2 + 2 * count]  # the first row of `near` gave two rows
        else:
            x = x[:, :, : (count - 1) * self.down + 2 * self.reach + 1]
            weight, bias = self.inner.weight, self.inner.bias
            y = nn.functional.conv2d(x, weight, bias, self.inner.stride, (0, self.reach))
        y = y[0].permute(1, 2, 0)
        return y if self.activation is None else self.activation(y)


class STBStage:
    """A Swin Transformer Block. Its layers work in place on the rows that have come in.

        rows ─► x ─┬─► layer ─► layer ─► … ─► + ─► rows        each on the rows that are ready
                   └──────────────────────────┘

    A layer with shifted windows stays half a window behind the layer before it.

    Args:
        block: the block, already in `dtype`.
        dtype: the type of the operands.
        native: whether the extension runs it, if it has a kernel for it.
    """

    def __init__(self, block: STB, dtype: torch.dtype, native: bool) -> None:
        self.window = block.window
        layers = [layer for layer in block.layers if isinstance(layer, SwinLayer)]
        found = [NativeSwin.of(layer, dtype) for layer in layers] if native else []
        able = [layer for layer in found if layer is not None]
        by_extension = len(able) == len(layers)
        self.layers: list[NativeSwin | TorchSwin] = [*able]
        if not by_extension:
            self.layers = [TorchSwin(layer) for layer in layers]
        #: The extension keeps maps in float32. PyTorch keeps them in the type of the operands.
        self.dtype = torch.float32 if by_extension else dtype
        self.device = layers[0].bias_table.device

    def size(self, size: Size) -> Size:
        return size

    def run(self, source: Bands, size: Size) -> Bands:
        height, width, channels = size
        more_rows, more_columns = -height % self.window, -width % self.window
        inputs = RowBuffer(width + more_columns, channels, self.dtype, self.device)
        states = RowBuffer(width + more_columns, channels, self.dtype, self.device)
        received = 0  # how many rows have come in
        first = 0  # the number of the first row that is still held
        done = [0] * len(self.layers)  # how many rows each layer has finished
        for rows in source:
            ended = received + len(rows) == height
            new = len(rows) + (more_rows if ended else 0)
            added = inputs.add(new)
            states.add(new)
            x, y = inputs.rows, states.rows
            put(added[: len(rows), :width], rows)
            added[len(rows) :, :width] = rows[-1]
            added[:, width:] = added[:, width - 1 : width]
            received += new
            ready = received
            for number, layer in enumerate(self.layers):
                if not ended:
                    whole = (ready - layer.shift) // self.window * self.window + layer.shift
                    ready = max(done[number], whole)
                if ready == done[number]:
                    continue
                part = slice(done[number] - first, ready - first)
                layer.run(
                    y[part] if number else x[part],
                    x[part] if layer is self.layers[-1] else None,
                    y[part],
                    absent=layer.shift if done[number] == 0 else 0,
                )
                done[number] = ready
            if done[-1] > first:
                yield y[: min(done[-1], height) - first, :width]
                inputs.drop(done[-1] - first)
                states.drop(done[-1] - first)
                first = done[-1]
