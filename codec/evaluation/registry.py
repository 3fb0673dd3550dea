"""Which coders there are: our own models, and the codecs they are measured against.

A new peer is a subclass of `Coder` in a file of `peers/`, and an entry of `PEERS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.files import read_file

from .coder import Coder
from .folder_labels import PixelFile
from .peers import pillow
from .ticodec_coder import TicodecCoder

#: Measured when nothing else is asked for: what Pillow's wheels always have.
USUAL = ("jpeg", "webp", "avif", "jpeg2000")


def _jpegxl() -> Coder:
    if find_spec("pillow_jxl") is None:
        raise UsageError("jpegxl needs another package: pip install pillow-jxl-plugin")
    from .peers.jpegxl import JpegXl

    return JpegXl()


def _program(name: str) -> Callable[[], Coder]:
    def make() -> Coder:
        from .peers.programs import PROGRAMS

        return PROGRAMS[name]()

    return make


def _zoo(name: str) -> Callable[[], Coder]:
    def make() -> Coder:
        from .peers.compressai_peers import CompressAIPeer

        return CompressAIPeer(name)

    return make


PEERS: dict[str, Callable[[], Coder]] = {
    "jpeg": pillow.jpeg,
    "webp": pillow.webp,
    "avif": pillow.avif,
    "jpeg2000": pillow.jpeg2000,
    "jpegxl": _jpegxl,
    "bpg": _program("bpg"),
    "vtm": _program("vtm"),
    **{
        name: _zoo(name)
        for name in (
            "bmshj2018-factorized",
            "bmshj2018-hyperprior",
            "mbt2018-mean",
            "mbt2018",
            "cheng2020-anchor",
            "cheng2020-attn",
        )
    },
}


def peer(name: str) -> Coder:
    """The peer of that name. Raises UsageError for an unknown one or when it is not installed."""
    if name not in PEERS:
        raise UsageError(f"unknown peer {name!r}; known: {', '.join(PEERS)}")
    return PEERS[name]()


@dataclass(frozen=True)
class HeadFile:
    """A classifier of latents, by its file; digest: SHA-256 of that."""

    path: Path
    digest: str


@dataclass(frozen=True)
class CoderSpec:
    """How to make a coder, in a form that travels to other processes.

    Args:
        name: of a peer, or of installed weights when `ours`.
        qualities: of our own; None: the whole ladder.
        bitstream: whether its own classifier is asked; pixels: the one that is shown what it
            decodes.
        head: the classifier asked in place of the one that its weights come with.
    """

    name: str
    ours: bool = False
    device: str = "auto"
    qualities: tuple[float, ...] | None = None
    bitstream: bool = False
    pixels: PixelFile | None = None
    head: HeadFile | None = None


@cache
def make(spec: CoderSpec) -> Coder:
    """The coder of a spec, made once a process. Raises UsageError when it is not to be had."""
    coder: Coder
    if spec.ours:
        entry = weights.find(spec.name)
        coder = TicodecCoder(
            entry, spec.device, spec.qualities, spec.head.path if spec.head else None
        )
        digest = spec.head.digest if spec.head else entry.head.sha256 if entry.head else ""
        if spec.bitstream and digest:  # a joint model's is in its weights, named already
            coder.version += f", classifier {digest[:8]}"
    else:
        coder = peer(spec.name)
    if spec.pixels:
        coder.version += f", pixels' classifier {spec.pixels.digest[:8]}"
    coder.classified = spec.bitstream or spec.pixels is not None
    return coder


def with_head(specs: list[CoderSpec], path: Path) -> list[CoderSpec]:
    """Specs of which those whose latents a classifier's file reads are to be asked through it.

    Raises BadInputError when it is no classifier of latents, UsageError when it reads those of
    other weights.
    """
    from ticodec.classifier import read_head

    config, _ = read_head(path, None)
    if config.stem != "latents":
        raise BadInputError(f"{path}: this classifier reads pixels; --classifier takes those")
    head = HeadFile(path, hashlib.sha256(read_file(path)).hexdigest())
    given = []
    for spec in specs:
        of = weights.find(spec.name).fingerprint.hex() if spec.ours else ""
        given.append(replace(spec, head=head) if of == config.fingerprint else spec)
    if given == specs:
        of = f"{config.codec} ({config.fingerprint})"
        raise UsageError(f"{path} reads the latents of {of}; -m names no such weights")
    return given
