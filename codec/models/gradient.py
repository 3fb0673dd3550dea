"""The gradient of a loss of a decoded picture with respect to the latents.

    y ─► g_s ─► x ─► output_gradient ─► ∂loss/∂x ─► back through g_s ─► ∂loss/∂y

On the CPU the C extension runs both passes, if it has kernels for the transform. Otherwise PyTorch
runs them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .native.gradient import NativeGradient

#: Takes an output (1, H, W, 3), float32. Returns the gradient of a loss with respect to it, of the
#: same shape.
OutputGradient = Callable[[Tensor], Tensor]


class SynthesisGradient:
    """Computes gradients with respect to the input of a transform, but not to its weights.

    The extension keeps memory from one call to the next, until `release`. For a TIC network with
    STBs at 1/2 that is about 8 N bytes for every pixel of the largest map so far, or 1 GB per
    megapixel.

    Args:
        g_s: the trained transform. It is copied.
        device: where to run.
        dtype: the type of the operands, float32 or bfloat16.
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
            output_gradient: is called once with g_s(y), (1, 16h, 16w, 3), float32, on the device.
                It returns the gradient of the loss with respect to g_s(y).
        """
        x, back = self.way.run(y[0].to(self.device))
        return back(output_gradient(x[None])[0].to(self.device)).float().clone()[None]

    def release(self) -> None:
        """Frees the memory that is kept for the next call."""
        if isinstance(self.way, NativeGradient):
            self.way.release()


class TorchGradient:
    """The two passes in PyTorch. The arguments are those of `SynthesisGradient`."""

    def __init__(self, g_s: nn.Sequential, device: torch.device, dtype: torch.dtype) -> None:
        with torch.inference_mode(False):
            self.modules = copy.deepcopy(g_s).to(device, dtype).eval().requires_grad_(False)
        self.dtype = dtype

    def run(self, y: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """(h, w, M) float32 to (H, W, 3) float32, and a function for the backward pass.

        The function can be called once.
        """
        with torch.enable_grad():
            leaf = y[None].to(self.dtype, copy=True).requires_grad_()
            x = self.modules(leaf)

        def back(above: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(x, leaf, above[None].to(x.dtype))
            return found[0]

        return x.detach()[0].float(), back
