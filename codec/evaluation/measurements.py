"""Keeps measurements on disk, one per line, so that an interrupted run can continue."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ticodec.errors import TicodecError, UsageError
from ticodec.files import make_folder, write_file

LINES = "measurements.jsonl"
STREAMS = "streams"

#: What identifies a measurement: file digest, coder, its version, setting, class if classified.
Key = tuple[str, str, str, float, str | None]
#: Fields that a measurement has only when the image's class is known.
OF_CLASSES = ("label", "rank", "pixel_rank", "original_rank")


@dataclass(frozen=True)
class Measurement:
    """One image, coded and decoded by one coder at one setting.

    Args:
        image: SHA-256 of the image file.
        coder, version, setting: see `Coder`.
        stream: SHA-256 of the coded file.
        bytes: size of the complete file.
        bpp: bits per pixel.
        psnr: PSNR of 8-bit RGB in dB, or None if no sample differs.
        ms_ssim: MS-SSIM of 8-bit RGB, 0 … 1, or None if the image is too small.
        encode_seconds, decode_seconds: seconds from pixels to bytes and back, without loading the
            coder.
        label: the normalised class of the image, or None if it is unknown or nothing was
            classified.
        rank: rank of that class when the coded file is classified. 1 is the best. None if the file
            was not classified, or the classifier does not know the class.
        pixel_rank: rank of that class when the decoded pixels are classified.
        original_rank: rank of that class when the original pixels are classified.
    """

    image: str
    coder: str
    version: str
    setting: float
    stream: str
    bytes: int
    bpp: float
    psnr: float | None
    ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float
    label: str | None = None
    rank: int | None = None
    pixel_rank: int | None = None
    original_rank: int | None = None

    @property
    def key(self) -> Key:
        """What identifies this measurement."""
        return self.image, self.coder, self.version, self.setting, self.label

    def as_dict(self) -> dict[str, Any]:
        """The fields as a dict, without those of `OF_CLASSES` that are None."""
        fields = asdict(self)
        return {k: v for k, v in fields.items() if v is not None or k not in OF_CLASSES}


def check_folder(folder: Path) -> None:
    """Raises UsageError when a folder cannot take a report, because it holds other files."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the report")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / LINES).exists():
        raise UsageError(f"{folder} holds other files than a report; name another folder")


class Store:
    """The folder of a report. It holds the measurements, and every coded file under `streams/`.

    Args:
        folder: the folder. It is made if it does not exist.
        fresh: delete the measurements and files that it holds.

    Raises UsageError for a folder that holds other files, TicodecError when the folder cannot be
    written.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.path = folder, folder / LINES
        check_folder(folder)
        make_folder(folder)
        if fresh:
            shutil.rmtree(folder / STREAMS, ignore_errors=True)
            self.path.unlink(missing_ok=True)
        self.known: dict[Key, Measurement] = {}
        try:
            text = self.path.read_text() if self.path.exists() else ""
            with self.path.open("a") as file:  # the last line may be incomplete: end it
                file.write("" if text.endswith("\n") or not text else "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise TicodecError(f"{self.path}: cannot be read or written: {error}") from error
        for line in text.splitlines():
            try:
                measured = Measurement(**json.loads(line))
            except (ValueError, TypeError):
                continue  # incomplete, because a run was killed: it is measured again
            self.known[measured.key] = measured

    def stream(self, coder: str, setting: float, image: str, suffix: str) -> Path:
        """The path of a coded file.

        It has the image's digest instead of its name, which may have characters that no path has.
        """
        return self.folder / STREAMS / coder / f"{setting:.12g}" / f"{image[:16]}{suffix}"

    def add(self, measured: Measurement, stream: Path, data: bytes) -> None:
        """Write a measurement and its file to disk. Raises TicodecError when that fails."""
        make_folder(stream.parent)
        write_file(stream, data)
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(measured.as_dict()) + "\n")
        except OSError as error:
            raise TicodecError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.known[measured.key] = measured
