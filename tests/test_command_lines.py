"""Every `ticodec` command line of the documents runs as written, on toy data and toy networks.

The lines of one block run in order in one folder. `command_lines.py` makes what they read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer.main
from command_lines import (
    DOCUMENTS,
    LINES,
    Line,
    lines_of,
    made_small,
    make_inputs,
    make_weights,
    use_toy_presets,
)
from support import ROOT
from toys import FITS

from ticodec.cli.app import ClickException, app

#: Lines of `ticodec` that have one of these words are only parsed and do not run. The values are
#: the reason, and the number of such lines in the documents. Raise it for a new line of this kind.
PARSED_ONLY = {
    "s3://": ("needs an S3 service; cli/test_batch_s3.py has one", 2),
    "gs://": ("needs Google Cloud Storage", 1),
    "--engine ray": ("needs a Ray cluster; cli/test_batch_ray.py has one", 2),
    "torchrun": ("starts several processes; training/test_distributed.py does", 2),
}
#: First words of lines of other programs, and why these lines do not run here.
OTHER_PROGRAMS = {
    "make": "installs packages, or runs all tests",
    "pip": "installs packages",
    "apt-get": "installs packages",
    "python": "scripts run in test_scripts.py",
    "python3": "makes a virtual environment",
    ".": "enters a virtual environment",
    "cp": "copies a folder that the test makes itself",
    "ln": "links the command in the home folder",
    "mkdir": "makes a folder in the home folder",
}
COMMANDS = [line for line in LINES if "ticodec" in line.words]
RUNNING = [line for line in COMMANDS if not any(mark in line.text for mark in PARSED_ONLY)]


def arguments_of(line: Line) -> list[str]:
    """The words of a line after `ticodec`."""
    return line.words[line.words.index("ticodec") + 1 :]


@pytest.fixture(scope="module")
def toy_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights folder of the toy networks. Training uses small networks too in this module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, count in FITS.items():
            patch.setattr(name, count)
        use_toy_presets(patch)
        folder = tmp_path_factory.mktemp("weights") / "toys"
        make_weights(folder, tmp_path_factory.mktemp("made"), patch)
        yield folder


class Block:
    """The folder of a block of lines, and how many of its lines have run there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, 0


@pytest.fixture(scope="module")
def blocks() -> dict[tuple[str, int], Block]:
    """The blocks that have begun."""
    return {}


@pytest.mark.parametrize("line", RUNNING, ids=str)
def test_it_runs_as_written(
    line: Line, toy_weights, blocks, tmp_path_factory, run, unrendered, monkeypatch
) -> None:
    block = blocks.setdefault(line.block, Block(tmp_path_factory.mktemp("block")))
    monkeypatch.chdir(block.folder)
    monkeypatch.setenv("TICODEC_WEIGHTS", str(toy_weights))
    monkeypatch.setenv("XDG_DATA_HOME", str(block.folder / "home"))
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    earlier = [other for other in RUNNING if other.block == line.block]
    for each in earlier[block.done : earlier.index(line) + 1]:
        block.done += 1
        arguments = arguments_of(each)
        for setting in each.words[: each.words.index("ticodec")]:
            monkeypatch.setenv(*setting.split("="))
        make_inputs(arguments)
        done = run(*made_small(arguments))
        assert done.code == 0, f"{each}: {done.err}"


@pytest.mark.parametrize("line", COMMANDS, ids=str)
def test_its_options_are_there(line: Line) -> None:
    """The whole line is parsed, with the values that the document has."""
    command, words = typer.main.get_command(app), arguments_of(line)
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, line
        command = command.commands[name]
    try:
        command.make_context(name, words)
    except ClickException as error:
        pytest.fail(f"{line}: {error.format_message()}")


def test_lines_that_do_not_run_are_counted() -> None:
    for mark, (why, count) in PARSED_ONLY.items():
        found = [str(line) for line in COMMANDS if mark in line.text]
        assert len(found) == count, f"{mark} ({why}): {found}"


@pytest.mark.parametrize("line", [line for line in LINES if line not in COMMANDS], ids=str)
def test_other_programs_are_known(line: Line) -> None:
    """The table says of every other program why its lines do not run."""
    assert line.words[0] in OTHER_PROGRAMS
    if line.words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{line.words[1]}:", makefile, re.MULTILINE)
    if line.words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = re.findall(r"\.\[(.*?)\]", line.text)
        assert {name for names in extras for name in names.split(",")} <= {
            *project["optional-dependencies"]
        }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_command_hides_in_another_block(path: Path) -> None:
    """Only ```sh blocks are extracted."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    others = "\n".join(body for kind, body in blocks if kind != "sh")
    assert re.findall(r"^(?:ticodec|pip|make) \w.*", others, re.MULTILINE) == []


def test_lines_are_found() -> None:
    """Comments are left out, and lines that a backslash joins are one line."""
    text = "```sh\nticodec a \\\n  '#b' c#d   # e\n# f\nmake g # h\n```\n```\nno\n```\n"
    lines = [*lines_of("a.md", text)]
    assert [line.words for line in lines] == [["ticodec", "a", "#b", "c#d"], ["make", "g"]]
    assert "README.md" in {line.block[0] for line in RUNNING}
