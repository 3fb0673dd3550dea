"""Makes a coder from a name and options: one of our own models or one of `PEERS`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ticodec import weights
from ticodec.effort import USUAL_EFFORT
from ticodec.errors import BadInputError, UsageError
from ticodec.files import read_file

from .coder import Coder
from .folder_labels import PixelFile
from .peers import make_peer
from .ticodec_coder import TicodecCoder


@dataclass(frozen=True)
class HeadFile:
    """The file of a classifier of latents. `digest` is its SHA-256."""

    path: Path
    digest: str


@dataclass(frozen=True)
class CoderSpec:
    """How to make a coder, in a form that can be sent to other processes.

    Args:
        name: name of a peer, or of installed weights if `ours` is true.
        ours: whether this is one of our own models.
        device: where our own models run.
        qualities: qualities of our own models, or None for the whole ladder.
        bitstream: whether a classifier of latents classifies the coded files.
        pixels: a classifier of pixels that classifies what the coder decodes, or None.
        head: a classifier of latents that replaces the one that comes with the weights, or None.
        effort: effort of our own models, 1 … 9.
    """

    name: str
    ours: bool = False
    device: str = "auto"
    qualities: tuple[float, ...] | None = None
    bitstream: bool = False
    pixels: PixelFile | None = None
    head: HeadFile | None = None
    effort: int = USUAL_EFFORT


@cache
def make(spec: CoderSpec) -> Coder:
    """The coder of a spec. It is made once per process.

    Raises UsageError when it is not available.
    """
    coder = _ours(spec) if spec.ours else make_peer(spec.name)
    if not spec.bitstream and spec.pixels is None:
        return coder
    names = []
    digest = _head_digest(spec)
    if spec.bitstream and digest:
        names.append(f"classifier {digest[:8]}")
    if spec.pixels:
        names.append(f"pixels' classifier {spec.pixels.digest[:8]}")
    return coder.classified_by(tuple(names))


def _ours(spec: CoderSpec) -> Coder:
    head = spec.head.path if spec.head else None
    entry = weights.find(spec.name)
    return TicodecCoder(entry, spec.device, spec.qualities, head, spec.effort)


def _head_digest(spec: CoderSpec) -> str:
    """SHA-256 of the classifier of latents, or "" if it is part of the weights file."""
    if spec.head:
        return spec.head.digest
    shipped = weights.find(spec.name).head if spec.ours else None
    return shipped.sha256 if shipped else ""


def with_head(specs: list[CoderSpec], path: Path) -> list[CoderSpec]:
    """The specs, with a classifier file for every spec whose latents the classifier reads.

    Raises BadInputError when the classifier does not read latents, UsageError when none of the
    specs has the weights whose latents it reads.
    """
    from ticodec.classifier import read_head

    config, _ = read_head(path, None)
    if config.stem != "latents":
        raise BadInputError(f"{path}: this classifier reads pixels; give it as `classifier`")
    head = HeadFile(path, hashlib.sha256(read_file(path)).hexdigest())
    changed = [
        replace(spec, head=head)
        if spec.ours and weights.find(spec.name).fingerprint.hex() == config.fingerprint
        else spec
        for spec in specs
    ]
    if changed == specs:
        wanted = f"{config.codec} ({config.fingerprint})"
        raise UsageError(f"{path} reads the latents of {wanted}; name these weights as `model`")
    return changed
