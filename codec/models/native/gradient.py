"""Forward and backward pass of a synthesis transform, by the extension.

    x ─► Stage ─► Stage ─► … ─► output
    ∂x ◄─ back ◄─ back ◄─ … ◄─ ∂output

Maps are whole. There are no bands. A stage returns its output for a map, and a function for the
backward pass. This function holds the inputs of the stage's layers. The intermediate results of a
layer are computed again in the backward pass, in the cache.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ticodec.models.bands import put
from ticodec.models.conv import Conv, LinearGDN
from ticodec.models.swin import STB, SwinLayer

from .layers import BLOCK, NativeConv, NativeSwin

#: Takes the gradient with respect to the output of a stage, and returns the gradient with respect
#: to its input.
Back = Callable[[Tensor], Tensor]
#: The addresses of maps are multiples of this many bytes.
ALIGNED = 64


class Maps:
    """Memory for maps. Several threads may take maps.

    The memory of a map is used again when no tensor refers to the map any more. New memory would
    be slow: the system needs more time to provide it than a layer needs to fill it.
    """

    def __init__(self) -> None:
        self.free: list[NDArray[np.uint8]] = []
        self.lock = Lock()

    def take(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns a map with arbitrary content."""
        count = math.prod(shape) * dtype.itemsize
        # A finalizer appends a block without this lock. That does not change the other numbers.
        with self.lock:
            fitting = [number for number, block in enumerate(self.free) if len(block) >= count]
            best = min(fitting, key=lambda number: len(self.free[number]), default=None)
            block = None if best is None else self.free.pop(best)
        if block is None:
            whole = np.empty(count + ALIGNED, np.uint8)
            block = whole[-whole.ctypes.data % ALIGNED :][:count]
        held = block[:count]  # the tensor and its views refer to this array
        weakref.finalize(held, self.free.append, block).atexit = False
        return torch.from_numpy(held).view(dtype).view(shape)

    def bordered(self, conv: NativeConv, reach: int, size: torch.Size) -> tuple[Tensor, Tensor]:
        """A map for the operands of a convolution, with zeros around them.

        Args:
            conv: the convolution.
            reach: how many rows of zeros are above and below.
            size: (H, W, C) of the operands.

        Returns: the map, and its rows without those above and below.
        """
        height, width, channels = size
        left, right = conv.borders(width)
        near = self.take(height + 2 * reach, left + width + right, channels, dtype=conv.dtype)
        for border in (near[:reach], near[-reach:], near[:, :left], near[:, -right:]):
            border.zero_()
        return near, near[reach:-reach]


class Stage(Protocol):
    """A part of a transform."""

    def run(self, x: Tensor, maps: Maps) -> tuple[Tensor, Back]:
        """A map (H, W, C), float32, to the result, (H', W', C') float32, and its backward pass."""


class ConvStage:
    """A transposed convolution and the activation after it.

    Args:
        conv: the trained convolution.
        activation: an inverse GDN, a LeakyReLU or None.
        there: the type of the operands in the forward pass.
        back: the type of the operands in the backward pass.

    Raises ValueError if the extension has no kernels for it.
    """

    def __init__(
        self, conv: Conv, activation: nn.Module | None, there: torch.dtype, back: torch.dtype
    ) -> None:
        inner = conv.conv
        channels, out, kernel = inner.in_channels, inner.out_channels, inner.kernel_size[0]
        if not isinstance(inner, nn.ConvTranspose2d):
            raise ValueError("no backward pass for such a convolution")
        if activation is not None and (out % BLOCK or there != back):
            raise ValueError("no backward pass for an activation of such a map")
        if isinstance(activation, LinearGDN) and not activation.inverse:
            raise ValueError("no backward pass for such an activation")
        # The backward pass of a transposed convolution is a convolution with the same weights.
        mirror = Conv(out, channels, int(kernel), 2)
        mirror.conv.weight = inner.weight
        nn.init.zeros_(mirror.conv.bias)  # type: ignore[arg-type]
        self.activation, self.normalises = activation, isinstance(activation, LinearGDN)
        self.conv = NativeConv(conv, activation, there, back=True)
        self.mirror = NativeConv(mirror, None, back)
        self.reach = int(kernel) // 2

    def run(self, x: Tensor, maps: Maps) -> tuple[Tensor, Back]:
        conv, (height, width, _) = self.conv, x.shape
        near, inside = maps.bordered(conv, 1, x.shape)
        conv.fill(inside, x)
        size = (conv.up * height, conv.up * width, conv.outputs)
        kept = maps.take(*size) if self.normalises else None
        result = conv.run(near, maps.take(*size), kept)
        if self.activation is not None and kept is None:
            kept = result

        def back(above: Tensor) -> Tensor:
            mirror = self.mirror
            near, inside = maps.bordered(mirror, self.reach, above.shape)
            if kept is None:
                mirror.fill(inside, above)
            else:
                conv.activation_gradient(kept, above.contiguous(), inside)
            return mirror.run(near, maps.take(height, width, mirror.outputs))

        return result, back


