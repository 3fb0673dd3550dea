"""How much a small error of each latent changes the picture.

    ŷ ─► g_s ─► x̂ ─► Σ x̂·v ─► gradient g at ŷ,  v random of variance 1:  E[g²] = Σ (∂x̂/∂ŷ)²

With g_s frozen this tells what an error of ŷ costs in pixels, without running g_s in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticodec.models.codec_network import CodecNetwork

#: Images that are averaged over at a time.
GROUP = 4


def sensitivity(network: CodecNetwork, images: Tensor, generator: torch.Generator) -> Tensor:
    """The summed squared change of all pixel values for an error of 1 in a latent, (M,).

    The mean over positions, over the lowest, the middle and the highest level, and over images.

    Args:
        network: on the device of the images; its parameters take no gradient.
        images: (n, H, W, 3) in [0, 1], sides multiples of its stride.
        generator: a CPU generator for the random directions.
    """
    top = network.config.levels - 1.0
    total, count = torch.zeros(network.config.M, device=images.device), 0
    for x in images.split(GROUP):
        with torch.no_grad():
            y = network.g_a(x - 0.5).float()
        for level in sorted({0.0, top / 2, top}):
            up, down = network.scaling(torch.full((len(x),), level, device=x.device))
            y_hat = ((y * up).round() * down).detach().requires_grad_(True)
            x_hat = network.g_s(y_hat)
            direction = torch.randn(x_hat.shape, generator=generator).to(x_hat)
            (gradient,) = torch.autograd.grad((x_hat * direction).sum(), y_hat)
            total += gradient.float().pow(2).sum((0, 1, 2))
            count += gradient[..., 0].numel()
    return total / count
