"""Refusing images that would not fit into memory, before the system kills the process.

free memory of the machine ──────────────┐
limit of the user - what is used already ┴─► the smaller ─► enough for this image?
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from .effort import BLOCK, USUAL_EFFORT
from .entropy import native as entropy_native
from .errors import TicodecError, UsageError
from .models import native as models_native
from .models.config import STRIDE_Y, CodecConfig
from .sizes import bytes_in

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
#: Pages of memory: all that this process has reserved, those it uses, and more.
STATM = Path("/proc/self/statm")
#: Bytes that coding any image takes, whatever its size.
FIXED = 64 << 20
#: Bytes of a pixel of an image that is decoded or read, twice while it is converted.
IMAGE = 12
#: Bytes that a process takes which has loaded a network, and does nothing.
LOADED = 600 << 20
#: Environment variable: the limit that `set_memory` sets. Processes started here see it.
LIMIT = "TICODEC_MEMORY"


def set_memory(memory: int | str | None) -> None:
    """Let this process use at most so much memory, and each one that it starts as much.

    Images that need more are refused with a TicodecError; nothing else is. A process that has
    loaded a network has taken 0.6 GiB already. The environment variable TICODEC_MEMORY
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
    size = bytes_in(str(text), letter=1024)
    if size is None or not 1 <= size < math.inf:
        raise UsageError(f"{name} is a size such as 2GiB, 1500MB or 3G, not {str(text)!r}")
    return math.floor(size)


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
    """What images may take of this process's limit, in bytes; None: there is no limit.

    What it uses itself is that of a loaded network at least, also before one is.
    """
    most = limit()
    return None if most is None else max(0, most - max(used(), LOADED))


def available() -> int | None:
    """Bytes that this process may still take: of its limit, and of what is free.

    None where there is no limit and the system does not say what is free.
    """
    return min((size for size in (free(), left()) if size is not None), default=None)


def needed(
    config: CodecConfig,
    height: int,
    width: int,
    part: tuple[int, int] | None = None,
    effort: int = USUAL_EFFORT,
) -> float:
    """Bytes that coding an image of that size takes at most on the CPU, beside the weights.

    Args:
        part: height and width of the pixels that are made, where these are not the whole image.
        effort: 1 … 9, of encoding.
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
        return (down + 3 * stride) * across * takes.by_torch + more  # bands of the image's width
    if part is None:
        return FIXED + across * takes.per_column + down * across * takes.per_pixel + more
    rows, columns = (size + 2 * stride for size in part)  # pixels around it are made, too
    return FIXED + columns * (takes.per_column + rows * IMAGE) + down * across * takes.per_latents


def check_picture(
    config: CodecConfig,
    height: int,
    width: int,
    have: int | None = None,
    effort: int = USUAL_EFFORT,
) -> None:
    """`check` of a picture that is to be encoded: it knows what else to do.

    Args:
        have, effort: as `check` takes them.
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
    """Raises TicodecError when coding an image of that size would not fit.

    Args:
        remedy: what to do then, beside using a machine with more, or a higher limit: the end of the
            message.
        have: the memory there is, in bytes; None: what is `available`.
        part, effort: as `needed` takes them.
    """
    need = needed(config, height, width, part, effort)
    have = available() if have is None else have
    if have is None or need <= have:
        return
    most, remains = limit(), free()
    state, use = "free", "a machine with more"
    if most is not None and (remains is None or have < remains):
        state, use = f"left of a limit of {most / 2**30:.2f}", "a higher `memory`"
    raise TicodecError(
        f"{width}×{height} pixels need about {need / 2**30:.2f} GiB of memory with "
        f"{config.model}, {have / 2**30:.2f} GiB are {state}; use {use}{remedy}"
    )
