"""Links and pictures of the documents are there."""

from __future__ import annotations

import re

import pytest
from support import ROOT

DOCUMENTS = sorted(
    path for folder in (".", "docs", "weights") for path in (ROOT / folder).glob("*.md")
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    relative = [link for link in links if "://" not in link]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_links_are_found() -> None:
    """Otherwise the test above could not fail."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((docs/[^)#\s]+)", text)


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert terms == sorted(terms, key=str.casefold)
    assert {"bpp", "BD-rate", "Latent", "Exact path", "Trunk"} <= {*terms}
