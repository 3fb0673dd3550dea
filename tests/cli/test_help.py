"""Help pages: examples that work, options in groups, each default shown once, where to begin."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from PIL import Image

from ticodec.cli.app import HELP, app
from ticodec.cli.help_pages import ORDER, example_lines

#: The longest command line that fits into 80 columns, with the margins of help pages.
WIDEST = 76


def commands() -> dict[str, object]:
    """All of typer's commands by name, including those of `batch`."""
    found = dict(typer.main.get_command(app).commands)
    return found | {f"batch {key}": one for key, one in found.pop("batch").commands.items()}


def parameters() -> list[tuple[str, str, object]]:
    """(command, flags, parameter) of every parameter of every command."""
    return [
        (name, " ".join(entry.opts), entry)
        for name, command in commands().items()
        for entry in command.params
    ]


def parsed(line: str) -> None:
    """Parse a command line as typer does. Raises its error if that fails."""
    command, context = typer.main.get_command(app), None
    first, *words = shlex.split(line)
    assert first == "ticodec"
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    with command.make_context("ticodec", words, parent=context):
        pass


NAMES = (
    *("encode", "decode", "classify", "info", "models", "evaluate", "compare", "train", "export"),
    *("batch encode", "batch decode", "batch classify"),
)


def test_all_commands_are_tested() -> None:
    assert set(commands()) == set(NAMES)


@pytest.mark.parametrize("name", ["classify", "batch classify"])
def test_the_help_says_how_few_classes_there_are(name: str, run) -> None:
    said = " ".join(run(*name.split(), "--help").out.split())
    assert "The classifiers that ship with ticodec know only ten classes." in said


@pytest.mark.parametrize("name", NAMES)
def test_examples_can_be_copied(name: str, run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are at least two, each on its own line, and typer can parse them as written."""
    lines = example_lines(commands()[name].epilog)
    assert len(lines) >= 2
    monkeypatch.setenv("COLUMNS", "80")
    printed = run(*name.split(), "--help").out
    shown = [line.strip() for line in printed.splitlines()]
    for line in lines:
        assert line in shown
        assert line.startswith(f"ticodec {name}")
        assert len(line) <= WIDEST
        parsed(line)


def test_where_to_begin(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ticodec` without arguments shows command lines for a newcomer, then all commands."""
    monkeypatch.setenv("COLUMNS", "80")
    printed = run()
    assert printed.code == 2
    text = printed.out + printed.err
    begins = [line for line in text.splitlines() if line.startswith("   ticodec ")]
    assert len(begins) == 4
    for line in begins:
        parsed(re.split(r"\s{3,}", line.strip())[0])
        assert line.strip() in HELP
        assert text.index(line) < text.index("─ Photos ─")
    for name in commands():
        assert f"│ {name.split()[0]} " in text


def test_examples_work(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast examples run as written, but with a small network."""
    monkeypatch.chdir(tmp_path)
    Path("PHOTOS/2024").mkdir(parents=True)
    Image.new("RGB", (1320, 1120), "teal").save("large.png")
    assert run("encode", "large.png", "photo.tic", "-m", "tiny").code == 0
    for name in ("info", "models", "decode", "batch encode", "batch decode", "encode"):
        Image.new("RGB", (90, 70), "teal").save("photo.jpg")
        Image.new("RGB", (90, 70), "teal").save("PHOTOS/2024/photo.jpg")
        for line in example_lines(commands()[name].epilog):
            words = [*shlex.split(line)[1:], *(["-m", "tiny"] if "encode" in name else [])]
            if name == "encode":
                words.append("-f")  # photo.tic exists already
            done = run(*words)
            assert done.code == 0, (line, done.err)
    assert Image.open("part.png").size == (512, 512)
    assert Path("sized.tic").stat().st_size <= 50_000
    assert Path("PICTURES/2024/photo.png").exists()


def test_every_option_is_in_a_group() -> None:
    for command, flags, entry in parameters():
        if entry.param_type_name == "option":
            assert entry.rich_help_panel in ORDER, (command, flags)


def test_groups_have_the_same_options_everywhere() -> None:
    """An option of several commands is in the same group, if it has the same meaning."""
    groups: dict[str, set[str]] = {}
    for command, flags, entry in parameters():
        if entry.param_type_name == "option" and command not in ("train", "evaluate", "compare"):
            groups.setdefault(flags, set()).add(entry.rich_help_panel)
    assert {flags: names for flags, names in groups.items() if len(names) > 1} == {}


@pytest.mark.parametrize("name", ["", *NAMES, "batch"])
def test_no_page_shows_a_type_of_flags(run, name: str) -> None:
    assert "<bool>" not in run(*name.split(), "--help").out


def test_help_shows_defaults_once() -> None:
    """A default is shown by typer or in the help text, but never in both, and never twice."""
    for command, flags, entry in parameters():
        text = getattr(entry, "help", None) or ""
        written = len(re.findall(r"default:|[Bb]y default", text))
        is_flag = getattr(entry, "is_flag", False) and not entry.secondary_opts
        shows = entry.default is not None and bool(getattr(entry, "show_default", False))
        assert written + (shows and not is_flag) <= 1, (command, flags, text)
        if entry.default is not None and not is_flag and entry.param_type_name == "option":
            assert written + shows == 1, (command, flags, text)
