"""What users expect of any command: permissions, times, -h, completion, narrow tables, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

TINY = ("-m", "tiny")
COMMAND = [sys.executable, "-m", "ticodec"]
NAMES = ("encode", "decode", "classify", "info", "models", "evaluate", "compare", "train", "export")


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- permissions and times ----------------------------------------------------------------


def test_a_private_photo_stays_private(run, photo: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "out.tic", tmp_path / "back.png"
    for mode, expected in ((0o600, 0o600), (0o640, 0o640), (0o755, 0o644)):
        photo.chmod(mode)
        assert run("encode", photo, out, "-f", *TINY).code == 0
        assert permissions(out) == expected
        back.touch(0o666)  # the permissions of the overwritten file do not matter
        assert run("decode", out, back, "-f").code == 0
        assert permissions(back) == expected


def test_outputs_from_stdin_follow_the_umask(shell, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tic"
    done = shell("encode", "-", out, *TINY, input=photo.read_bytes(), umask=0o027)
    assert done.returncode == 0, done.stderr
    assert permissions(out) == 0o640


def test_preserve_times(run, photo: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "out.tic", tmp_path / "back.png"
    os.utime(photo, (1e9, 1e9))
    assert run("encode", photo, out, *TINY, "--preserve-times").code == 0
    assert out.stat().st_mtime == 1e9
    assert run("decode", out, back, "--preserve-times").code == 0
    assert back.stat().st_mtime == 1e9
    assert run("decode", out, back, "-f").code == 0
    assert back.stat().st_mtime > 1.1e9
    for names in ((photo, "-"), ("-", out)):
        refused = run("encode", *names, *TINY, "-f", "--preserve-times")
        refused.fails(2, "stdin and stdout have no time; leave --preserve-times out")


def test_force_writes_the_missing_file_of_a_link(run, encoded: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to("new.png")
    assert run("decode", encoded, link, "-f").code == 0
    assert link.is_symlink()
    assert Image.open(tmp_path / "new.png").size == (90, 70)


# -- output -------------------------------------------------------------------------------


def test_control_characters_of_names_are_escaped(run, photo: Path, encoded: Path) -> None:
    odd, shown = "a\n\x1b[31mb", r"a\n\x1b[31mb"
    source, tic = photo.with_name(f"{odd}.png"), photo.with_name(f"{odd}.tic")
    source.write_bytes(photo.read_bytes())
    said = run("encode", source, *TINY)
    assert said.code == 0
    for done in (said, run("info", tic), run("classify", tic, tic, encoded)):
        text = done.out + done.err
        assert "\x1b" not in text
    assert f"{shown}.png → " in said.out
    assert shown in run("info", tic).out.replace("\n", "").replace(" ", "")
    run("encode", source, *TINY).fails(2, f"{shown}.tic exists already")
    source.write_text("hello")
    run("encode", source, "-f", *TINY).fails(3, f"{shown}.png: not an image")
    assert json.loads(run("info", tic, "--json").out)["width"] == 90


def test_json_with_quiet_prints_only_json(run, joint, photo: Path, tmp_path: Path) -> None:
    tic = tmp_path / "x.tic"
    for words, kind in (
        (("encode", photo, tic, "-m", "joint", "-q", 1), dict),
        (("decode", tic, tmp_path / "x.png"), dict),
        (("classify", tic), list),
        (("compare", photo, tmp_path / "x.html", *TINY, "--against", "jpeg"), dict),
    ):
        done = run(*words, "--json", "--quiet")
        assert (done.code, done.err) == (0, ""), words
        assert isinstance(json.loads(done.out), kind), words


@pytest.mark.parametrize("width", [40, 80])
def test_tables_fit_narrow_terminals(run, joint, photo, tmp_path, monkeypatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    tics = [tmp_path / f"{letter * 50}.tic" for letter in "ab"]
    for tic in tics:
        assert run("encode", photo, tic, "-m", "joint", "-q", 1).code == 0
    for words in (
        ("models",),
        ("info", tics[0]),
        ("classify", *tics),
        (
            "evaluate",
            photo.parent,
            *TINY,
            "-q",
            "1,2",
            "--against",
            "jpeg",
            "--out",
            tmp_path / "r",
        ),
    ):
        done = run(*words)
        assert done.code == 0, done.err
        free = ("entropy coding ", "the transforms ", "wrote ")  # lines that may be wider
        lines = [line for line in done.out.splitlines() if not line.startswith(free)]
        assert max(map(len, lines)) <= width, words
        assert "…" not in done.out.replace(" … ", ""), "something is cut off"
    for name in ("tiny", "joint"):
        assert name in run("models").out


@pytest.mark.parametrize("command", ["", *NAMES, "batch", "batch encode"])
def test_h_is_help(run, command: str) -> None:
    short, long = run(*command.split(), "-h"), run(*command.split(), "--help")
    assert short.code == 0
    assert "Usage" in short.out
    assert short.out == long.out


# -- completion ---------------------------------------------------------------------------

#: With this variable `--show-completion` takes the shell as an argument. Without it, it detects the
#: shell that runs it.
SHELL_GIVEN = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def test_completion_in_bash(tmp_path: Path) -> None:
    """A real bash completes a command called `ticodec`, without importing PyTorch."""
    command = tmp_path / "ticodec"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -X importtime -m ticodec "$@"\n')
    command.chmod(0o755)
    script = """
        source <(ticodec --show-completion bash 2>/dev/null)
        complete -p ticodec
        COMP_WORDS=(ticodec encode --pre) COMP_CWORD=2
        _ticodec_completion ticodec
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        env={**SHELL_GIVEN, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    offered, answer = done.stdout.splitlines()
    assert offered.startswith("complete -o default"), "files are completed as well"
    assert answer == "--preserve-times"
    assert "ticodec.cli.app" in done.stderr
    assert "torch" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = subprocess.run(
        [*COMMAND, "--show-completion", shell],
        capture_output=True,
        text=True,
        env=SHELL_GIVEN,
    )
    assert done.returncode == 0, done.stderr
    assert "_TICODEC_COMPLETE" in done.stdout


# -- Ctrl-C -------------------------------------------------------------------------------


def test_ctrl_c_while_the_command_is_imported() -> None:
    """At any moment after Python itself has started there is one line and no traceback."""
    program = """if True:
        import os, signal, sys
        import ticodec.cli.start as start

        class Interrupt:
            def find_spec(self, name, path=None, target=None):
                if name == sys.argv[1]:
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupt())
        loaded = [name for name in ("numpy", "PIL", "typer", "ticodec.api") if name in sys.modules]
        assert not loaded, loaded
        module, sys.argv[1:] = sys.argv[1], sys.argv[1:]
        start.main()
    """
    for module in ("typer", "numpy", "PIL.Image", "ticodec.container", "ticodec.cli.train"):
        command = [sys.executable, "-c", program, module]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (130, "ticodec: interrupted\n"), module


def test_ctrl_c_at_any_moment(encoded: Path) -> None:
    """At any moment after Python's own start, during which a program cannot handle signals.

    The program prints a line when Python has started.
    """
    program = """if True:
        from ticodec.cli.interrupts import end_at_once
        end_at_once()
        print(flush=True)
        from ticodec.cli.start import main
        main()
    """
    for number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", program, "info", str(encoded)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process.stdout.readline()
        time.sleep(number * 0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        # -SIGINT: once Python has cleaned up, the signal ends the process. Shells show it as 130.
        ends = (130, "ticodec: interrupted\n"), (0, ""), (-signal.SIGINT, "")
        assert (process.returncode, said) in ends