class STBStage:
    """A Swin Transformer Block.

    Raises ValueError if the extension has no kernels for it.
    """

    def __init__(self, block: STB, dtype: torch.dtype) -> None:
        self.window = block.window
        self.layers = [
            NativeSwin(layer, dtype, back=True)
            for layer in block.layers
            if isinstance(layer, SwinLayer)
        ]

    def run(self, x: Tensor, maps: Maps) -> tuple[Tensor, Back]:
        size, last = x.shape, self.layers[-1]
        x = self.whole(x, maps)
        repeat_edge(x, size)
        taken = [x]  # the input of each layer
        for layer in self.layers:
            made = maps.take(*x.shape)
            layer.run(taken[-1], x if layer is last else None, made, layer.shift)
            taken.append(made)
        result = taken.pop()

        def back(above: Tensor) -> Tensor:
            above = self.whole(above, maps)
            above[size[0] :], above[:, size[1] :] = 0, 0
            found = maps.take(*above.shape)
            of = above
            for number in reversed(range(len(self.layers))):
                layer, add = self.layers[number], None if number else above
                layer.gradient(taken.pop(), of, add, found, layer.shift)
                of = found
            return gathered_at_edge(found, size)

        return result[: size[0], : size[1]], back

    def whole(self, x: Tensor, maps: Maps) -> Tensor:
        """A map of whole windows: x itself, or a copy of x with more rows and columns."""
        height, width, channels = x.shape
        more_rows, more_columns = -height % self.window, -width % self.window
        if not more_rows and not more_columns:
            return x.contiguous()
        wide = maps.take(height + more_rows, width + more_columns, channels)
        put(wide[:height, :width], x)
        return wide


def repeat_edge(x: Tensor, size: torch.Size) -> None:
    """Fills the rows and columns of x beyond `size` by repeating the last row and column inside."""
    height, width, _ = size
    x[height:, :width] = x[height - 1, :width]
    x[:, width:] = x[:, width - 1 : width]


def gathered_at_edge(above: Tensor, size: torch.Size) -> Tensor:
    """The backward pass of `repeat_edge`, from the gradient `above` of x. It changes `above`."""
    height, width, _ = size
    above[:, width - 1] += above[:, width:].sum(1)
    above[height - 1, :width] += above[height:, :width].sum(0)
    return above[:height, :width]


class NativeGradient:
    """Both passes of a transform of transposed convolutions, their activations and STBs.

    Args:
        modules: the trained transform, in float32.
        dtype: the type of the operands, float32 or bfloat16. In the forward pass the last
            convolution always uses float32, as in `ticodec.models.inference`.

    Raises ValueError if the extension has no kernels for it, or is missing.
    """

    def __init__(self, modules: nn.Sequential, dtype: torch.dtype) -> None:
        self.stages: list[Stage] = []
        after: nn.Module | None = None
        for module in reversed(modules):
            if isinstance(module, Conv):
                there = dtype if self.stages else torch.float32
                self.stages.append(ConvStage(module, after, there, dtype))
                after = None
            elif after is not None:
                raise ValueError("no kernel for two activations")
            elif isinstance(module, STB):
                self.stages.append(STBStage(module, dtype))
            else:
                after = module
        if after is not None:
            raise ValueError("no kernel for an activation alone")
        self.stages.reverse()
        self.maps, self.most = Maps(), 0

    @classmethod
    def of(cls, modules: nn.Sequential, dtype: torch.dtype) -> NativeGradient | None:
        """A `NativeGradient`, or None if the extension has no kernels for it, or is missing."""
        try:
            return cls(modules, dtype)
        except ValueError:
            return None

    def run(self, y: Tensor) -> tuple[Tensor, Back]:
        """(h, w, M) float32 to (H, W, 3) float32, and a function for the backward pass.

        The function can be called once.
        """
        if y.numel() > self.most:  # the memory of smaller maps would be too small
            self.release()
        self.most = max(self.most, y.numel())
        maps, x, backs = self.maps, y, []
        for stage in self.stages:
            x, back = stage.run(x, maps)
            backs.append(back)

        def back_through_all(above: Tensor) -> Tensor:
            while backs:
                above = backs.pop()(above)
            return above

        return x, back_through_all

    def release(self) -> None:
        """Frees the memory of maps that are not in use."""
        self.maps, self.most = Maps(), 0
