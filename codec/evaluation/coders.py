"""What evaluation measures: anything that turns pixels into bytes and back, at some settings."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from ticodec import __version__, weights
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import read_file
from ticodec.images import Picture, Pixels

from .classes import PixelFile, normal, place


class Coder(ABC):
    """A codec under measurement. What it is given is opaque RGB without metadata.

    Attributes:
        name: as in `--against`; version: what decides its bytes besides pixels and setting
            (library versions, or the fingerprint of the weights), part of a measurement's key.
        suffix: of its files, with the dot; mime: a type that browsers show, "" if none.
        knob: what its setting is called; settings: every one that makes sense, from small
            files to large; ladder: those measured for a curve, in the same order; default: the
            one taken when nobody says, where there is such a thing.
        classified: whether a classifier is shown what it makes; `version` then says which.
    """

    name: str
    version: str
    suffix: str
    mime: str = ""
    knob: str = "quality"
    settings: tuple[float, ...]
    ladder: tuple[float, ...]
    default: float = 0.0
    classified: bool = False

    @abstractmethod
    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """(H, W, 3) uint8 to a whole file's bytes."""

    @abstractmethod
    def decode(self, data: bytes) -> Pixels:
        """A file's bytes to (H, W, 3) uint8."""

    def labels(self) -> frozenset[str]:
        """Classes, in normal form, that its files can be told to be of without being decoded.

        Raises BadInputError when what tells them is damaged.
        """
        return frozenset()

    def place(self, data: bytes, label: str) -> int | None:
        """Where one of these classes comes for a file's bytes: 1 is the most probable.

        None when nothing tells what is in its files.
        """
        return None

    def prepare(self) -> None:
        """Code something small: to warm up, so that timing is fair, and to see that it works.

        Raises UsageError with what is missing and how to get it.
        """
        self.decode(self.encode(np.zeros((64, 64, 3), np.uint8), self.ladder[0]))


class Ours(Coder):
    """One of this package's models.

    Args:
        entry: its weights; device: "auto", "cpu" or "cuda".
        qualities: for the curve; None: 1 … 8, or the one quality of a fixed-λ model.
        head: a classifier's file, in place of the one that comes with the weights.
    """

    suffix = ".tic"

    def __init__(
        self,
        entry: weights.Entry,
        device: str,
        qualities: tuple[float, ...] | None = None,
        head: Path | None = None,
    ) -> None:
        from ticodec.codec import pick_device

        self.entry, self.device, self.head = entry, device, head
        self.default = entry.checked_quality(None) or 0.0
        self.name = entry.name
        place = pick_device(device).type  # seconds of one device are not another's
        self.version = f"ticodec {__version__}, weights {entry.fingerprint.hex()}, {place}"
        if entry.qualities is None:
            self.settings = self.ladder = (0.0,)
            if qualities:
                entry.checked_quality(qualities[0])  # raises: it has one fixed quality
            return
        low, high = entry.qualities
        self.settings = tuple(np.arange(low, high + 1 / 64, 1 / 32).tolist())
        for quality in qualities or ():
            entry.checked_quality(quality)
        self.ladder = qualities or tuple(np.arange(low, high + 0.5).tolist())

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """A `.tic` file; the setting is the quality, ignored by a model that has but one."""
        from ticodec.api import loaded

        quality = setting if self.entry.qualities else None
        return loaded(self.entry, self.device).encode(Picture(pixels), quality)

    def decode(self, data: bytes) -> Pixels:
        """What `ticodec decode` shows of it."""
        from ticodec.api import loaded

        return loaded(self.entry, self.device).decode(data).pixels

    def labels(self) -> frozenset[str]:
        """Of its classifier: its own, or the one that these weights come with; or none."""
        from ticodec.api import loaded

        codec = loaded(self.entry, self.device)
        try:
            return frozenset(map(normal, codec.classifier(self.head).labels))
        except BadInputError:
            if self.head or self.entry.head:
                raise  # there is one, and it is damaged
            return frozenset()

    def place(self, data: bytes, label: str) -> int | None:
        """From the latents, as `ticodec classify` reads them: no pixels are made."""
        from ticodec.api import loaded

        codec = loaded(self.entry, self.device)
        found = codec.classify(data, len(codec.classifier(self.head).labels), self.head)
        return place((each.label for each in found), label)


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
    from .peers import peer

    coder: Coder
    if spec.ours:
        entry = weights.find(spec.name)
        coder = Ours(entry, spec.device, spec.qualities, spec.head.path if spec.head else None)
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


@contextmanager
def blamed(coder: Coder) -> Iterator[None]:
    """Whatever is raised becomes one line about the coder."""
    try:
        yield
    except TicodecError as error:
        if str(error).startswith(coder.name):
            raise
        raise type(error)(f"{coder.name}: {error}") from error
    except MemoryError as error:
        raise TicodecError(f"{coder.name}: not enough memory") from error
    except Exception as error:
        raise TicodecError(f"{coder.name}: {type(error).__name__}: {error}") from error


def closest(
    coder: Coder, pixels: Pixels, target: int, known: Mapping[float, int] | None = None
) -> float:
    """The setting whose file is nearest to a number of bytes, by bisection over `settings`.

    Args:
        known: sizes by setting that need not be found out again.

    Raises TicodecError when the coder fails.
    """
    sizes = dict(known or {})

    def size(index: int) -> int:
        setting = coder.settings[index]
        if setting not in sizes:
            with blamed(coder):
                sizes[setting] = len(coder.encode(pixels, setting))
        return sizes[setting]

    low, high = 0, len(coder.settings) - 1
    for index, setting in enumerate(coder.settings):  # begin between the known ones
        if setting in sizes:
            low, high = (max(low, index), high) if sizes[setting] <= target else (low, index)
            if high == index:
                break
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if size(middle) > target else (middle, high)
    size(low), size(high)
    return min(sizes, key=lambda setting: abs(sizes[setting] - target))
