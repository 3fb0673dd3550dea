"""The gradient of what a synthesis transform makes, with respect to the latents it is made of.

    y ─► g_s ─► x ─► output_gradient ─► ∂loss/∂x ─► back through g_s ─► ∂loss/∂y

On the CPU the C extension goes both ways, if it has kernels for the transform; elsewhere PyTorch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .native.gradient import NativeGradient

#: An output (1, H, W, 3), float32, to the gradient of a loss with respect to it, of the same shape.
OutputGradient = Callable[[Tensor], Tensor]


class SynthesisGradient:
    """Gradients with respect to the input of a transform, never to its weights.

    The extension holds memory from one call to the next, until `release`: for a TIC network with
    STBs at 1/2 about 8 N bytes for every pixel of the largest map so far, 1 GB a megapixel.

    Args:
        g_s: the trained transform; it is copied.
        device: where; dtype: of the operands, float32 or bfloat16.
    """

    def __init__(self, g_s: nn.Sequential, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        native = NativeGradient.of(g_s, dtype) if device.type == "cpu" else None
        self.way = native or TorchGradient(g_s, device, dtype)

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, y: Tensor, output_gradient: OutputGradient) -> Tensor:
        """The gradient with respect to y, (1, h, w, M), float32, on the device.

        Args:
            y: latents (1, h, w, M), float32, on any device.
            output_gradient: called once, with what g_s makes of y: (1, 16h, 16w, 3), float32, on
                the device. It returns the gradient of the loss with respect to that.
        """
        x, back = self.way.run(y[0].to(self.device))
        return back(output_gradient(x[None])[0].to(self.device)).float().clone()[None]

    def release(self) -> None:
        """Give back memory that is held for the next call."""
        if isinstance(self.way, NativeGradient):
            self.way.release()


class TorchGradient:
    """By PyTorch. Args: as of `SynthesisGradient`."""

    def __init__(self, g_s: nn.Sequential, device: torch.device, dtype: torch.dtype) -> None:
        with torch.inference_mode(False):
            self.modules = copy.deepcopy(g_s).to(device, dtype).eval().requires_grad_(False)
        self.dtype = dtype

    def run(self, y: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """(h, w, M) float32 to (H, W, 3), float32, and the way back, which is to be taken once."""
        with torch.enable_grad():
            leaf = y[None].to(self.dtype, copy=True).requires_grad_()
            x = self.modules(leaf)

        def back(above: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(x, leaf, above[None].to(x.dtype))
            return found[0]

        return x.detach()[0].float(), back
