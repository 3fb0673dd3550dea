"""Padding images to the stride of z, on the right and at the bottom.

The decoder crops the padding, so its content only costs bits. A repeated edge is a texture of
stripes, and every latent of the padding would code these stripes again. Here the stripes fade
within half a latent into a blurred edge, which is easy to predict:

    image │ edge 7/8 + blur 1/8 │ 6/8, 2/8 │ … │ blur, up to the multiple
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d, pad

#: After this many rows or columns only the blur is left. If the stripes ended at once, there would
#: be a new edge in the image.
FADE = 8
#: Standard deviation of the blur along the edge, in pixels.
SIGMA = 16.0


def pad_image(x: Tensor, stride: int) -> Tensor:
    """Images (B, H, W, C), padded on the right and at the bottom to multiples of `stride`.

    The bottom is padded first, then the right side of the result. Everything is computed in
    float32, also under autocast.

    Args:
        x: float32, of any range and any size from 1×1.
        stride: the stride of z, in pixels.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = torch.cat([x, _more_rows(x[:, -1:], -x.shape[1] % stride)], 1)
        edge = x[:, :, -1:].transpose(1, 2)
        more = _more_rows(edge, -x.shape[2] % stride).transpose(1, 2)
        return torch.cat([x, more], 2)


class PaddedPixels:
    """The pixels of one image, padded as `pad_image` does, in bands of rows.

    Args:
        pixels: (H, W, 3) uint8.
        stride: the stride of z, in pixels.

    Attributes:
        size: the size after padding, (height, width, 3).
    """

    def __init__(self, pixels: NDArray[np.uint8], stride: int) -> None:
        self.pixels = pixels
        height, width, _ = pixels.shape
        self.bottom = _more_rows(_floats(pixels[-1:])[None], -height % stride)[0]
        edge = torch.cat([_floats(pixels[:, -1:]), self.bottom[:, -1:]])  # (height, 1, 3)
        right = _more_rows(edge.transpose(0, 1)[None], -width % stride)[0]
        self.right = right.transpose(0, 1)
        self.size = (len(edge), width + self.right.shape[1], 3)

    def rows(self, first: int, last: int) -> Tensor:
        """Rows first … last - 1, (last - first, width, 3), float32 in [-½, ½]."""
        inside = len(self.pixels)
        parts = [
            _floats(self.pixels[first:last]),
            self.bottom[max(0, first - inside) : max(0, last - inside)],
        ]
        return torch.cat([torch.cat(parts), self.right[first:last]], 1)


def _floats(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 to float32 in [-½, ½]. It copies, because PyTorch warns about read-only arrays."""
    return torch.from_numpy(np.array(pixels)).float() / 255 - 0.5


def _more_rows(edge: Tensor, count: int) -> Tensor:
    """The `count` rows that follow an edge (B, 1, W, C): (B, count, W, C)."""
    share = torch.arange(1, count + 1, device=edge.device).div(FADE).clamp(max=1)
    return torch.lerp(edge, _blur(edge), share[:, None, None])


def _blur(edge: Tensor) -> Tensor:
    """A row (B, 1, W, C), blurred along W. Its ends are repeated. Channels are not mixed."""
    reach = int(3 * SIGMA)
    offsets = torch.arange(-reach, reach + 1, device=edge.device)
    kernel = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    kernel /= kernel.sum()
    b, _, w, c = edge.shape
    lines = edge.permute(0, 3, 1, 2).reshape(b * c, 1, w)
    blurred = conv1d(pad(lines, (reach, reach), "replicate"), kernel[None, None])
    return blurred.reshape(b, c, 1, w).permute(0, 2, 3, 1)
