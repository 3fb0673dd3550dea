"""Combinations of training options that are allowed or refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ticodec.errors import UsageError
from ticodec.models.families import preset
from ticodec.training.request import Request


@pytest.mark.parametrize(
    ("weights", "model", "goes"),
    [
        ("tic-plus-low", None, True),
        ("tic-plus-low", "tic-plus-low", True),
        ("tic-plus-low", "tic-plus", True),  # the name of the preset's model
        ("tic-plus-low", "tic-plus-high", False),
        ("tic-plus", "tic-plus-low", False),
        ("tic-plus", "tic", False),
        ("icat-lite", "icat", True),
        ("icat-lite", "icat-lite", True),
    ],
)
def test_weights_to_begin_from_must_be_of_the_named_preset(
    monkeypatch: pytest.MonkeyPatch, weights: str, model: str | None, goes: bool
) -> None:
    """The weights of `init` have their own dimensions, so another preset would not be trained."""
    codec = SimpleNamespace(config=preset(weights))
    monkeypatch.setattr("ticodec.training.request.find_codec", lambda name: codec)
    request = Request(Path(), model, init="mine")
    if goes:
        assert request.codec is codec
    else:
        with pytest.raises(UsageError, match=f"`init` mine is a {weights}: leave out `model`"):
            _ = request.codec
