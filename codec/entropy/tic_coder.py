"""Codes the latents of TIC: h_s once, then the context model along the wavefront.

ẑ ─► h_s ─┐
          ├─► head ─► means, scale indexes ─► symbols     see `wavefront`
ŷ ─► CAM ─┘
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ticodec.models.cam import NEIGHBOURS
from ticodec.models.config import STRIDE_Y, ModelConfig

from . import native
from .exact import Fixed, Ops
from .latent_coder import LatentMap
from .native.hyper import NativeHyper
from .native.wavefront import NativeMap, NativeWavefront
from .tic_context import MEAN_BITS, Context
from .tic_hyper import hidden, hyper_synthesis
from .wavefront import Map, run_wavefront


class TicLatentCoder:
    """The `LatentCoder` of TIC, TIC+ and tic-lite.

    Args:
        ops: the compiled layers.
        config: the network's dimensions.
        thresholds: the thresholds between the scale tables, (tables - 1,), float64.

    `native` is the wavefront in C, and `native_hyper` is h_s in C. Each is None if the extension is
    missing or turned off, if the device is not the CPU, or if it does not accept the weights. Then
    torch does the work instead. A caller may also set them to None.
    """

    def __init__(self, ops: Ops, config: ModelConfig, thresholds: Tensor) -> None:
        self.ops, self.config, self.thresholds = ops, config, thresholds
        self.context = Context(ops, config)
        self.z_to_y = config.stride_z // STRIDE_Y
        self.native: NativeWavefront | None = None
        self.native_hyper: NativeHyper | None = None
        module = native.module()
        if module is not None and ops.device.type == "cpu":
            self.native = NativeWavefront.of(module, self.context, thresholds)
            self.native_hyper = NativeHyper.of(module, ops, config)
        if self.native is None or self.native_hyper is None:
            self.check_layers()

    def check_layers(self) -> None:
        """Raises if a layer is missing or does not fit, so that the first image cannot fail later.
        One position goes through all layers in torch. The extension checks its own weights.
        """
        m, zeros = self.config.M, self.ops.exp.new_zeros
        hyper = self.hyper(zeros(1, 1, self.config.N))[:1]
        near = self.context.masked.expand(1, len(NEIGHBOURS), -1)
        for numbers in self.context.predict(near, zeros(1, len(NEIGHBOURS), m), hyper):
            if numbers.shape != (1, m):
                raise ValueError("the head has the wrong number of outputs")

    def run(self, maps: Sequence[LatentMap]) -> None:
        """Codes the maps together, step by step of their wavefronts."""
        streams = [latents.stream.native() for latents in maps]
        if self.native is not None and all(stream is not None for stream in streams):
            self.native.run(
                [
                    NativeMap(
                        self.hidden(latents.z_hat), *self.size(latents), stream, latents.y_hat
                    )
                    for latents, stream in zip(maps, streams, strict=True)
                    if stream is not None
                ]
            )
            return
        ready = [
            Map(self.hyper(latents.z_hat), *self.size(latents), latents.stream.code)
            for latents in maps
        ]
        found = run_wavefront(self.context, self.thresholds, ready)
        for latents, y_hat in zip(maps, found, strict=True):
            if latents.y_hat is not None:
                latents.y_hat.copy_(y_hat * 2.0**-MEAN_BITS)

    def size(self, latents: LatentMap) -> tuple[int, int]:
        """Height and width of y."""
        height, width = latents.z_hat.shape[:2]
        return height * self.z_to_y, width * self.z_to_y

    def features(self, z_hat: Tensor) -> Fixed:
        """ẑ (h/4, w/4, N) through h_s, to hyper features (h·w, 2M)."""
        features = hyper_synthesis(self.ops, self.config, z_hat[None])
        return Fixed(features.ints.flatten(0, 2), features.frac)

    def hidden(self, z_hat: Tensor) -> Tensor:
        """`tic_hyper.hidden` of ẑ (h/4, w/4, N): (h·w, N), integers in float32.

        The extension computes it, if it can.
        """
        if self.native_hyper is not None:
            return self.native_hyper.run(z_hat)
        return hidden(self.ops, self.config, z_hat[None]).ints.flatten(0, 2).float()

    def hyper(self, z_hat: Tensor) -> Tensor:
        """`Context.hyper_part` of the `features` of ẑ: (h·w, 10M/3)."""
        return self.context.hyper_part(self.features(z_hat))
