"""What a classifier reads while it is trained: latents of frozen weights, or patches of pixels.

The latents of a file come from integer code, which runs the context model many times for each
image. The float code here computes a whole batch in one pass. Its latents are nearly the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticodec import weights
from ticodec.classifier import patches
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import STRIDE_Y
from ticodec.models.families import build, config_from
from ticodec.models.icat import Normalize
from ticodec.models.image_padding import pad_image

#: Images that a CPU encodes at a time. The feature maps of more images do not fit into its caches:
#: `tic-lite` encodes groups of 16 at two thirds of the speed.
GROUP = 4


@torch.no_grad()
def latents(network: CodecNetwork, x: Tensor, level: Tensor) -> Tensor:
    """ŷ of images (B, H, W, 3) in [0, 1] at levels (B,), divided by the gain: (B, h, w, M).

    It differs from the ŷ of a file in two ways. This is float code, and the context model of TIC
    sees round(y) instead of ŷ, so that one pass is enough. H and W must be multiples of 16.
    """
    if x.device.type == "cpu" and len(x) > GROUP:
        groups = zip(x.split(GROUP), level.split(GROUP), strict=True)
        return torch.cat([latents(network, *group) for group in groups])
    h, w = x.shape[1] // STRIDE_Y, x.shape[2] // STRIDE_Y
    up, down = network.scaling(level)
    y = network.g_a(pad_image(x - 0.5, network.config.stride_z)).float() * up
    z = network.h_a(y).float().round()
    _, means = network.prediction(z, y.round())
    y_hat = (y - means).round() + means
    return (y_hat * down)[:, :h, :w].float()


@torch.no_grad()
def unquantised(network: CodecNetwork, x: Tensor) -> Tensor:
    """y of images (B, H, W, 3) in [0, 1], not quantised: (B, h, w, M).

    It is what a joint model's classifier reads in step 1.
    """
    h, w = x.shape[1] // STRIDE_Y, x.shape[2] // STRIDE_Y
    return network.g_a(pad_image(x - 0.5, network.config.stride_z))[:, :h, :w].float()


def of_pixels(x: Tensor) -> Tensor:
    """Patches (B, h, w, 768) of images (B, H, W, 3) in [0, 1], normalised as for ImageNet."""
    return patches(Normalize(inverse=False).to(x.device)(x - 0.5))


def frozen_network(
    entry: weights.Entry, device: torch.device
) -> tuple[CodecNetwork, tuple[float, float]]:
    """The float network of installed weights, frozen, and its lowest and highest quality."""
    fields, tensors = weights.read(entry)
    network = build(config_from(fields))
    network.load_state_dict(weights.floats(tensors))
    frozen = network.to(device).eval().requires_grad_(False)
    return frozen, entry.qualities or (1.0, 1.0)
