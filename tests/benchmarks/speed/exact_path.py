"""Chooses the implementation of the exact path, and measures its products in float64."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

#: Implementations: in C if the extension is built, and in torch with the next best entropy coder.
#: A name of `INSTRUCTIONS` also is one: C with these instructions.
PATHS = ("C", "torch")
#: Side and number of the matrix products that are timed to find this machine's rate.
SIDE, ROUNDS = 1024, 9
#: Share of the nine taps of a transposed convolution of stride 2 that an output reads on average.
TAPS = 2.25 / 9


def available() -> list[str]:
    """The implementations of `PATHS` that this machine has."""
    from ticodec.entropy import native

    return [*PATHS] if native.active() else ["torch"]


@contextmanager
def on_path(name: str, codec: Any) -> Iterator[None]:
    """Let a codec use this implementation. Without a wavefront only its rANS coder changes."""
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
    """The attributes of a TIC codec's latent coder that run in C, made for these instructions."""
    from ticodec.entropy import native
    from ticodec.entropy.native.hyper import NativeHyper
    from ticodec.entropy.native.wavefront import NativeWavefront

    module, latents = native.module(), codec.entropy.latents
    wavefront = NativeWavefront(module, latents.context, latents.thresholds, instructions)
    hyper = NativeHyper(module, latents.ops, latents.config, instructions)
    return {"native": wavefront, "native_hyper": hyper}


def products(codec: Any, height: int, width: int) -> int | None:
    """Multiplications with weights that the exact path needs at least for a photo of this size.

    Returns None for the joint model, which has no wavefront.
    """
    if not codec.config.model.startswith("tic"):
        return None
    sizes = {
        name.removesuffix(".weight"): tensor.numel()
        for name, tensor in codec.entropy.ops.parameters.items()
        if name.endswith(".weight")
    }
    cells = -(-height // 64) * -(-width // 64) * 16  # positions of y
    total = 0.0
    for name, size in sizes.items():
        quarter = cells / 4 if name.startswith(("h_s.up1", "h_s.stb1")) else cells
        total += size * quarter * (TAPS if name.startswith("h_s.up") else 1)
    return round(total)


def rate(threads: int) -> float:
    """Multiplications per second of torch's float64 matrix product on this machine."""
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
