"""The ways of the exact path, and what its products cost in float64."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

#: By name: in C where the extension is built, and in torch with the next best entropy coder. A name
#: of `INSTRUCTIONS` is C with these instructions.
PATHS = ("C", "torch")
#: Of the products that are timed to see what this machine can do.
SIDE, ROUNDS = 1024, 9
#: Of the nine taps of a transposed convolution of stride 2, what an output reads on average.
TAPS = 2.25 / 9


def available() -> list[str]:
    """The ways that there are here."""
    from ticodec.entropy import native

    return [*PATHS] if native.active() else ["torch"]


@contextmanager
def on_path(name: str, codec: Any) -> Iterator[None]:
    """Let a codec take this way. One that has no wavefront changes only its entropy coder."""
    from ticodec.entropy import rans

    if name == "C":
        yield
        return
    latents = vars(codec.entropy.latents)
    kept = {key: value for key, value in latents.items() if "native" in key}
    backend, others = rans.default_backend, [b for b in rans.backends() if b != "native"]
    if name == "torch":
        latents.update(dict.fromkeys(kept))
        rans.default_backend = lambda: others[0]  # type: ignore[assignment]
    elif kept:
        latents.update(packed(codec, name))
    try:
        yield
    finally:
        rans.default_backend = backend
        latents.update(kept)


@cache
def packed(codec: Any, instructions: str) -> dict[str, Any]:
    """The attributes of a TIC codec's latent coder that run in C, for these instructions."""
    from ticodec.entropy import native
    from ticodec.entropy.native.hyper import NativeHyper
    from ticodec.entropy.native.wavefront import NativeWavefront

    module, latents = native.module(), codec.entropy.latents
    wavefront = NativeWavefront(module, latents.context, latents.thresholds, instructions)
    hyper = NativeHyper(module, latents.ops, latents.config, instructions)
    return {"native": wavefront, "native_hyper": hyper}


def products(codec: Any, height: int, width: int) -> int | None:
    """Multiplications with weights that the exact path of a photo of this size needs at least.

    None for the joint model, which has no wavefront.
    """
    if not codec.config.model.startswith("tic"):
        return None
    sizes = {
        name.removesuffix(".weight"): tensor.numel()
        for name, tensor in codec.entropy.ops.parameters.items()
        if name.endswith(".weight")
    }
    cells = -(-height // 64) * -(-width // 64) * 16  # of y
    total = 0.0
    for name, size in sizes.items():
        quarter = cells / 4 if name.startswith(("h_s.up1", "h_s.stb1")) else cells
        total += size * quarter * (TAPS if name.startswith("h_s.up") else 1)
    return round(total)


def rate(threads: int) -> float:
    """Products of float64 a second that torch's matrix product reaches on this machine."""
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = torch.rand(2, SIDE, SIDE, dtype=torch.float64)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    torch.set_num_threads(count)
    return SIDE**3 / min(seconds)
