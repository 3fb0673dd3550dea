"""Names of files as messages and tables show them."""

from __future__ import annotations

import os

import pytest

from ticodec.shown import shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("two\nlines.jpg", r"two\nlines.jpg"),
        ("a\tb\rc", r"a\tb\rc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("one\u2028two", r"one\u2028two"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\udce9.jpg"),
    ],
)
def test_invisible_characters_are_escaped(name: str, expected: str) -> None:
    assert shown(name) == expected
    shown(name).encode()  # it can be printed on any Unicode terminal


@pytest.mark.parametrize(
    "name", ["a  b.jpg", r"C:\new\x1b.jpg", "смотри.jpg", "5.03\u202fPM.png", "👩\u200d🚀.jpg"]
)
def test_all_other_characters_are_unchanged(name: str) -> None:
    assert shown(name) == name
