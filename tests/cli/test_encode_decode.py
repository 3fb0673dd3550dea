"""`encode` and `decode` as a user runs them, and everything that can go wrong."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import make_pixels

import ticodec

TINY = ("-m", "tiny")


@pytest.mark.usefixtures("bf16")
def test_there_and_back_with_default_names(run, photo: Path) -> None:
    assert run("encode", photo, *TINY).code == 0
    tic = photo.with_suffix(".tic")
    original = photo.read_bytes()
    run("decode", tic).fails(
        2, "photo.png exists already; give another name, or -f to overwrite it"
    )
    assert photo.read_bytes() == original
    assert run("decode", tic, "-f").code == 0
    assert Image.open(photo).size == (90, 70)
    assert photo.read_bytes() != original


def test_json_of_encode_and_decode(run, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tic"
    facts = json.loads(run("encode", photo, out, "-q", 2.5, *TINY, "--json").out)
    assert list(facts) == [
        "input", "output", "model", "quality", "width", "height", "bytes", "bpp", "seconds",
        "effort", "notes",
    ]  # fmt: skip
    assert facts["bytes"] == out.stat().st_size
    assert facts["bpp"] == pytest.approx(8 * facts["bytes"] / (90 * 70), abs=1e-4)
    assert (facts["quality"], facts["width"], facts["height"]) == (2.5, 90, 70)
    facts = json.loads(run("decode", out, tmp_path / "b.png", "--json").out)
    assert facts["output"] == str(tmp_path / "b.png")
    assert (facts["quality"], facts["model"]) == (2.5, "tiny")


def test_quality_is_4_by_default(run, photo: Path) -> None:
    assert json.loads(run("encode", photo, *TINY, "--json").out)["quality"] == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "quality 4"),
        (("-q", 2.5), "quality 2.5"),
        (("--effort", 2), "quality 4, effort 2"),
        (("--target-size", "400B", "--effort", 2), "quality \\d.\\d\\d, effort 2"),
    ],
)
def test_the_line_of_encode_has_quality_and_effort(
    run, photo: Path, options: tuple[object, ...], words: str
) -> None:
    done = run("encode", photo, *TINY, *options)
    assert re.search(rf" bpp, {words}, \d+\.\d s\n", done.out), done.out


def test_quiet_prints_nothing(run, photo: Path) -> None:
    result = run("encode", photo, *TINY, "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_an_output_folder_gets_the_default_name(run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert run("encode", photo, tmp_path / "sub", *TINY).code == 0
    assert (tmp_path / "sub" / "photo.tic").exists()


def test_stdin_and_stdout(shell, photo: Path) -> None:
    coded = shell("encode", "-", "-", *TINY, input=photo.read_bytes())
    assert coded.returncode == 0, coded.stderr
    assert coded.stdout.startswith(b"\x89TIC")
    decoded = shell("decode", "-", "--json", input=coded.stdout)
    assert Image.open(io.BytesIO(decoded.stdout)).size == (90, 70)
    assert json.loads(decoded.stderr)["output"] == "-"


# -- bad input: exit 3 ------------------------------------------------------------------


def test_not_an_image(run, tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("hello")
    run("encode", path, *TINY).fails(3, str(path), "not an image")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.png"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "avif"])
def test_truncated_image(run, photo: Path, tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    Image.open(photo).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    run("encode", path, *TINY).fails(3, str(path), "image")
    assert not path.with_suffix(".tic").exists()


def test_missing_input_and_folder_as_input(run, tmp_path: Path) -> None:
    run("encode", tmp_path / "no.png", *TINY).fails(3, "no.png", "No such file")
    run("encode", tmp_path, tmp_path / "x.tic", *TINY).fails(3, "a folder")
    run("decode", tmp_path / "no.tic").fails(3, "no.tic", "No such file")


def test_too_many_pixels(run, photo: Path, encoded: Path) -> None:
    run("encode", photo, "-f", *TINY, "--max-pixels", 6299).fails(3, "90×70", "6,299")
    run("decode", encoded, "-f", "--max-pixels", 6299).fails(3, "90×70", "--max-pixels")
    assert run("encode", photo, "-f", *TINY, "--max-pixels", 6300).code == 0


def test_a_bomb_is_refused_before_its_pixels_are_allocated(shell, tmp_path: Path) -> None:
    """A PNG of 190 KB has 40000×40000 pixels, which would take 1.6 GB. 600 MB must be enough."""
    import resource

    path = tmp_path / "bomb.png"
    Image.new("1", (40_000, 40_000)).save(path)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (600_000_000, 600_000_000))

    done = shell("encode", path, *TINY, preexec_fn=limit)
    assert done.returncode == 3, done.stderr
    assert b"40000\xc3\x9740000 pixels" in done.stderr


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda d: b"", "empty"),
        (lambda d: d[:3], "ends too early"),
        (lambda d: d[:-1], "ends too early"),
        (lambda d: d[: len(d) // 2], "ends too early"),
        (lambda d: d[:40] + bytes([d[40] ^ 4]) + d[41:], "checksum"),
        (lambda d: d[:6] + b"\x09" + d[7:], "format version 9"),
        (lambda d: b"\xff\xd8\xff\xe0" + d[4:], "not a .tic file"),
        (lambda d: np.random.default_rng(1).bytes(500), "not a .tic file"),
        (lambda d: d + d, "after its end"),
    ],
)
@pytest.mark.parametrize("command", ["decode", "info"])
def test_damaged_files(run, encoded: Path, tmp_path: Path, damage, word: str, command) -> None:
    bad = tmp_path / "bad.tic"
    bad.write_bytes(damage(encoded.read_bytes()))
    run(command, bad).fails(3, str(bad), word)
    assert not (tmp_path / "bad.png").exists()


def test_other_weights(run, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TICODEC_WEIGHTS")
    run("decode", encoded, "-f").fails(3, "37eb2f07", "not installed", "TICODEC_WEIGHTS")


def test_missing_and_damaged_weights(run, photo, encoded, golden, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(golden / "weights", folder)
    monkeypatch.setenv("TICODEC_WEIGHTS", str(folder))
    file = folder / "tiny.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:1000] + b"?" + data[1001:])
    run("decode", encoded, "-f").fails(3, "tiny.safetensors", "damaged weights")
    file.unlink()
    run("encode", photo, "-f", *TINY).fails(3, "tiny.safetensors", "missing")
    (folder / "manifest.json").write_text("{")
    run("encode", photo, "-f", *TINY).fails(3, "manifest.json", "damaged")
    (folder / "manifest.json").unlink()
    run("encode", photo, "-f", *TINY).fails(3, "manifest.json", "no manifest")


# -- wrong usage: exit 2 ----------------------------------------------------------------


@pytest.mark.parametrize("quality", ["0", "8.5", "-3", "nan"])
def test_quality_out_of_range(run, photo: Path, quality: str) -> None:
    run("encode", photo, *TINY, f"-q{quality}").fails(2, "quality must be from 1 to 8")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["encode"], "ticodec encode"),
        (["encode", "a.png", "-q", "high"], "ticodec encode"),
        (["encode", "a.png", "--speed", "9"], "ticodec encode"),
        (["transcode", "a.png"], "ticodec"),
        (["decode", "a.tic", "b.png", "c.png"], "ticodec decode"),
        (["batch", "encode", "photos"], "ticodec batch encode"),
    ],
)
def test_wrong_arguments(run, arguments: list[str], command: str) -> None:
    run(*arguments).fails(2, f"(see {command} --help)")


def test_odd_names(run, photo: Path, encoded: Path) -> None:
    for name in (".", "/"):
        said = f"{name}: it is a folder; `ticodec batch encode {name} TARGET`"
        run("encode", name, *TINY).fails(3, said)
    run("decode", photo).fails(3, f"{photo}: not a .tic file")
    odd = encoded.rename(photo.with_name("odd.png"))
    run("decode", odd).fails(2, "is the input; name another output")


def test_help_without_arguments(run) -> None:
    result = run()
    assert result.code == 2
    assert "Usage" in result.out + result.err
    assert "ticodec: " not in result.err


def test_an_empty_argument_is_refused(run, encoded: Path, tmp_path: Path, monkeypatch) -> None:
    """A script passes `--out "$OUT"` with an empty argument if its variable is not set."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for words in (
        ("decode", ""),
        ("info", ""),
        ("decode", encoded, ""),
        ("export", encoded, "--out", ""),
        ("export", encoded, "--out="),
        ("batch", "encode", "", "out"),
        ("classify", encoded, "--weights", ""),
    ):
        run(*words).fails(2, "'' is no file, name or number")
    assert sorted(tmp_path.iterdir()) == before


