"""Sections of a file: how a new kind is added, and that damaged ones are refused."""

from __future__ import annotations

import pytest
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import container, sections


def test_a_section_is_added_in_one_place(monkeypatch, tiny) -> None:
    """With one entry, metadata is read from an image, stored, shown by `info`, and restored."""
    added = sections.Metadata(100, "caption", "caption")  # a number that is still free
    monkeypatch.setattr(sections, "SECTIONS", (*sections.SECTIONS, added))
    image = Image.fromarray(make_pixels(20, 30))
    image.info["caption"] = b"from the sea"
    data = tiny.encode(image)
    assert ticodec.info(data)["sections"][-1] == {"type": "caption", "bytes": 12}
    assert tiny.decode(data).to_image().info["caption"] == b"from the sea"
    monkeypatch.undo()
    assert ticodec.info(data)["sections"][-1]["type"] == "100", "an older version skips it"
    assert tiny.decode(data).metadata == {}


def test_numbers_and_names_are_used_once() -> None:
    assert len(sections.numbers()) == len(sections.SECTIONS)
    assert len({section.number for section in sections.SECTIONS}) == len(sections.SECTIONS)
    assert all(0 < section.number < container.LAST for section in sections.SECTIONS)


def test_a_file_without_a_required_section_is_refused(tiny, picture) -> None:
    parsed = container.read(tiny.encode(picture(8, 8)))
    del parsed.sections[sections.numbers()["y"]]
    with pytest.raises(ticodec.BadInputError, match="no latents"):
        container.read(container.write(parsed))
