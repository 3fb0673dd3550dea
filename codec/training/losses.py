"""The training losses: Lu et al., equation 1, and Bai et al., equation 6, balanced over levels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cross_entropy

from ticodec.models.codec_network import lambda_at
from ticodec.models.icat import JointOutput
from ticodec.models.tic import Output

#: β of the paper's first step, where α is 1.
STEP_1_BETA = 0.001


class Loss(NamedTuple):
    """Scalars of one batch: the loss to minimise, its bpp and its mean squared error.

    `bpp` is the rate that is learned, with noise in place of rounding, and is too high; near that
    of a file is `bpp_rounded`: see `CodecNetwork.bits`.
    """

    loss: Tensor
    bpp: Tensor
    mse: Tensor
    bpp_rounded: Tensor


def rate_distortion(
    output: Output, x: Tensor, level: Tensor, lambdas: Tensor, balance: float
) -> Loss:
    """(R + λ·255²·MSE) / (130·λ)^balance, the mean over the images.

    Equation 1 is balance 0, where the highest quality has nearly all of the gradient. At 0.4
    every level counts in proportion to the bits it takes, about λ^0.4: a per cent of rate is
    worth the same at each. For one fixed λ the division is a constant.

    Args:
        output: of the network; x: images (B, H, W, 3) in [0, 1]; level: (B,).
        lambdas: of the levels, (levels,); balance: 0 to 1.
    """
    distortion = (output.x_hat - x).pow(2).flatten(1).mean(1)  # (B,)
    bpp = (output.bits_y + output.bits_z) / (x.shape[1] * x.shape[2])
    trade = lambda_at(level, lambdas)
    loss = (bpp + trade * 255**2 * distortion) / (130 * trade) ** balance
    rounded = output.rounded / (x.shape[1] * x.shape[2])
    means = (part.mean().detach() for part in (bpp, distortion, rounded))
    return Loss(loss.mean(), *means)


class JointLoss(NamedTuple):
    """Scalars of one batch of the joint model: loss, cross entropy (nats), then as in `Loss`."""

    loss: Tensor
    ce: Tensor
    bpp: Tensor
    mse: Tensor
    bpp_rounded: Tensor


def joint(
    output: JointOutput,
    x: Tensor,
    targets: Tensor,
    beta: Tensor | None,
    ratio: float,
    smoothing: float,
    balance: float,
) -> JointLoss:
    """α·CE + β·255²·MSE + R, the mean over the images; without R in the first step.

    Args:
        output: of the network; x: images (B, H, W, 3) in [0, 1]; targets: (B, classes), sum 1.
        beta: of each image's quality, (B,), divided out as `rate_distortion` does; None: step 1.
        ratio: α/β; smoothing: of the labels; balance: 0 to 1, see `rate_distortion`.
    """
    ce = cross_entropy(output.logits, targets, reduction="none", label_smoothing=smoothing)
    distortion = (output.x_hat - x).pow(2).flatten(1).mean(1)  # (B,)
    bpp = (output.bits_y + output.bits_z) / (x.shape[1] * x.shape[2])
    if beta is None:
        loss = ce + STEP_1_BETA * 255**2 * distortion
    else:
        loss = bpp + beta * (ratio * ce + 255**2 * distortion)
        loss = loss / (130 * beta) ** balance
    rounded = output.rounded / (x.shape[1] * x.shape[2])
    means = (part.mean().detach() for part in (ce, bpp, distortion, rounded))
    return JointLoss(loss.mean(), *means)
