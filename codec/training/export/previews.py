"""Fits the layers that decode pictures at a smaller size (`models.preview`), and makes their file.

          ┌► the first layers of g_s ─► 3×3 positions ─┐
images ► ŷ┤                                            ├─► least squares
          └► the whole g_s ─► picture, made smaller ───┘
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from ticodec.errors import TicodecError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.inference import Transform, fast_bf16
from ticodec.models.preview import DOUBLINGS, SIDE, PreviewLayers, doublings
from ticodec.weights.store import FORMAT

from .canonical import safetensors_bytes

#: This fraction of the power of every input is added to the power, so that inputs that hardly vary
#: get no large weights.
RIDGE = 1e-4
#: Each image is used in this many views: turned, mirrored, and with its colours exchanged.
VIEWS = 24
COLOURS = list(permutations(range(3)))


class LeastSquares:
    """Collects sums over positions and then solves for a layer.

    Args:
        inputs: number of inputs of the layer.
        outputs: number of outputs of the layer.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.gram = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64)
        self.cross = torch.zeros(inputs + 1, outputs, dtype=torch.float64)

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """Add inputs (n, inputs) and wanted outputs (n, outputs) of positions, float32."""
        given = pad(given, (0, 1), value=1.0)
        self.gram += (given.T @ given).double()
        self.cross += (given.T @ wanted).double()

    def solve(self) -> tuple[Tensor, Tensor]:
        """The weight (outputs, inputs) and bias (outputs,) of the layer, float64."""
        power = self.gram.diagonal()
        ridge = RIDGE * power.clamp(min=1e-6 * float(power.max()))
        ridge[-1] = 0
        found = torch.linalg.solve(self.gram + ridge.diag(), self.cross)
        return found[:-1].T, found[-1]


@torch.no_grad()
def fit(
    network: CodecNetwork, images: Iterable[Tensor], tick: Callable[[], None] = lambda: None
) -> PreviewLayers:
    """Fit the layers that decode a network's pictures at a smaller size.

    Args:
        network: a trained network on the CPU.
        images: groups of images (B, H, W, 3), float32 in [0, 1], where H and W are multiples of 64.
            Each group is coded at another quality.
        tick: called once for each group.
    """
    layers = PreviewLayers(network.g_s)
    convs = {scale: layers.of(scale).conv for scale in DOUBLINGS}
    sums = {
        scale: LeastSquares(9 * conv.in_channels, conv.out_channels)
        for scale, conv in convs.items()
    }
    synthesis, generator = Synthesis(network), torch.Generator().manual_seed(0)
    for number, group in enumerate(images):
        level = (network.config.levels - 1) * (number * 0.618 % 1)  # spread over all levels
        for x in group.split(1):
            maps, whole = synthesis(x, level)
            count = maps[8].shape[1:3].numel()
            for scale, one in maps.items():
                some = torch.randperm(one.shape[1:3].numel(), generator=generator)[:count]
                sums[scale].add(neighbourhoods(one, some), blocks(whole, scale)[some])
        tick()
    for scale, conv in convs.items():
        weight, bias = sums[scale].solve()
        conv.weight.copy_(weight.view_as(conv.weight))
        assert conv.bias is not None
        conv.bias.copy_(bias)
    return layers


class Synthesis:
    """Runs the transforms of a network and keeps the maps that the fitted layers read.

    Args:
        network: a trained network on the CPU. It is not changed.
    """

    def __init__(self, network: CodecNetwork) -> None:
        self.network, device = network, torch.device("cpu")
        dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
        g_a, modules = deepcopy(network.g_a), list(deepcopy(network.g_s))
        ups = doublings(network.g_s)
        ends = [*ups[1 : len(DOUBLINGS)], len(modules)]
        self.g_a = Transform(g_a, device, dtype)
        self.parts = [
            Transform(nn.Sequential(*modules[first:end]), device, dtype)
            for first, end in zip(ups, ends, strict=False)
        ]

    def __call__(self, x: Tensor, level: float) -> tuple[dict[int, Tensor], Tensor]:
        """Code an image (1, H, W, 3) in [0, 1] at a level.

        Latents are rounded without a prediction. The errors are as large as in a file.

        Returns:
            The map that the layer of each scale reads, by scale, and the decoded picture at full
            size, (1, H, W, 3), in [-½, ½].
        """
        up, down = self.network.scaling(torch.tensor([level]))
        y_hat = (self.g_a(x - 0.5) * up).round() * down
        picture, maps = self.network.synthesis_input(y_hat, torch.float32), {}
        for scale, part in zip(sorted(DOUBLINGS, reverse=True), self.parts, strict=True):
            maps[scale] = picture
            picture = part(picture)
        return maps, picture.clamp(-0.5, 0.5)


def neighbourhoods(x: Tensor, some: Tensor) -> Tensor:
    """The 3×3 neighbourhoods of positions of a map (1, H, W, C), as (n, 9C).

    Beyond the edges of the map there are zeros.

    Args:
        x: the map.
        some: the positions, (n,), counted row by row.
    """
    padded, width = pad(x[0], (0, 0, 1, 1, 1, 1)), x.shape[2]
    rows, columns = some // width, some % width
    near = [padded[rows + i, columns + j] for i in range(3) for j in range(3)]
    return torch.stack(near, 2).flatten(1)


def blocks(whole: Tensor, scale: int) -> Tensor:
    """A picture (1, H, W, 3) made smaller by `scale`, in the form of a layer's outputs.

    The shape is (H/2s · W/2s, 12), where s is `scale`.
    """
    x = avg_pool2d(whole.permute(0, 3, 1, 2), scale)[0]  # (3, H/s, W/s)
    _, h, w = x.shape
    x = x.view(3, h // SIDE, SIDE, w // SIDE, SIDE)
    return x.permute(1, 3, 2, 4, 0).flatten(0, 1).flatten(1)


def views(images: Tensor) -> Iterator[Tensor]:
    """Yields `VIEWS` views of a few images (n, H, H, 3) uint8, as `fit` needs them."""
    for number in range(VIEWS):
        yield view(images.float() / 255, number)


def view(x: Tensor, number: int) -> Tensor:
    """One view of images (n, H, H, 3): turned, mirrored, and with the colours in another order."""
    turned = x.rot90(number % 4, (1, 2))
    mirrored = turned.flip(2) if number // 4 % 2 else turned
    return mirrored[..., COLOURS[number % len(COLOURS)]].contiguous()


def preview_bytes(layers: PreviewLayers, fingerprint: str) -> bytes:
    """The bytes of a preview file, with the layers in fp16.

    Args:
        layers: the fitted layers.
        fingerprint: the fingerprint of the weights that the layers belong to, in hexadecimal.

    Raises:
        TicodecError: The layers are not finite.
    """
    half = {name: value.half() for name, value in layers.state_dict().items()}
    if not all(value.isfinite().all() for value in half.values()):
        raise TicodecError("cannot make a preview: its layers are not finite")
    fields = json.dumps({"fingerprint": fingerprint})
    return safetensors_bytes(half, {"format": str(FORMAT), "preview": fields})
