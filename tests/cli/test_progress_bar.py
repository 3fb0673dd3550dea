"""The progress bar is shown on a terminal only, for slow work only, and disappears at its end."""

from __future__ import annotations

import os
import pty
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ticodec.cli import progress_bar
from ticodec.codec import Codec

TINY = ("-m", "tiny", "--device", "cpu")
#: The escape sequences that hide and show a terminal's cursor.
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Makes stderr a terminal for the bar. Returns a function that reads all text written there."""
    ours, its = pty.openpty()
    os.set_blocking(ours, False)
    written = bytearray()

    def read() -> str:
        with suppress(BlockingIOError):
            while part := os.read(ours, 65536):
                written.extend(part)
        return written.decode(errors="ignore")

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with os.fdopen(its, "w") as file:
        monkeypatch.setattr(progress_bar, "sys", SimpleNamespace(stderr=file))
        yield read
    os.close(ours)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, terminal: Callable[[], str]) -> list[str]:
    """Makes two stages of the codec wait until the bar shows the progress that they have made.

    Returns a list that is filled with the percentages that were seen.
    """
    monkeypatch.setattr(progress_bar, "DELAY", 0.01)
    seen: list[str] = []

    def slowed(name: str, *shares: str) -> None:
        original = getattr(Codec, name)

        def method(self: Codec, *arguments: object, **named: object) -> object:
            begun = len(terminal())
            result = original(self, *arguments, **named)
            for _ in range(1000):
                if found := [share for share in shares if share in terminal()[begun:]]:
                    seen.extend(found)
                    break
                time.sleep(0.02)
            return result

        monkeypatch.setattr(Codec, name, method)

    slowed("features", " 80%", " 64%")
    slowed("latents", " 20%", "100%")
    return seen


def test_slow_work_shows_a_bar_that_disappears(
    terminal, slow, run, photo: Path, tmp_path: Path
) -> None:
    tic, png = tmp_path / "a.tic", tmp_path / "a.png"
    assert run("encode", photo, tic, *TINY).code == 0
    assert slow == [" 80%"]
    assert run("decode", tic, png, "--device", "cpu").code == 0
    assert slow == [" 80%", " 20%"]
    text = terminal()
    assert f"encoding {photo} with tiny"[:30] in text
    assert f"decoding {tic} with tiny"[:30] in text
    assert text.count(HIDE) == text.count(SHOW) == 2
    assert text.endswith("\x1b[1A\x1b[2K")  # moves up to the bar's line and erases it


def test_classifying_shows_a_bar_too(terminal, slow, run, photo: Path) -> None:
    """An image is encoded first, which counts as four fifths of the work."""
    assert run("classify", photo, "-m", "tic-lite", "--device", "cpu").code == 0
    assert slow == [" 64%", "100%"]
    assert "classifying" in terminal()


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_quiet_shows_no_bar(
    monkeypatch, terminal, run, photo: Path, tmp_path: Path, option: str
) -> None:
    monkeypatch.setattr(progress_bar, "DELAY", 0.0)
    tic = tmp_path / "a.tic"
    assert run("encode", photo, tic, *TINY, option).code == 0
    assert run("decode", tic, tmp_path / "a.png", option).code == 0
    assert terminal() == ""


def test_fast_work_shows_no_bar(monkeypatch, terminal, run, photo: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(progress_bar, "DELAY", 1000.0)
    assert run("encode", photo, tmp_path / "a.tic", *TINY).code == 0
    assert run("decode", tmp_path / "a.tic", tmp_path / "a.png").code == 0
    assert terminal() == ""


def test_no_bar_is_written_to_a_file(monkeypatch, run, photo: Path, tmp_path: Path) -> None:
    """In tests stderr is a file."""
    monkeypatch.setattr(progress_bar, "DELAY", 0.0)
    assert run("encode", photo, tmp_path / "a.tic", *TINY).err == ""


def test_the_bar_is_gone_before_an_error(monkeypatch, terminal) -> None:
    monkeypatch.setattr(progress_bar, "DELAY", 0.01)

    def work() -> None:
        with progress_bar.bar("a [bold]name[/]", hidden=False):
            while "a [bold]name[/]" not in terminal():
                time.sleep(0.02)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert terminal().endswith("\x1b[1A\x1b[2K")


def test_a_bar_is_not_shown_when_the_work_has_ended(terminal) -> None:
    """The timer that shows the bar may go off while the work ends."""
    late = progress_bar.Bar("late")
    late.end()
    late.begin()
    assert terminal() == ""
