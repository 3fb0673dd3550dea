"""Smaller pictures from latents: the first layers of g_s, then one convolution that gives pixels.

    ŷ ─┬─► up conv, STB ─┬─► up conv, STB ─┬─► up conv, … the rest of g_s
       └─► conv3: 1/8    └─► conv3: 1/4    └─► conv3: 1/2

Each convolution gives 2×2 pixels for a position. The convolutions are fitted by least squares to
the output of the whole g_s, averaged over every 2×2, 4×4 or 8×8 pixels. They are in a separate file
beside the weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ticodec import weights
from ticodec.errors import BadInputError

from .bands import Size
from .conv import Conv, shuffled
from .inference import ReadRows, Transform

#: Maps a scale to the number of doublings of g_s that are run for it. Scale n means that the
#: preview is n times narrower and lower than the picture.
DOUBLINGS = {2: 2, 4: 1, 8: 0}
#: The number of rows and columns of pixels that a position gives.
SIDE = 2


def doublings(g_s: nn.Sequential) -> list[int]:
    """The numbers of the modules of g_s that double the map."""
    return [
        number
        for number, module in enumerate(g_s)
        if isinstance(module, Conv) and isinstance(module.conv, nn.ConvTranspose2d)
    ]


class PreviewLayers(nn.Module):
    """The convolutions for all scales of a g_s: "layers.2", "layers.4" and "layers.8"."""

    def __init__(self, g_s: nn.Sequential) -> None:
        super().__init__()
        ups = doublings(g_s)
        self.layers = nn.ModuleDict()
        for scale, count in DOUBLINGS.items():
            up = g_s[ups[count]]
            assert isinstance(up, Conv)
            self.layers[str(scale)] = Conv(up.conv.in_channels, SIDE * SIDE * 3, 3, 1)

    def of(self, scale: int) -> Conv:
        """The convolution of a scale."""
        layer = self.layers[str(scale)]
        assert isinstance(layer, Conv)
        return layer


def load_layers(entry: weights.Entry, g_s: nn.Sequential) -> PreviewLayers:
    """The preview layers that come with some weights, float32, on the CPU.

    Args:
        entry: the weights, which have a preview.
        g_s: the synthesis transform of these weights.

    Raises BadInputError if the file is missing, damaged, or made for other weights.
    """
    fields, tensors = weights.read_preview(entry)
    where = entry.preview.path if entry.preview else ""
    if fields.get("fingerprint") != entry.fingerprint.hex():
        raise BadInputError(
            f"{where}: this preview belongs to weights {fields.get('fingerprint')}, not to "
            f"{entry.name} ({entry.fingerprint.hex()})"
        )
    with torch.device("meta"):  # so that no time is lost on random weights
        layers = PreviewLayers(g_s)
    try:
        layers.load_state_dict({name: x.float() for name, x in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise BadInputError(f"{where}: not a preview of these weights: {error}") from error
    return layers.requires_grad_(False)


class Preview:
    """Gives a smaller picture in place of g_s. It is ready to run.

    Args:
        g_s: the network's g_s, already converted by its own `Transform`.
        layers: the layers that were fitted to it.
        scale: 2, 4 or 8.
        device, dtype: as for `Transform`.
    """

    def __init__(
        self,
        g_s: nn.Sequential,
        layers: PreviewLayers,
        scale: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        first = list(g_s)[: doublings(g_s)[DOUBLINGS[scale]]]
        modules = nn.Sequential(*first, layers.of(scale))
        self.transform = Transform(modules, device, dtype)

    def run(self, source: ReadRows, size: Size, take: Callable[[int, Tensor], None]) -> None:
        """Like `Transform.run`. The output is the smaller picture minus ½, not clamped."""

        def take_pixels(top: int, rows: Tensor) -> None:
            take(SIDE * top, shuffled(rows))

        self.transform.run(source, size, take_pixels)


def load_preview(
    entry: weights.Entry, g_s: nn.Sequential, scale: int, device: torch.device, dtype: torch.dtype
) -> Preview:
    """The preview of some weights. See `load_layers` and `Preview` for arguments and errors."""
    return Preview(g_s, load_layers(entry, g_s), scale, device, dtype)
