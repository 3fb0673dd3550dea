"""The training losses: equation 1 of Lu et al. and equation 6 of Bai et al.

Both are balanced between the quality levels, see `rate_distortion`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cross_entropy

from ticodec.models.codec_network import lambda_at
from ticodec.models.icat import JointOutput
from ticodec.models.tic import Output

#: β in step 1 of Bai et al., where α is 1.
STEP_1_BETA = 0.001


class Loss(NamedTuple):
    """Scalars of one batch: the loss to minimise, two rates and the mean squared error.

    `bpp` is the rate in the loss. Noise stands for rounding there, which makes it too high.
    `bpp_rounded` is close to the rate of a file, see `CodecNetwork.bits`.
    """

    loss: Tensor
    bpp: Tensor
    mse: Tensor
    bpp_rounded: Tensor


def rate_distortion(
    output: Output, x: Tensor, level: Tensor, lambdas: Tensor, balance: float
) -> Loss:
    """(R + λ·255²·MSE) / (130·λ)^balance, the mean over the images.

    With balance 0 this is equation 1, where nearly all of the gradient comes from the highest
    quality. The rate of a level grows about as λ^0.4. So with balance 0.4 one per cent of the
    rate changes the loss by the same amount at each level. For a single λ the divisor is constant.

    Args:
        output: what the network returned for `x`.
        x: images (B, H, W, 3) in [0, 1].
        level: the quality level of each image, (B,).
        lambdas: λ of each level, (levels,).
        balance: from 0 to 1.
    """
    distortion = (output.x_hat - x).pow(2).flatten(1).mean(1)  # (B,)
    bpp = (output.bits_y + output.bits_z) / (x.shape[1] * x.shape[2])
    trade = lambda_at(level, lambdas)
    loss = (bpp + trade * 255**2 * distortion) / (130 * trade) ** balance
    rounded = output.rounded / (x.shape[1] * x.shape[2])
    means = (part.mean().detach() for part in (bpp, distortion, rounded))
    return Loss(loss.mean(), *means)


class JointLoss(NamedTuple):
    """Scalars of one batch of the joint model.

    `ce` is the cross entropy in nats. The others are those of `Loss`.
    """

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
    """α·CE + β·255²·MSE + R, the mean over the images. In step 1 it has no R.

    In step 2 it is divided by (130·β)^balance, as in `rate_distortion`.

    Args:
        output: what the network returned for `x`.
        x: images (B, H, W, 3) in [0, 1].
        targets: probabilities (B, classes), whose sum is 1 for each image.
        beta: β of each image's quality, (B,). None means step 1.
        ratio: α/β.
        smoothing: label smoothing.
        balance: from 0 to 1.
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
