"""How much a small error of a latent changes the picture.

An error e of one latent ŷ changes each value of x̂ by e·∂x̂/∂ŷ. The squares of these changes sum up
to e²·S, where S = Σ (∂x̂/∂ŷ)². So S tells what errors cost without running g_s in every step. It is
measured once, since g_s is frozen: by random numbers v, one for each value of x̂, of variance 1.

    ŷ ─► g_s ─► x̂ ─► Σ x̂·v ─► its gradient g at ŷ:  the mean of g² over all v is S
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticodec.models.codec_network import CodecNetwork

#: Images that are averaged over at a time.
GROUP = 4


def sensitivity(network: CodecNetwork, images: Tensor, generator: torch.Generator) -> Tensor:
    """S of each channel of ŷ, divided by the gain as g_s reads it; (M,), float32, pixels in [0, 1].

    It is the mean over positions, over images, and over the lowest, the middle and the highest
    level. Errors of several latents are taken to add up by their squares.

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
