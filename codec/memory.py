"""Refusing images that would not fit into memory, before the system kills the process."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .errors import TicodecError
from .models.config import CodecConfig

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Free memory in bytes, without swap, within the limit of this container (cgroup).

    None where the system does not say.
    """
    limits = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max", or no cgroup: no limit there
        used = int((CGROUP / "memory.current").read_text())
        limits.append(int((CGROUP / "memory.max").read_text()) - used)
    return min(limits, default=None)


def needed(config: CodecConfig, height: int, width: int) -> float:
    """Bytes that coding an image of that size takes at most on the CPU, beside the weights."""
    stride = config.stride_z
    # Three rows of z more: the transforms work in strips, which are as wide as the image.
    padded = (height + -height % stride + 3 * stride) * (width + -width % stride)
    return padded * config.bytes_per_pixel


def check_picture(config: CodecConfig, height: int, width: int) -> None:
    """`check` of a picture that is to be encoded."""
    remedy = ", or a smaller image"
    if config.model in ("tic", "tic-plus"):
        remedy = ", a smaller image, or a smaller model such as tic-lite"
    check(config, height, width, remedy)


def check(config: CodecConfig, height: int, width: int, remedy: str = "") -> None:
    """Raises TicodecError when coding an image of that size would not fit.

    Args:
        remedy: what to do then, beside using a machine with more: the end of the message.
    """
    need, have = needed(config, height, width), available()
    if have is not None and need > have:
        raise TicodecError(
            f"{width}×{height} pixels need about {need / 2**30:.1f} GiB of memory with "
            f"{config.model}, {have / 2**30:.1f} GiB are free; use a machine with more{remedy}"
        )
