"""Padding images to the stride of z, on the right and at the bottom.

The decoder crops the padding, so what is in it only costs bits. A repeated edge is a texture of
stripes, and every latent of the padding would code it again. Here the stripes fade within half a
latent into a blur of the edge, which is easy to predict:

    image │ edge 7/8 + blur 1/8 │ 6/8, 2/8 │ … │ blur, up to the multiple
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

#: Rows or columns after which only the blur is left. A sudden end would be a new edge in the image.
FADE = 8
#: Standard deviation of the blur along the edge, in pixels.
SIGMA = 16.0


def pad_image(x: Tensor, stride: int) -> Tensor:
    """Images (B, H, W, C), padded on the right and at the bottom to multiples of `stride`.

    Args:
        x: float32, of any range and any size from 1×1. stride: in pixels.

    The bottom is padded first, then the right side of the result. All is float32, under autocast
    too.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = _pad_rows(x, -x.shape[1] % stride)
        return _pad_rows(x.transpose(1, 2), -x.shape[2] % stride).transpose(1, 2).contiguous()


def _pad_rows(x: Tensor, count: int) -> Tensor:
    """(B, H, W, C) with `count` more rows at the bottom."""
    if not count:
        return x
    edge = x[:, -1:]  # (B, 1, W, C)
    share = torch.arange(1, count + 1, device=x.device).div(FADE).clamp(max=1)
    return torch.cat([x, torch.lerp(edge, _blur(edge), share[:, None, None])], 1)


def _blur(edge: Tensor) -> Tensor:
    """A row (B, 1, W, C), blurred along W with its ends repeated; channels stay apart."""
    reach = int(3 * SIGMA)
    offsets = torch.arange(-reach, reach + 1, device=edge.device)
    kernel = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    kernel /= kernel.sum()
    b, _, w, c = edge.shape
    lines = edge.permute(0, 3, 1, 2).reshape(b * c, 1, w)
    blurred = conv1d(pad(lines, (reach, reach), "replicate"), kernel[None, None])
    return blurred.reshape(b, c, 1, w).permute(0, 2, 3, 1)
