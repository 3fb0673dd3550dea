"""Refuses images that need too much memory, before the system kills the process.

free memory of the machine ─────────────────────┐
limit of the user minus memory used by process ─┴─► the smaller one ─► enough for this image?
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from pathlib import Path

from .effort import BLOCK, USUAL_EFFORT
from .entropy import native as entropy_native
from .errors import TicodecError, UsageError
from .models import native as models_native
from .models.config import STRIDE_Y, CodecConfig
from .sizes import bytes_in

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
#: The second number in this file is the memory that this process uses, in pages.
STATM = Path("/proc/self/statm")
#: Bytes that coding takes for an image of any size.
FIXED = 64 << 20
#: Bytes per pixel of an image that is decoded or read. While it is converted there are two copies.
IMAGE = 12
#: Bytes that a process takes after it has loaded a network, before it processes an image.
LOADED = 600 << 20
#: Bytes that a worker process takes with a photo of some megapixels, its loaded network included.
WORKER = 3 << 29
#: The environment variable that `set_memory` sets. Child processes inherit it.
LIMIT = "TICODEC_MEMORY"


def set_memory(memory: int | str | None) -> None:
    """Limit the memory of this process, and of each process that it starts.

    Images that need more are refused with a TicodecError. The limit has no other effect. A process
    that has loaded a network uses 0.6 GiB already. This function sets the environment variable
    TICODEC_MEMORY, which can also be set before the program starts.

    Args:
        memory: bytes, or a text with a unit: "2GiB", "1500MB". None means all memory that is free.

    Raises UsageError for anything else.
    """
    if memory is None:
        os.environ.pop(LIMIT, None)
        return
    text = f"{memory}B" if isinstance(memory, int) else memory
    os.environ[LIMIT] = f"{size_of(text)}B"


def size_of(text: str, name: str = "`memory`") -> int:
    """Convert a size with a unit to bytes.

    Units are K, M, G, T and KiB … TiB, which are powers of 1024, and KB … TB, powers of 1000.

    Args:
        name: what the message calls the argument.

    Raises UsageError for anything else, and for less than a byte.
    """
    size = bytes_in(str(text), letter=1024)
    if size is None or not 1 <= size < math.inf:
        unit = ": its unit is missing" if re.fullmatch(r"\s*[0-9.]+\s*", str(text)) else ""
        must = f"{name} must be a size such as 2GiB, 1500MB or 3G"
        raise UsageError(f"{must}, not {str(text)!r}{unit}")
    return math.floor(size)


def limit() -> int | None:
    """The limit of this process in bytes, or None if there is no limit.

    Raises UsageError if the environment variable is not a size.
    """
    text = os.environ.get(LIMIT)
    return size_of(text, LIMIT) if text else None


def used() -> int:
    """The memory that this process uses now, in bytes. Returns 0 if the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def free() -> int | None:
    """The free memory in bytes, without swap, within the limit of this container (cgroup).

    Returns None if the system does not say.
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
    """How much of this process's limit is left for images, in bytes. None if there is no limit.

    A loaded network is always subtracted, even if none is loaded yet.
    """
    most = limit()
    return None if most is None else max(0, most - max(used(), LOADED))


def available() -> int | None:
    """How many bytes this process may still take: the smaller of its limit and the free memory.

    Returns None if there is no limit and the system does not say how much memory is free.
    """
    return min((size for size in (free(), left()) if size is not None), default=None)


def needed(
    config: CodecConfig,
    height: int,
    width: int,
    part: tuple[int, int] | None = None,
    effort: int = USUAL_EFFORT,
) -> float:
    """The most bytes that coding an image takes on the CPU, in addition to the weights.

    Args:
        height, width: the size of the image in pixels.
        part: height and width of the pixels to decode, if this is not the whole image.
        effort: the effort to encode with, 1 … 9.
    """
    stride, takes = config.stride_z, config.memory
    down, across = (size + -size % stride for size in (height, width))
    native = models_native.active() and entropy_native.active()
    more = 0.0
    if effort > USUAL_EFFORT:
        block = min(down, BLOCK * STRIDE_Y) * min(across, BLOCK * STRIDE_Y)
        more = down * across * takes.refined
        more += block * (takes.gradient if native else takes.gradient_by_torch)
    if not native:
        return (down + 3 * stride) * across * takes.by_torch + more  # bands as wide as the image
    if part is None:
        return FIXED + across * takes.per_column + down * across * takes.per_pixel + more
    rows, columns = (size + 2 * stride for size in part)  # pixels around the part are decoded too
    return FIXED + columns * (takes.per_column + rows * IMAGE) + down * across * takes.per_latents


def check_picture(
    config: CodecConfig,
    height: int,
    width: int,
    have: int | None = None,
    effort: int = USUAL_EFFORT,
) -> None:
    """As `check`, for a picture to encode. The message says what else the user can do.

    Args:
        have, effort: see `check`.
    """
    have = available() if have is None else have
    remedy = ", or a smaller image"
    if config.model in ("tic", "tic-plus"):
        remedy = ", a smaller image, or a smaller model such as tic-lite"
    if effort > USUAL_EFFORT and have is not None and needed(config, height, width) <= have:
        remedy = f", or an `effort` of {USUAL_EFFORT}"
    check(config, height, width, remedy, have, effort=effort)


def check(
    config: CodecConfig,
    height: int,
    width: int,
    remedy: str = "",
    have: int | None = None,
    part: tuple[int, int] | None = None,
    effort: int = USUAL_EFFORT,
) -> None:
    """Raises TicodecError if coding an image of this size needs too much memory.

    Args:
        remedy: the end of the message: what the user can do apart from using a machine with more
            memory or a higher limit.
        have: the available memory, in bytes. None means the result of `available`.
        part, effort: see `needed`.
    """
    need = needed(config, height, width, part, effort)
    have = available() if have is None else have
    if have is None or need <= have:
        return
    most, remains = limit(), free()
    state, use = "free", "a machine with more memory"
    if most is not None and (remains is None or have < remains):
        state, use = f"left of a limit of {most / 2**30:.2f} GiB", "a higher `memory`"
    raise TicodecError(
        f"{width}×{height} pixels need about {need / 2**30:.2f} GiB of memory with "
        f"{config.model}, but only {have / 2**30:.2f} GiB are {state}; use {use}{remedy}"
    )
