"""The joint model of compression and analysis: Bai et al., figures 2 and 3.

    x ─► g_a ─► ·gain(q) ─► y ─► h_a ─► z ─► prior, h_s ─► scales, means ─► bits
                            └─► ŷ ─► ÷gain(q) ─► Linear ─► ẑ₀ ─► blocks 1 2 3 ─► 4 … L ─► labels
                                                           │            │ │ │
                                                           └─► aggregation ─► g_s ─► x̂

There is no context model: one pass of h_s predicts every latent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .codec_network import CodecNetwork, Gains, straight_through_round
from .config import IcatConfig
from .conv import Conv
from .prior import FactorizedPrior
from .vit import ViT

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Turns an image minus ½, which is what every g_a takes, into one normalised as for ImageNet.

    `inverse` turns a normalised image into an image minus ½.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inverse: bool) -> None:
        super().__init__()
        self.inverse = inverse
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN) - 0.5, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 3) to the same shape, float32."""
        mean, std = self.mean.float(), self.std.float()
        return x.float() * std + mean if self.inverse else (x.float() - mean) / std


def with_activations(*convs: Conv) -> list[nn.Module]:
    """The convolutions, and a LeakyReLU after each but the last.

    The paper says that GDN does not converge together with a ViT.
    """
    modules: list[nn.Module] = []
    for conv in convs:
        modules += [conv, nn.LeakyReLU(0.01)]
    return modules[:-1]


class Aggregation(nn.Module):
    """Fuses ẑ₀ with the outputs of the first blocks: equation 9."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Linear(dim, dim // (count + 1)) for _ in range(count + 1))
        self.fuse = nn.Linear(dim // (count + 1) * (count + 1), dim)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """ẑ₀, z̃₁, z̃₂, z̃₃, each (B, h, w, C), to one map (B, h, w, C)."""
        reduced = [conv(x) for conv, x in zip(self.reduce, maps, strict=True)]
        return self.fuse(torch.cat(reduced, -1))


class JointOutput(NamedTuple):
    """The result of a training pass.

    Args:
        logits: (B, classes).
        x_hat: the reconstruction, (B, H, W, 3), in about [0, 1].
        bits_y, bits_z: the bits of y and of z with noise, (B,). Zero without quantisation.
        rounded: the bits of the rounded y and z together, (B,). Zero without quantisation.
    """

    logits: Tensor
    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor
    rounded: Tensor


class Icat(CodecNetwork):
    """Encoder, hyperprior, classifier and reconstructor: the network that is trained."""

    config: IcatConfig
    vit: ViT

    def __init__(self, config: IcatConfig) -> None:
        super().__init__()
        c = self.config = config
        N, M, C = c.N, c.M, c.vit.C
        down = [Conv(3, N, 5, 2), Conv(N, N, 5, 2), Conv(N, N, 5, 2), Conv(N, M, 5, 2)]
        self.g_a = nn.Sequential(Normalize(inverse=False), *with_activations(*down))
        self.h_a = nn.Sequential(
            *with_activations(Conv(M, N, 3, 1), Conv(N, N, 5, 2), Conv(N, N, 5, 1))
        )
        up = Conv(M, 3 * M // 2, 5, 2, up=True)
        self.h_s = nn.Sequential(
            *with_activations(Conv(N, M, 5, 1), up, Conv(3 * M // 2, 2 * M, 3, 1))
        )
        self.prior = FactorizedPrior(N)
        self.gains = Gains(c.lambdas, M) if c.levels > 1 else None
        self.vit = ViT(M, c.vit, len(c.labels), c.halving)
        self.aggregation = Aggregation(C, c.shared_blocks) if c.aggregation else None
        ups = [Conv(a, b, 5, 2, up=True) for a, b in ((C, N), (N, N), (N, N), (N, 3))]
        self.g_s = nn.Sequential(*with_activations(*ups), Normalize(inverse=True))
        with torch.no_grad():  # scales start at 1, because below the bound they would hardly learn
            self.h_s[-1].conv.bias[:M] += 1.0  # type: ignore[union-attr,operator,index]

    def predicted(self, hyper: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and means from ẑ alone, because there is no context model. See `CodecNetwork`."""
        scales, means = hyper.float().chunk(2, -1)
        return scales, means

    def synthesis_input(self, y_hat: Tensor, dtype: torch.dtype) -> Tensor:
        """`fused`, computed in `dtype`."""
        return self.fused(y_hat.to(dtype)).float()

    def move_rest(self, device: torch.device, dtype: torch.dtype) -> None:
        """Moves the Transformer and the aggregation, which decoding runs before g_s."""
        self.vit.move(device, dtype)
        if self.aggregation is not None:
            self.aggregation.to(device, dtype)

    def fused(self, y_hat: Tensor) -> Tensor:
        """Latents (B, h, w, M), divided by the gain, to the input of g_s, (B, h, w, C).

        It runs only the first three blocks. The map may have any size.
        """
        z0 = self.vit.embed(y_hat)
        if self.aggregation is None:
            return z0
        return self.aggregation([z0, *self.vit.features(z0, self.config.shared_blocks)])

    def both(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and the fused map, for training. The shared blocks run only once."""
        z0, shared = self.vit.embed(y_hat), self.config.shared_blocks
        outputs = self.vit.run(self.vit.sequence(z0), self.vit.blocks[:shared])
        logits = self.vit.classify(outputs[-1], self.vit.blocks[shared:])
        if self.aggregation is None:
            return logits, z0
        maps = [x[:, 1:].unflatten(1, z0.shape[1:3]) for x in outputs]
        return logits, self.aggregation([z0, *maps])

    def forward(self, x: Tensor, level: Tensor, quantised: bool = True) -> JointOutput:
        """Training pass.

        Args:
            x: images (B, H, W, 3), float32 in [0, 1]. H and W are multiples of 32.
            level: the quality level of each image, (B,), float in [0, levels - 1].
            quantised: True for step 2 of the paper's training. False for step 1, which has no
                quantisation and no hyperprior.
        """
        y = self.g_a(x - 0.5).float()  # (B, H/16, W/16, M)
        if not quantised:
            logits, fused = self.both(y)
            none = x.new_zeros(len(x))
            return JointOutput(logits.float(), self.g_s(fused).float() + 0.5, none, none, none)
        up, down = self.scaling(level)
        y = y * up
        z = self.h_a(y).float()  # (B, H/32, W/32, N)
        scales, means = self.prediction(straight_through_round(z), y)
        y_hat = straight_through_round(y - means) + means
        logits, fused = self.both(y_hat * down)
        noisy = y + torch.rand_like(y) - 0.5
        bits = self.bits(noisy, z + torch.rand_like(z) - 0.5, scales, means)
        rounded = self.rounded_bits(y, z, scales, means)
        return JointOutput(logits.float(), self.g_s(fused).float() + 0.5, *bits, rounded)
