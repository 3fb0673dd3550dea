"""Codes the latents of TIC: h_s once, then the context model along the wavefront.

ẑ ─► h_s ─► the head's part of it ─┐
                   ŷ so far ─► CAM ┴─► means, scale indexes ─► symbols     see `wavefront`
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ticodec.models.config import STRIDE_Y, ModelConfig

from .exact import Fixed, Ops
from .latent_coder import LatentMap
from .tic_context import Context
from .tic_hyper import hyper_synthesis
from .wavefront import Map, run_wavefront


class TicLatentCoder:
    """The `LatentCoder` of TIC, TIC+ and tic-lite.

    Args:
        ops: compiled layers; config: dimensions.
        thresholds: of the scale tables, (tables - 1,), float64.
    """

    def __init__(self, ops: Ops, config: ModelConfig, thresholds: Tensor) -> None:
        self.ops, self.config, self.thresholds = ops, config, thresholds
        self.context = Context(ops, config)
        self.z_to_y = config.stride_z // STRIDE_Y

    def run(self, maps: Sequence[LatentMap]) -> list[Tensor]:
        """Code maps together, step by step of their wavefronts."""
        n = self.z_to_y
        bordered = [
            Map(self.hyper(z_hat), z_hat.shape[0] * n, z_hat.shape[1] * n, code)
            for z_hat, code in maps
        ]
        return run_wavefront(self.context, self.thresholds, bordered)

    def hyper(self, z_hat: Tensor) -> Tensor:
        """ẑ (h/4, w/4, N) through h_s and its part of the head's first layer, to (h·w, 10M/3).

        See `Context.hyper_part`.
        """
        features = hyper_synthesis(self.ops, self.config, z_hat[None])
        return self.context.hyper_part(Fixed(features.ints.flatten(0, 2), features.frac))
