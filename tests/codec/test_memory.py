"""Images that do not fit into memory are refused before their pixels are decoded."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from support import make_pixels

import ticodec
from ticodec import api, memory, weights
from ticodec.errors import BadInputError, TicodecError

#: Runs a command with two GiB free and prints what its process had at most, in KiB.
PEAK = """if True:
    import os, pathlib, sys
    from ticodec import memory
    from ticodec.cli import app
    memory.available = lambda: 2 << 30
    out = os.dup(1)  # a command that fails closes its own
    try:
        app.main()
    finally:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        os.write(out, next(line for line in lines if line.startswith("VmHWM")).encode())
"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A black PNG of 20,000×20,000 pixels: 49 kB, and 1.2 GB as pixels."""
    side = 20_000
    deflate = zlib.compressobj(9, wbits=15)
    row = bytes(1 + side // 8)  # one bit a pixel
    pixels = b"".join(deflate.compress(row * 100) for _ in range(side // 100)) + deflate.flush()
    path = tmp_path_factory.mktemp("huge") / "huge.png"
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", pixels))
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in (*chunks, (b"IEND", b"")):
            file.write(struct.pack(">I", len(body)) + kind + body)
            file.write(struct.pack(">I", zlib.crc32(kind + body)))
    return path


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pixel may be decoded, and two GiB are free."""

    def load(self: Image.Image) -> None:
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(memory, "available", lambda: 2 << 30)


NEED = r"20000×20000 pixels need about .* GiB of memory with tic-lite, 2.0 GiB are free"


def test_the_library_decodes_no_pixels(undecoded: None, huge: Path, tiny) -> None:
    for image in (huge, huge.read_bytes(), Image.open(huge)):
        for call in (ticodec.encode, ticodec.classify):
            with pytest.raises(TicodecError, match=NEED):
                call(image, device="cpu")
        with pytest.raises(TicodecError, match=NEED):
            tiny.encode(image)


def test_the_command_decodes_no_pixels(undecoded: None, huge: Path, run, tmp_path: Path) -> None:
    words = ("20000×20000 pixels need about", "GiB of memory with tic-lite, 2.0 GiB are free")
    run("encode", huge, tmp_path / "x.tic", "--device", "cpu").fails(1, "huge.png: ", *words)
    run("classify", huge, "--device", "cpu").fails(1, "huge.png: ", *words)


def test_a_worker_decodes_no_pixels(undecoded: None, huge: Path, tmp_path: Path) -> None:
    from ticodec.batch.messages import Item, Job
    from ticodec.batch.worker import Worker

    source, target = str(huge.parent), str(tmp_path)
    for action in ("encode", "classify"):
        job = Job(action, source, target, model="tiny", device="cpu")
        (row,) = Worker(job).run([Item(huge.name, "x.tic")])
        assert row.status == "failed"
        assert row.error.startswith("20000×20000 pixels need about")


def test_refusing_takes_little_memory(huge: Path) -> None:
    """Torch alone would take more; with --device auto it is asked whether there is a GPU."""
    command = [sys.executable, "-c", PEAK, "encode", str(huge), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "20000×20000 pixels need about" in done.stderr
    assert int(done.stdout.split()[1]) < 200 * 1024


def test_the_size_is_that_of_the_upright_image(monkeypatch, tmp_path: Path, tiny) -> None:
    """Orientation 6 turns a photo by 90 degrees; a PNG may have its EXIF behind the pixels."""
    asked = []
    monkeypatch.setattr(memory, "check_picture", lambda config, *size: asked.append(size))
    image = Image.fromarray(make_pixels(40, 70))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "upright.png")
    tiny.encode(tmp_path / "turned.jpg")
    tiny.encode(tmp_path / "upright.png")
    tiny.encode(np.asarray(image))
    assert asked == [(70, 40)] * 2 + [(40, 70)] * 4


def test_damaged_weights_are_not_called_a_lack_of_memory(monkeypatch, tmp_path: Path) -> None:
    """The check before the pixels leaves them to those who load them."""
    monkeypatch.setattr(memory, "available", lambda: 0)
    entry = replace(weights.find("tiny"), path=tmp_path / "x.safetensors")
    for data in (None, b"nothing", save({}, {"format": "2"}), save({}, {"format": "1"})):
        if data is not None:
            entry.path.write_bytes(data)
        with pytest.raises(BadInputError, match=r"x.safetensors: "):
            weights.read_config(entry)
        api.room_for(entry, "cpu")(70, 90)
    with pytest.raises(TicodecError, match=r"^90×70 pixels need about"):
        api.room_for(weights.find("tiny"), "cpu")(70, 90)