def test_too_long_a_name_is_refused_before_any_work(run, photo: Path, encoded: Path) -> None:
    for name in ("n" * 300, "é" * 150):
        long = photo.with_name(f"{name}.png")
        run("decode", encoded, long).fails(2, f"{long}: the output's name is too long; 255 bytes")
        run("encode", long, *TINY).fails(2, f"{long}: the input's name is too long; 255 bytes")
    report = photo.with_name(f"{'n' * 300}.json")
    arguments = ("batch", "encode", photo, photo.parent / "out", *TINY, "--report", report)
    run(*arguments).fails(2, f"{report}: its name is too long")
    assert not (photo.parent / "out").exists()


def test_limits_below_one(run, photo: Path) -> None:
    run("encode", photo, "-f", *TINY, "--max-pixels", -5).fails(2, "--max-pixels")
    run("encode", photo, "-f", *TINY, "--max-pixels", 0).fails(2, "--max-pixels")


def test_errors_name_the_file_whatever_it_is_called(run, tmp_path: Path, monkeypatch) -> None:
    """This also holds if the file has the name of an argument, or a word of the message."""
    monkeypatch.chdir(tmp_path)
    Path("not").write_text("hello")
    run("encode", "not", *TINY).fails(3, "not: not an image")
    for name in ("`quality`.png", "`quality`", "a `quality` b.png"):
        Path(name).write_text("hello")
        run("encode", name, *TINY).fails(3, f"ticodec: {name}: not an image")
        output = Path(name).with_suffix(".tic")
        output.write_text("there")
        run("encode", name, *TINY).fails(2, f"ticodec: {output} exists already")
        output.unlink()


