"""Peers that are programs on the PATH: BPG (HEVC intra) and VTM (VVC's reference software).

They run with the options of the published curves: 4:4:4, 8 bits, YCbCr. Their seconds include
starting the program and reading and writing files.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ticodec.errors import TicodecError, UsageError
from ticodec.evaluation.coder import Coder
from ticodec.picture import Pixels

#: VTM takes minutes for a 768×512 photo. A program that takes this long has hung.
PATIENCE_SECONDS = 3600


def program(*names: str) -> str:
    """The path of the first of these programs that is on the PATH.

    Raises UsageError when none is.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    raise UsageError(f"{' or '.join(names)} is not on the PATH; install it, or leave it out")


def call(*command: object) -> str:
    """Run a program and return what it printed. Raises TicodecError when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TicodecError(f"{words[0]} cannot be run: {error}") from error
    printed = done.stdout.decode(errors="replace")
    if done.returncode:
        last = (printed.strip().splitlines() or ["nothing printed"])[-1]
        raise TicodecError(f"{words[0]} failed with exit code {done.returncode}: {last}")
    return printed


def version_of(path: str) -> str:
    """The line with the version in a program's help."""
    try:
        done = subprocess.run([path, "-h"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} cannot be run: {error}") from error
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if "ersion" in line), Path(path).name)


class Bpg(Coder):
    """`bpgenc` and `bpgdec`, with x265, the default encoder."""

    name, suffix, knob = "bpg", ".bpg", "QP"
    settings = tuple(float(qp) for qp in range(51, -1, -1))
    ladder = (47.0, 42.0, 37.0, 32.0, 27.0, 22.0, 17.0, 12.0)

    def __init__(self) -> None:
        self.encoder, self.decoder = program("bpgenc"), program("bpgdec")
        self.version = version_of(self.encoder)

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Encode by way of a PNG file."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "image.png", Path(folder) / "image.bpg"
            Image.fromarray(pixels).save(source, compress_level=1)
            options = ("-q", int(setting), "-f", "444", "-c", "ycbcr", "-b", "8")
            call(self.encoder, *options, "-o", target, source)
            return target.read_bytes()

    def decode(self, data: bytes) -> Pixels:
        """Decode by way of a PNG file."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "image.bpg", Path(folder) / "image.png"
            source.write_bytes(data)
            call(self.decoder, "-o", target, source)
            return np.array(Image.open(target).convert("RGB"))


# BT.709, full range, on 0 … 255 with chroma around 128.
KR, KB = 0.2126, 0.0722
TO_YCBCR = np.array(
    [
        [KR, 1 - KR - KB, KB],
        [-KR / (2 - 2 * KB), -(1 - KR - KB) / (2 - 2 * KB), 0.5],
        [0.5, -(1 - KR - KB) / (2 - 2 * KR), -KB / (2 - 2 * KR)],
    ]
)
MIDDLE = np.array([0.0, 128.0, 128.0])


def to_ycbcr(pixels: Pixels) -> Pixels:
    """(H, W, 3) RGB to YCbCr (BT.709, full range), both uint8."""
    return _to_8_bit(pixels @ TO_YCBCR.T + MIDDLE)


def to_rgb(planes: Pixels) -> Pixels:
    """The inverse of `to_ycbcr`, except for rounding."""
    return _to_8_bit((planes - MIDDLE) @ np.linalg.inv(TO_YCBCR).T)


def _to_8_bit(values: NDArray[np.float64]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


class Vtm(Coder):
    """`EncoderApp` and `DecoderApp` of VTM, all intra.

    The configuration `encoder_intra_vtm.cfg` is the file that the variable VTM_CFG names, or else
    the one in `cfg` beside the program's folder, as in VTM's source tree.

    A raw VVC stream holds the size after padding to whole coding units. Four bytes before the
    stream hold the image's size. They are too few to change a curve.
    """

    name, suffix, knob = "vtm", ".vvc", "QP"
    settings = tuple(float(qp) for qp in range(63, -1, -1))
    ladder = (47.0, 42.0, 37.0, 32.0, 27.0, 22.0, 17.0, 12.0)
    unit = 8

    def __init__(self) -> None:
        self.encoder = program("EncoderAppStatic", "EncoderApp")
        self.decoder = program("DecoderAppStatic", "DecoderApp")
        beside = Path(self.encoder).resolve().parent.parent / "cfg" / "encoder_intra_vtm.cfg"
        self.config = Path(os.environ.get("VTM_CFG", beside))
        if not self.config.is_file():
            raise UsageError(
                f"vtm: there is no {self.config}; set VTM_CFG to VTM's encoder_intra_vtm.cfg"
            )
        self.version = version_of(self.encoder)

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Encode by way of a raw 4:4:4 file, with edges repeated up to a multiple of 8 pixels."""
        height, width = pixels.shape[:2]
        extra = [(0, -height % self.unit), (0, -width % self.unit), (0, 0)]
        planes = np.pad(to_ycbcr(pixels), extra, "edge").transpose(2, 0, 1)  # (3, H', W')
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "image.yuv", Path(folder) / "image.vvc"
            source.write_bytes(planes.tobytes())
            size = ("-wdt", planes.shape[2], "-hgt", planes.shape[1], "-f", "1", "-fr", "1")
            form = ("--InputChromaFormat=444", "--InputBitDepth=8")
            files = ("-c", self.config, "-i", source, "-b", target, "-o", os.devnull)
            call(self.encoder, *files, "-q", int(setting), *size, *form)
            return struct.pack("<HH", height, width) + target.read_bytes()

    def decode(self, data: bytes) -> Pixels:
        """Decode by way of a raw 4:4:4 file, and crop it to the image's size."""
        height, width = struct.unpack_from("<HH", data)
        shape = (3, height + -height % self.unit, width + -width % self.unit)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "image.vvc", Path(folder) / "image.yuv"
            source.write_bytes(data[4:])
            call(self.decoder, "-b", source, "-o", target, "-d", "8")
            samples = np.fromfile(target, np.uint8)
        if samples.size != np.prod(shape):
            raise TicodecError(f"{self.decoder} wrote {samples.size} samples, not {shape}")
        return to_rgb(samples.reshape(shape).transpose(1, 2, 0))[:height, :width]
