"""Old files must always decode, and today's encoder must still write the same streams."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from coders import each
from PIL import Image
from support import GOLDEN

import ticodec
from ticodec import container, weights
from ticodec.codec import Codec
from ticodec.weights.store import SHIPPED

FILES = sorted(GOLDEN.glob("v*/*.tic"))


@cache
def load(fingerprint: bytes) -> Codec:
    """The codec of golden or shipped weights in float32 on the CPU, which every machine has."""
    return Codec(weights.find_fingerprint(fingerprint, "?"), "cpu", bf16=False)


def codec_of(path: Path) -> Codec:
    """The codec that wrote a file."""
    return load(container.read(path.read_bytes()).header.fingerprint)


def test_there_are_golden_files_of_this_version() -> None:
    assert any(path.parent.name == f"v{container.VERSION}" for path in FILES)


def test_all_shipped_weights_have_a_golden_file() -> None:
    """Replaced weights must stay installed as "earlier" ones, or their golden files fail below."""
    wrote = {container.read(path.read_bytes()).header.fingerprint for path in FILES}
    assert {entry.fingerprint for entry in weights.entries(SHIPPED)} <= wrote


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_golden_file_decodes_to_its_picture(path: Path) -> None:
    """The symbols are checked by the file's CRC. g_s is float code, so ±1 grey level is allowed."""
    decoded = codec_of(path).decode(path.read_bytes()).to_image()
    expected = Image.open(path.with_suffix(".png"))
    assert decoded.mode == expected.mode
    difference = np.asarray(decoded).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1


def test_all_metadata_of_a_golden_file_is_decoded() -> None:
    image = ticodec.decode((GOLDEN / "v1" / "everything.tic").read_bytes())
    assert image.mode == "RGBA"
    assert image.info["icc_profile"] == b"icc" * 50
    assert image.info["xmp"] == b"<x/>"


@each
@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_same_latents_still_make_the_same_streams(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, the format has changed. It needs a new version, and old files a reader."""
    monkeypatch.setattr("ticodec.entropy.rans.default_backend", lambda: name)
    tiny = codec_of(path)
    parsed = container.read(path.read_bytes())
    z_stream, y_stream = parsed.section("z"), parsed.section("y")
    assert z_stream
    assert y_stream
    height, width = (
        -(-n // tiny.config.stride_z) for n in (parsed.header.height, parsed.header.width)
    )
    decoded = tiny.entropy.decode(z_stream, y_stream, height, width)
    z = np.frombuffer(decoded.symbols.z, "<i2").reshape(height, width, -1)
    import torch

    z_hat = torch.from_numpy(z.astype(np.float64) + tiny.entropy.centres)
    coded = tiny.entropy.encode(decoded.y_hat, z_hat)
    assert coded.z_stream == z_stream
    assert coded.y_stream == y_stream


def test_the_golden_weights_wrote_the_golden_files() -> None:
    manifest = json.loads((GOLDEN / "weights" / "manifest.json").read_text())
    assert manifest["models"]["tiny"]["sha256"].startswith("37eb2f07")
    assert manifest["models"]["tiny-icat"]["sha256"].startswith("7a971b5d")


def test_the_labels_of_the_joint_models_golden_file_stay_the_same() -> None:
    """The classifier is float code after exact latents. Labels are equal, probabilities nearly."""
    found = ticodec.classify((GOLDEN / "v1" / "joint-q1.tic").read_bytes())
    assert [label.label for label in found] == [
        "French horn",
        "English springer",
        "cassette player",
    ]
    assert sum(label.probability for label in found) == pytest.approx(1, abs=1e-4)
    assert found[0].probability == pytest.approx(0.413, abs=0.01)
