"""Refusing images that would not fit into memory, before the system kills the process.

free memory of the machine ──────────────┐
limit of the user - what is used already ┴─► the smaller ─► enough for this image?
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path

from .entropy import native as entropy_native
from .errors import TicodecError, UsageError
from .models import native as models_native
from .models.config import CodecConfig

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
#: Pages of memory: all that this process has reserved, those it uses, and more.
STATM = Path("/proc/self/statm")
#: Bytes that coding any image takes.
FIXED = 64 << 20
#: Environment variable: the limit that `set_memory` sets. Processes started here see it.
LIMIT = "TICODEC_MEMORY"
UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNITS |= {f"{unit}iB": UNITS[unit] for unit in "KMGT"}
UNITS |= {f"{unit}B": 10 ** (3 * power) for power, unit in enumerate("KMGT", 1)}


def set_memory(memory: int | str | None) -> None:
    """Let this process, and those that it starts, use at most so much memory.

    Images that need more are refused with a TicodecError. The environment variable TICODEC_MEMORY
    says the same, and is what this sets.

    Args:
        memory: bytes, or a size as `size_of` takes it: "2GiB"; None: all that is free.

    Raises UsageError for anything else.
    """
    if memory is None:
        os.environ.pop(LIMIT, None)
        return
    text = f"{memory}B" if isinstance(memory, int) else memory
    os.environ[LIMIT] = f"{size_of(text)}B"


def size_of(text: str, name: str = "`memory`") -> int:
    """The bytes of a size: a number with K, M, G or T (1024 each), KiB … TiB, or KB … TB (1000).

    Args:
        name: what the size is of, for the message.

    Raises UsageError for anything else, and for less than a byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", str(text), re.IGNORECASE)
    units = {unit.lower(): size for unit, size in UNITS.items()}
    size = 0 if match is None else math.floor(float(match[1]) * units.get(match[2].lower(), 0))
    if size < 1:
        raise UsageError(f"{name} is a size such as 2GiB, 1500MB or 3G, not {str(text)!r}")
    return size


def limit() -> int | None:
    """The limit that was set, in bytes; None: there is none.

    Raises UsageError when the environment variable is not a size.
    """
    text = os.environ.get(LIMIT)
    return size_of(text, LIMIT) if text else None


def used() -> int:
    """Memory that this process uses now, in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def free() -> int | None:
    """Free memory in bytes, without swap, within the limit of this container (cgroup).

    None where the system does not say.
    """
    limits = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max", or no cgroup: no limit there
        taken = int((CGROUP / "memory.current").read_text())
        limits.append(int((CGROUP / "memory.max").read_text()) - taken)
    return min(limits, default=None)


def left() -> int | None:
    """What this process has not used of its limit, in bytes; None: there is no limit."""
    most = limit()
    return None if most is None else max(0, most - used())


def available() -> int | None:
    """Bytes that this process may still take: of its limit, and of what is free.

    None where there is no limit and the system does not say what is free.
    """
    return min((size for size in (free(), left()) if size is not None), default=None)


def needed(config: CodecConfig, height: int, width: int) -> float:
    """Bytes that coding an image of that size takes at most on the CPU, beside the weights."""
    stride, takes = config.stride_z, config.memory
    down, across = (size + -size % stride for size in (height, width))
    if models_native.module() is None or not entropy_native.active():
        return (down + 3 * stride) * across * takes.by_torch  # bands are as wide as the image
    return FIXED + across * takes.per_column + down * across * takes.per_pixel


def check_picture(config: CodecConfig, height: int, width: int, have: int | None = None) -> None:
    """`check` of a picture that is to be encoded."""
    remedy = ", or a smaller image"
    if config.model in ("tic", "tic-plus"):
        remedy = ", a smaller image, or a smaller model such as tic-lite"
    check(config, height, width, remedy, have)


def check(
    config: CodecConfig, height: int, width: int, remedy: str = "", have: int | None = None
) -> None:
    """Raises TicodecError when coding an image of that size would not fit.

    Args:
        remedy: what to do then, beside using a machine with more, or a higher limit: the end of the
            message.
        have: the memory there is, in bytes; None: what is `available`.
    """
    need = needed(config, height, width)
    have = available() if have is None else have
    if have is None or need <= have:
        return
    most, remains = limit(), free()
    state, use = "free", "a machine with more"
    if most is not None and (remains is None or have < remains):
        state, use = f"left of a limit of {most / 2**30:.1f}", "a higher `memory`"
    raise TicodecError(
        f"{width}×{height} pixels need about {need / 2**30:.1f} GiB of memory with "
        f"{config.model}, {have / 2**30:.1f} GiB are {state}; use {use}{remedy}"
    )
