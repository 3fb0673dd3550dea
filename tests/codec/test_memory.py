"""Images that do not fit in memory are refused before their pixels are decoded."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from support import make_pixels

import ticodec
from ticodec import api, memory, weights
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.families import config_from

#: Runs a command as if 2 GiB were free, and prints the peak memory of its process in KiB.
PEAK = """if True:
    import os, pathlib, sys
    from ticodec import memory
    from ticodec.cli import app
    memory.available = lambda: 2 << 30
    out = os.dup(1)  # a command that fails redirects its stdout
    try:
        app.main()
    finally:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        os.write(out, next(line for line in lines if line.startswith("VmHWM")).encode())
"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A black PNG of 20,000×20,000 pixels. The file has 49 kB. The pixels take 1.2 GB."""
    side = 20_000
    deflate = zlib.compressobj(9, wbits=15)
    row = bytes(1 + side // 8)  # one bit per pixel
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
    """Makes decoding of pixels fail the test, as if 2 GiB were free."""

    def load(self: Image.Image) -> None:
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(memory, "available", lambda: 2 << 30)


NEED = r"20000×20000 pixels need about .* GiB of memory with tic-lite, but only 2.00 GiB are free"


def test_the_library_decodes_no_pixels(undecoded: None, huge: Path, tiny) -> None:
    for image in (huge, huge.read_bytes(), Image.open(huge)):
        for call in (ticodec.encode, ticodec.classify):
            with pytest.raises(TicodecError, match=NEED):
                call(image, device="cpu")
        with pytest.raises(TicodecError, match=NEED):
            tiny.encode(image)


def test_the_command_decodes_no_pixels(undecoded: None, huge: Path, run, tmp_path: Path) -> None:
    words = ("20000×20000 pixels need about", "memory with tic-lite, but only 2.00 GiB are free")
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
    """Importing torch would take more. `--device auto` imports it to look for a GPU."""
    command = [sys.executable, "-c", PEAK, "encode", str(huge), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "20000×20000 pixels need about" in done.stderr
    assert int(done.stdout.split()[1]) < 200 * 1024


def test_the_size_is_that_of_the_upright_image(monkeypatch, tmp_path: Path, tiny) -> None:
    """Orientation 6 turns a photo by 90 degrees. A PNG may have its EXIF after the pixels."""
    asked = []
    monkeypatch.setattr(memory, "check_picture", lambda _, *size, effort: asked.append(size))
    image = Image.fromarray(make_pixels(40, 70))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "upright.png")
    tiny.encode(tmp_path / "turned.jpg")
    tiny.encode(tmp_path / "upright.png")
    tiny.encode(np.asarray(image))
    assert asked == [(70, 40)] * 2 + [(40, 70)] * 4


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("0.5 k", 512),
        (" 10 KB ", 10_000),
        ("1500MB", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("3G", 3 << 30),
        ("1tib", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert memory.size_of(text) == size


WRONG = ["", "2", "GiB", "2 apples", "-1G", "0B", "0.2B", "1e3M", "2GiB 1", "2Gi"]


@pytest.mark.parametrize("text", WRONG)
def test_texts_that_are_not_sizes(monkeypatch, text: str) -> None:
    monkeypatch.setenv(memory.LIMIT, "1GiB")
    with pytest.raises(UsageError, match=r"^`memory` must be a size such as 2GiB, 1500MB or 3G"):
        ticodec.set_memory(text)
    assert memory.limit() == 1 << 30


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that sets a limit which leaves a number of bytes, as if 2 GiB were free.

    The limit is removed after the test.
    """
    monkeypatch.setenv(memory.LIMIT, "")
    monkeypatch.setattr(memory, "free", lambda: 2 << 30)
    monkeypatch.setattr(memory, "used", lambda: 1 << 30)
    return lambda left: ticodec.set_memory((1 << 30) + left)


def test_a_limit_includes_memory_in_use(limited: Callable[[int], None]) -> None:
    assert memory.available() == 2 << 30
    for left in (-1, 0, 5, 3 << 30):
        limited(left)
        assert memory.available() == min(max(left, 0), 2 << 30)
    ticodec.set_memory(None)
    assert memory.available() == 2 << 30


def test_memory_in_use_is_counted() -> None:
    """Runs in a new process, because another one may reuse memory that it freed before."""
    program = """if True:
        import numpy
        from ticodec import memory
        before = memory.used()
        block = numpy.ones(50 << 20, numpy.uint8)
        print(memory.used() - before)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 45 << 20 < int(done.stdout) < 100 << 20, done.stderr


def test_the_message_names_the_limit(limited, tiny, picture) -> None:
    limited(1000)
    message = "0.00 GiB are left of a limit of 1.00 GiB; use a higher `memory`, or a smaller image"
    with pytest.raises(TicodecError, match=f"^90×70 pixels need .*{message}$"):
        tiny.encode(picture(70, 90))


def test_the_commands_limit(limited, run, photo: Path, tmp_path: Path) -> None:
    """A limit of 1 GiB is used up, so that encoding, decoding and classifying are refused."""
    tic, tree = tmp_path / "x.tic", tmp_path / "tics"
    model = ("-m", "tiny", "--device", "cpu")
    assert run("encode", photo, tic, *model, "--memory", "3GiB").code == 0
    assert os.environ[memory.LIMIT] == f"{3 << 30}B"
    words = ("90×70 pixels need", "are left of a limit of 1.00 GiB; use a higher --memory")
    small = ("--memory", "1GiB", "--device", "cpu")
    run("encode", photo, tic, "-f", "-m", "tiny", *small).fails(1, *words)
    run("decode", tic, tmp_path / "x.png", *small).fails(1, *words)
    run("classify", tic, *small).fails(1, *words)
    for command in ("encode", "decode", "classify", "compare", "evaluate"):
        wrong = run(command, photo, "--memory", "much")
        wrong.fails(2, "--memory must be a size such as 2GiB, 1500MB or 3G, not 'much'")
        run(command, photo, "--memory", "9" * 400 + "G").fails(2, "--memory must be a size")
    run("batch", "encode", photo, tree, "--memory", "1").fails(2, "--memory must be a size")
    unit = "--memory must be a size such as 2GiB, 1500MB or 3G, not '2': its unit is missing"
    run("encode", photo, "--memory", "2").fails(2, unit)


def test_workers_share_the_limit(limited, run, photo: Path, tmp_path: Path) -> None:
    """The first limit is used up already, the second one is high enough."""
    for name in ("a", "b"):
        shutil.copy(photo, tmp_path / f"{name}.png")
    photo.unlink()
    words = ("batch", "encode", tmp_path, tmp_path / "out", "-m", "tiny", "--device", "cpu")
    done = run(*words, "--jobs", 2, "--memory", "200MB")
    assert done.code == 1
    assert "GiB are left of a limit of 0.00 GiB; use a higher --memory" in done.err
    assert run(*words, "--jobs", 2, "--memory", "8GiB").code == 0


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch, tiny) -> None:
    """Makes memory seem enough to encode a picture of 70×90 pixels, but not to refine it."""
    least, more = (memory.needed(tiny.config, 70, 90, effort=effort) for effort in (1, 2))
    assert memory.needed(tiny.config, 70, 90, effort=9) == more > least
    monkeypatch.setattr(memory, "available", lambda: int(least + 1))


LESS = "GiB are free; use a machine with more memory, or an `effort` of 1"


def test_effort_needs_memory(tight: None, tiny, picture, photo: Path) -> None:
    small = picture(70, 90)
    tiny.encode(small)
    for call in (
        lambda: tiny.encode(small, effort=2),
        lambda: tiny.encode(small, ticodec.Target("psnr", 20), effort=2),
        lambda: ticodec.encode(photo, model="tiny", device="cpu", effort=9),
    ):
        with pytest.raises(TicodecError, match=rf"^90×70 pixels need about .*{LESS}$"):
            call()
    with pytest.raises(TicodecError, match=r"or a smaller image$"):  # effort 1 would not help
        tiny.encode(picture(700, 900), effort=2)


def test_the_commands_suggest_less_effort(tight: None, run, photo: Path, tmp_path: Path) -> None:
    model = ("-m", "tiny", "--device", "cpu")
    run("encode", photo, tmp_path / "x.tic", *model, "--effort", 3).fails(1, "an --effort of 1")
    assert run("encode", photo, tmp_path / "x.tic", *model).code == 0


def test_a_worker_refuses_too_much_effort(undecoded: None, tight: None, photo: Path) -> None:
    from ticodec.batch.messages import Item, Job
    from ticodec.batch.worker import Worker

    job = Job("encode", str(photo.parent), str(photo.parent), model="tiny", device="cpu", effort=2)
    have = memory.available()
    for one in (job, replace(job, part=have), replace(job, part=have // 2, parts=2)):
        (row,) = Worker(one).run([Item(photo.name, "x.tic")])
        assert row.error.endswith(LESS)


def test_memory_for_effort_is_bounded() -> None:
    """For images larger than a block only maps of latents take more."""
    for name in ("tic-lite", "tic-plus", "icat-lite"):
        config = config_from(weights.read_config(weights.find(name)))
        one, two, four = (
            memory.needed(config, 768, side, effort=2) - memory.needed(config, 768, side)
            for side in (768, 1536, 3072)
        )
        assert 0 < two - one < one / 5
        assert four - two == pytest.approx(2 * (two - one))


def test_damaged_weights_are_not_reported_as_a_lack_of_memory(monkeypatch, tmp_path: Path) -> None:
    """The check before the pixels ignores damaged weights. Loading them gives the error."""
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
