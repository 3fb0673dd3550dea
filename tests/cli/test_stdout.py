"""Output to "-" and printed text: they arrive completely, or the exit code is 1."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import make_pixels

COMMAND = [sys.executable, "-m", "ticodec"]


@pytest.fixture
def large(run, tmp_path: Path) -> Path:
    """A .tic file whose PNG is larger than the buffer of a pipe (64 KiB)."""
    path = tmp_path / "large.png"
    Image.fromarray(make_pixels(256, 256)).save(path)
    assert run("encode", path, "-m", "tiny", "-q", 8, "--quiet").code == 0
    path.unlink()
    return path.with_suffix(".tic")


def test_a_pipe_that_is_closed_before_the_output_is_complete(large: Path) -> None:
    """`| head -c 10` does this."""
    process = subprocess.Popen(
        [*COMMAND, "decode", str(large), "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(10).startswith(b"\x89PNG")
    process.stdout.close()
    said = process.stderr.read().decode()
    assert (process.wait(), said) == (1, "ticodec: stdout cannot be written: Broken pipe\n")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, the limit is set another way")
def test_a_disk_that_becomes_full_during_an_unbuffered_write(large: Path, tmp_path: Path) -> None:
    """The system accepts a part of the bytes, and reports the error only at the next call."""
    import resource

    with (tmp_path / "out.png").open("wb") as out:
        done = subprocess.run(
            [*COMMAND, "decode", str(large), "-"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        )
    assert (done.returncode, done.stderr) == (
        1,
        "ticodec: stdout cannot be written: File too large\n",
    )


def test_large_pictures_arrive_completely(large: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [*COMMAND, "decode", str(large), "-"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 65_536
    Image.open(io.BytesIO(done.stdout)).load()


CLOSED, FULL = (">&-", "it is closed"), (">/dev/full", "No space left on device")


@pytest.mark.parametrize(
    ("words", "redirection", "why"),
    [
        (["models"], *CLOSED),
        (["models", "--json"], *FULL),
        (["info", "FILE"], *FULL),
        (["info", "FILE", "--json"], *CLOSED),
        (["decode", "FILE", "-"], *CLOSED),
    ],
)
def test_a_closed_or_full_stdout_is_a_failure(
    encoded: Path, words: list[str], redirection: str, why: str
) -> None:
    command = [*COMMAND, *(str(encoded) if word == "FILE" else word for word in words)]
    script = ["sh", "-c", f'"$@" {redirection}', "sh", *command]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ticodec: ")
    assert line.endswith(f"cannot be written: {why}")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2<"])
def test_an_error_that_cannot_be_printed_has_its_code(tmp_path: Path, redirection: str) -> None:
    (tmp_path / "empty").touch()
    script = f'"$@" {redirection}{tmp_path / "empty" if redirection == "2<" else ""}'
    command = ["sh", "-c", script, "sh", *COMMAND, "info", str(tmp_path / "not-there.tic")]
    assert subprocess.run(command).returncode == 3


def test_a_closed_stdin_is_reported(shell) -> None:
    done = shell("encode", "-", "x.tic", preexec_fn=lambda: os.close(0))
    assert (done.returncode, done.stderr) == (3, b"ticodec: stdin: cannot be read: it is closed\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_bytes_are_not_written_to_a_terminal_without_force(photo: Path, encoded: Path) -> None:
    import pty
    import tty

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    command = [*COMMAND, "decode", str(encoded), "-"]
    for words in (command, [*COMMAND, "encode", str(photo), "-"]):
        refused = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, text=True)
        assert refused.returncode == 2
        assert "stdout is a terminal; name an output file, or give -f" in refused.stderr
    process = subprocess.Popen([*command, "-f"], stdout=theirs, stderr=subprocess.PIPE)
    assert os.read(ours, 8) == b"\x89PNG\r\n\x1a\n"
    process.kill()
    process.communicate()
    os.close(ours)
    os.close(theirs)
