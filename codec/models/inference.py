"""Running g_a, h_a and g_s fast and in little memory: in bands of rows, in bf16 where it pays.

    map (1, H, W, C) ─► bands of rows ─► layer ─► layer ─► … ─► bands ─► result (1, H', W', C')

On the CPU the layers are those of the C extension `ticodec.models.native`, which keeps maps in
float32 and rounds the operands of products to bf16, if it runs in bf16. Without the extension, and
on GPUs, PyTorch runs them. In float32 the result is the module's, within rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .bands import Bands, ConvStage, Pointwise, Size, Stage, STBStage
from .conv import Conv, LinearGDN
from .swin import STB

#: Gives rows first … last - 1 of a map, (last - first, W, C), float32.
ReadRows = Callable[[int, int], Tensor]
#: Most bytes of a band. On a CPU it stays in the cache from one layer to the next; a GPU needs more
#: rows to be busy.
BAND_BYTES = {"cpu": 6 << 20, "cuda": 256 << 20}
#: Bands have a multiple of so many rows, where that is not too much: whole windows.
BAND_UNIT = 8

#: Environment variable: 1 uses bf16 on every machine, 0 on none. Processes started here see it.
BF16 = "TICODEC_BF16"


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 there: GPUs, and CPUs with AVX512-BF16 or AMX.

    On CPUs without them bf16 is emulated and several times slower. The environment variable
    `TICODEC_BF16` (0 or 1) decides instead where it is set: the same pixels on two machines
    need the same type on both, and so do tests.
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
        modules: the trained transform; it is taken over, converted in place.
        device: where; dtype: of the operands, float32 or bfloat16. The last convolution always has
            float32, since there bf16 shows in pixels.
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
                if next(module.parameters(), None) is not None:  # constants keep their digits
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
            source: gives its rows, float32, on any device; size: its height, width and channels.
        """
        result = torch.empty(1, *self.sizes(size)[-1], device=self.device)

        def take(top: int, rows: Tensor) -> None:
            result[0, top : top + len(rows)] = rows

        self.run(source, size, take)
        return result

    @torch.inference_mode()
    def run(self, source: ReadRows, size: Size, take: Callable[[int, Tensor], None]) -> None:
        """The same, but to bands of the output.

        Args:
            source, size: as of `whole`.
            take: gets the number of a band's first row, and the band, (r, W', C'), which is valid
                until it returns.
        """
        sizes = self.sizes(size)
        height = size[0]
        # As many rows at once as give a full band of the largest map.
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
        """The size of a map, and of what each layer makes of it."""
        sizes = [size]
        for stage in self.stages:
            sizes.append(stage.size(sizes[-1]))
        return sizes

    def band_rows(self, size: Size) -> int:
        """How many rows a band of such a map has at most."""
        _, width, channels = size
        rows = self.band_bytes // (width * channels * 4)
        return max(1, rows // BAND_UNIT * BAND_UNIT or rows)


def split(source: Bands, most: int) -> Bands:
    """The same bands in parts of at most so many rows."""
    for rows in source:
        yield from rows.split(most)
