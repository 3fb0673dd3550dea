"""Options of a command that are made from the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from ticodec.cli.dataclass_options import Given, with_fields


@dataclass(frozen=True)
class Common:
    """Options annotated for typer."""

    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1)] = 1
    quiet: Annotated[bool, typer.Option("--quiet")] = False


@dataclass
class Settings:
    """Options of a library that does not use typer."""

    rate: float = field(default=0.5, metadata={"help": "A rate. [default: 0.5]"})
    size_range: tuple[float, float] = field(default=(1.0, 8.0), metadata={"help": "A range."})


calls: list[tuple[Any, ...]] = []


def command(
    source: Annotated[str, typer.Argument()],
    common: Common,
    settings: Given[Settings],
    force: Annotated[bool, typer.Option("--force")] = False,
) -> None:
    """Do it."""
    calls.append((source, common, settings, force))


@pytest.fixture
def call():
    app = typer.Typer()
    app.command()(with_fields(command))
    calls.clear()
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_fields_become_options_and_return_as_one_object(call) -> None:
    assert call("a", "-j", "3", "--rate", "2", "--size-range", "2", "3", "--force").exit_code == 0
    given = {"rate": 2.0, "size_range": (2.0, 3.0)}
    assert calls == [("a", Common(jobs=3, quiet=False), given, True)]


def test_only_given_options_are_returned(call) -> None:
    assert call("a").exit_code == 0
    assert calls == [("a", Common(), {}, False)]


def test_wrong_values_are_refused_by_typer(call) -> None:
    assert call("a", "--rate", "fast").exit_code == 2
    assert call("a", "--jobs", "0").exit_code == 2
    assert not calls


def test_help_shows_the_text_of_the_fields(call) -> None:
    text = " ".join(call("--help").output.replace("│", " ").split())
    assert "Do it." in text
    assert "A rate. [default: 0.5]" in text
    assert "--jobs" in text
