"""The gradient of what a synthesis transform makes, with respect to the latents it is made of.

y ─► g_s ─► x ─► output_gradient ─► ∂loss/∂x ─► back through g_s ─► ∂loss/∂y
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

#: An output (1, H, W, 3), float32, to the gradient of a loss with respect to it, of the same shape.
OutputGradient = Callable[[Tensor], Tensor]


class SynthesisGradient:
    """Gradients with respect to the input of a transform, never to its weights.

    Args:
        g_s: the trained transform, in float32; it is copied.
        device: where; dtype: of the operands, float32 or bfloat16.
    """

    def __init__(self, g_s: nn.Sequential, device: torch.device, dtype: torch.dtype) -> None:
        with torch.inference_mode(False):
            modules = copy.deepcopy(g_s).to(device, dtype).eval().requires_grad_(False)
        self.modules, self.device, self.dtype = modules, device, dtype

    @torch.inference_mode(False)
    def __call__(self, y: Tensor, output_gradient: OutputGradient) -> Tensor:
        """The gradient with respect to y, (1, h, w, M), float32, on the device.

        Args:
            y: latents (1, h, w, M), float32, on any device.
            output_gradient: called once, with what g_s makes of y: (1, 16h, 16w, 3), float32, on
                the device. It returns the gradient of the loss with respect to that.
        """
        with torch.enable_grad():
            leaf = y.to(self.device, self.dtype, copy=True).detach().requires_grad_()
            x = self.modules(leaf)
        above = output_gradient(x.detach().float()).to(x.dtype)
        (found,) = torch.autograd.grad(x, leaf, above)
        return found.float()