def test_output_streams_without_unicode_or_space(photo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ticodec", "encode", str(photo), "-f", *TINY]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "ticodec: the output cannot be written: No space left on device\n"


def test_wrong_outputs(run, photo: Path, encoded: Path, tmp_path: Path) -> None:
    run("encode", photo, *TINY).fails(2, "exists already")
    run("encode", photo, tmp_path / "x.jpg", *TINY).fails(2, "must end in .tic")
    run("decode", encoded, tmp_path / "x.gif").fails(2, "must end in .png, .webp", "or .tiff")
    run("encode", photo, tmp_path / "no" / "x.tic", *TINY).fails(2, "there is no folder")
    run("encode", photo, "-m", "nope", tmp_path / "x.tic").fails(2, "'nope'; installed: tiny")
    run("encode", photo, *TINY, "--device", "tpu", tmp_path / "x.tic").fails(2, "device")


# -- failures: exit 1, and no half-written file ------------------------------------------


def test_a_folder_that_takes_no_files(run, encoded: Path) -> None:
    """/proc refuses new files even to root."""
    run("decode", encoded, "/proc/x.png").fails(1, "/proc/x.png: cannot be written")


def test_disk_full_leaves_nothing(run, encoded: Path, tmp_path: Path, monkeypatch) -> None:
    """The disk becomes full while a file is written: the old output stays, no part is left."""
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    run("decode", encoded, target, "-f").fails(1, "out.png: cannot be written: No space left")
    assert target.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png", "photo.png", "photo.tic"]


def test_an_image_that_does_not_fit_into_memory(run, photo, encoded, tmp_path, monkeypatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 999 kB\nMemAvailable:  100 kB\n")
    monkeypatch.setattr("ticodec.memory.MEMINFO", meminfo)
    remedy = "or a smaller image"  # this does not help with a .tic file that exists
    run("encode", photo, "-f", *TINY).fails(1, "90×70 pixels need about", "GiB", remedy)
    refused = run("decode", encoded, tmp_path / "x.png")
    refused.fails(1, "90×70 pixels need about", "GiB")
    assert remedy not in refused.err
    assert not (tmp_path / "x.png").exists()


def test_a_really_full_device(shell, encoded: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "ticodec", "decode", str(encoded), "-"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "ticodec: stdout cannot be written: No space left on device"
    ]


def test_interrupt_leaves_a_complete_output_or_none(tmp_path: Path) -> None:
    """The command is interrupted at different moments: while it imports, encodes or ends."""
    photo, target = tmp_path / "photo.png", tmp_path / "out.tic"
    Image.fromarray(make_pixels(500, 700)).save(photo)
    command = [sys.executable, "-m", "ticodec", "encode", str(photo), str(target), *TINY]
    began = time.monotonic()  # a busy machine takes long until the command can catch a signal
    subprocess.run([sys.executable, "-c", "import ticodec.cli.app"], check=True)
    loading, stopped = time.monotonic() - began, 0
    for delay in (0.3, 0.6, 0.9, 1.3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(loading + delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert "Traceback" not in err
        if process.returncode == 130:
            assert err == "ticodec: interrupted\n"
            stopped += 1
        assert {p.name for p in tmp_path.iterdir()} <= {"photo.png", "out.tic"}
        if target.exists():
            assert ticodec.info(target.read_bytes())["width"] == 700
            target.unlink()
    assert stopped


def test_a_link_to_a_missing_file_is_not_replaced(run, encoded: Path, tmp_path: Path) -> None:
    """It may point to a disk that is not mounted now."""
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "nowhere")
    run("decode", encoded, link).fails(
        2, "link.png exists already; give another name, or -f to overwrite it"
    )
    assert link.is_symlink()


def test_the_file_that_a_link_points_to_is_written(run, encoded: Path, tmp_path: Path) -> None:
    """It is written atomically, so the temporary file is beside it. The link stays."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file.png").write_bytes(b"old")
    link, second = tmp_path / "link.png", tmp_path / "second.png"
    link.symlink_to("folder/file.png")
    second.symlink_to("link.png")
    for name in (link, second):
        (folder / "file.png").write_bytes(b"old")
        assert run("decode", encoded, name, "-f").code == 0
        assert name.is_symlink()
        assert Image.open(folder / "file.png").size == (90, 70)
    assert [path.name for path in folder.iterdir()] == ["file.png"]
    link.unlink()
    link.symlink_to("nowhere/file.png")
    run("decode", encoded, link, "-f").fails(2, "link.png: there is no folder", "nowhere")
    assert link.is_symlink()
