"""Running g_a, h_a and g_s fast and in little memory: in bands of rows, in bf16 if it is faster.

    map (1, H, W, C) ─► bands of rows ─► layer ─► layer ─► … ─► bands ─► result (1, H', W', C')

On the CPU the C extension `ticodec.models.native` runs the layers. It keeps maps in float32. If it
runs in bf16, it rounds the operands of products to bf16. Without the extension, and on GPUs,
PyTorch runs the layers. In float32 the result equals the output of the torch module, except for
rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .bands import Bands, ConvStage, Pointwise, Size, Stage, STBStage
from .conv import Conv, LinearGDN
from .swin import STB

#: Takes `first` and `last`. Returns rows first … last - 1 of a map, (last - first, W, C), float32.
ReadRows = Callable[[int, int], Tensor]
#: The most bytes of a band. On a CPU a band of this size stays in the cache from one layer to the
#: next. A GPU needs more rows to be busy.
BAND_BYTES = {"cpu": 6 << 20, "cuda": 256 << 20}
#: The number of rows of a band is a multiple of this, which is the side of a window. A band has
#: fewer rows only if this many do not fit.
BAND_UNIT = 8

#: This environment variable decides about bf16: 1 uses it on every machine, 0 on none. Processes
#: that are started by this one inherit it.
BF16 = "TICODEC_BF16"


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32: on GPUs, and on CPUs with AVX512-BF16 or AMX.

    Other CPUs emulate bf16, which is several times slower. If the environment variable
    `TICODEC_BF16` (0 or 1) is set, it decides instead. Two machines need the same type to give the
    same pixels, and tests need a known type.
    """
    if forced := os.environ.get(BF16):
        return forced != "0"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(native()) and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class Transform:
    """A transform of a network, ready to run.

    Args:
        modules: the trained transform. It is converted in place, so do not use it afterwards.
        device: where to run.
        dtype: the type of the operands, float32 or bfloat16. The last convolution always uses
            float32, because there bf16 would be visible in the pixels.
    """

    def __init__(self, modules: nn.Sequential, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.band_bytes = device, BAND_BYTES[device.type]
        native = device.type == "cpu"
        modules = modules.to(device).eval().requires_grad_(False)
        last = max(number for number, module in enumerate(modules) if isinstance(module, Conv))
        self.stages: list[Stage] = []
        after: nn.Module | None = None
        for number, module in reversed(list(enumerate(modules))):
            kept = torch.float32 if number >= last else dtype
            activates = isinstance(module, LinearGDN | nn.LeakyReLU)
            if activates and number and isinstance(modules[number - 1], Conv):
                after = module.to(kept)  # it becomes part of the convolution
                continue
            if isinstance(module, Conv):
                module.to(kept)
                module.conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                self.stages.append(ConvStage(module, after, kept, native))
                after = None
            elif isinstance(module, STB):
                self.stages.append(STBStage(module.to(kept), kept, native))
            else:
                if next(module.parameters(), None) is not None:  # constants keep their precision
                    module.to(kept)
                self.stages.append(Pointwise(module))
        self.stages.reverse()

    def __call__(self, x: Tensor) -> Tensor:
        """(1, H, W, C) float32 to the transform's output, float32."""
        _, height, width, channels = x.shape
        return self.whole(lambda first, last: x[0, first:last], (height, width, channels))

    def whole(self, source: ReadRows, size: Size) -> Tensor:
        """A map to the output (1, H', W', C'), float32, on the device.

        Args:
            source: gives the rows of the map, float32, on any device.
            size: the height, width and channels of the map.
        """
        result = torch.empty(1, *self.sizes(size)[-1], device=self.device)

        def take(top: int, rows: Tensor) -> None:
            result[0, top : top + len(rows)] = rows

        self.run(source, size, take)
        return result

    @torch.inference_mode()
    def run(self, source: ReadRows, size: Size, take: Callable[[int, Tensor], None]) -> None:
        """A map to bands of the output.

        Args:
            source, size: as for `whole`.
            take: is called with the number of a band's first row, and the band, (r, W', C'). The
                band is valid until `take` returns.
        """
        sizes = self.sizes(size)
        height = size[0]
        # The number of input rows for which the largest of the maps fills one band.
        step = max(1, min(height * self.band_rows(one) // one[0] for one in sizes))
        bands: Bands = (
            source(top, min(top + step, height)).to(self.device) for top in range(0, height, step)
        )
        for stage, one in zip(self.stages, sizes, strict=False):
            bands = stage.run(split(bands, self.band_rows(one)), one)
        top = 0
        for rows in bands:
            take(top, rows)
            top += len(rows)

    def sizes(self, size: Size) -> list[Size]:
        """The size of a map, and then the size of the output of each layer."""
        sizes = [size]
        for stage in self.stages:
            sizes.append(stage.size(sizes[-1]))
        return sizes

    def band_rows(self, size: Size) -> int:
        """The most rows that a band of a map of this size has."""
        _, width, channels = size
        rows = self.band_bytes // (width * channels * 4)
        return max(1, rows // BAND_UNIT * BAND_UNIT or rows)


def split(source: Bands, most: int) -> Bands:
    """Splits bands into parts of at most `most` rows."""
    for rows in source:
        yield from rows.split(most)
