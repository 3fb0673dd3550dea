"""Measures how much a small error of a latent changes the picture.

An error e of one latent ŷ changes each value of x̂ by e·∂x̂/∂ŷ. The sum of the squares of these
changes is e²·S, where S = Σ (∂x̂/∂ŷ)². With S, training knows what an error costs without running
g_s in every step. S is measured only once, because g_s is frozen. The measurement uses random
numbers v of variance 1, one for each value of x̂.

    ŷ ─► g_s ─► x̂ ─► Σ x̂·v ─► its gradient g at ŷ:  the mean of g² over all v is S
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticodec.models.codec_network import CodecNetwork

#: How many images are processed at a time.
GROUP = 4


def sensitivity(network: CodecNetwork, images: Tensor, generator: torch.Generator) -> Tensor:
    """S of each channel of ŷ, (M,), float32, for pixels in [0, 1].

    ŷ is divided by the gain here, as in the input of g_s. S is the mean over positions, over
    images, and over the lowest, the middle and the highest level. The squared changes of several
    latents are assumed to add up.

    Args:
        network: on the device of the images. Its parameters must not require gradients.
        images: (n, H, W, 3) in [0, 1], with sides that are multiples of the network's stride.
        generator: a CPU generator, which draws v.
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
