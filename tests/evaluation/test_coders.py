"""Every peer that is available here codes real pixels. The others say what they need."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, features
from support import ROOT, SAMPLES, make_pixels

import ticodec
from ticodec import weights
from ticodec.errors import TicodecError, UsageError
from ticodec.evaluation.bd import Curve, delta
from ticodec.evaluation.coder import Coder, closest
from ticodec.evaluation.folder_labels import PixelFile
from ticodec.evaluation.peers import PEERS, USUAL, make_peer
from ticodec.evaluation.registry import CoderSpec, make
from ticodec.evaluation.ticodec_coder import TicodecCoder
from ticodec.psnr import psnr

HERE = (*USUAL, "jpegxl")


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    return np.array(Image.open(SAMPLES / "kodim23.png").convert("RGB"))[100:300, 200:500]


@pytest.mark.parametrize("name", HERE)
def test_ladder_rises_in_bytes_and_quality(name: str, crop: np.ndarray) -> None:
    coder = make_peer(name)
    coder.prepare()
    files = [coder.encode(crop, setting) for setting in coder.ladder]
    sizes = [len(file) for file in files]
    quality = [psnr(crop, coder.decode(file)) for file in files]
    assert sizes == sorted(sizes)
    assert quality == sorted(quality)
    assert quality[0] < 32 < 36 < quality[-1]
    assert set(coder.ladder) <= set(coder.settings)
    assert list(coder.settings) == sorted(coder.settings)
    assert coder.encode(crop, coder.ladder[3]) == files[3]  # the same bytes again


def test_avif_does_not_depend_on_the_number_of_processors(monkeypatch) -> None:
    """By default its library uses one thread per processor, and the bytes depend on the number."""
    pixels = make_pixels(512, 768)
    expected = make_peer("avif").encode(pixels, 50)
    everywhere = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(everywhere)})
        assert make_peer("avif").encode(pixels, 50) == expected
    finally:
        os.sched_setaffinity(0, everywhere)


def test_newer_peers_beat_older_ones(crop: np.ndarray) -> None:
    """No option makes a peer worse than it is: each beats its predecessor in BD-rate."""
    curves = {}
    for name in HERE:
        coder = make_peer(name)
        files = [coder.encode(crop, setting) for setting in coder.ladder]
        rates = [8 * len(file) / crop[..., 0].size for file in files]
        quality = [psnr(crop, coder.decode(file)) for file in files]
        curves[name] = Curve(name, tuple(zip(rates, quality, strict=True)))
    for older, newer in [("jpeg", "jpeg2000"), ("jpeg", "webp"), ("webp", "avif")]:
        assert delta(curves[older], curves[newer]).rate < -10


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (17, 33)])
def test_any_size(name: str, size: tuple[int, int]) -> None:
    coder, pixels = make_peer(name), make_pixels(*size)
    assert coder.decode(coder.encode(pixels, coder.ladder[-1])).shape == pixels.shape


def test_our_coder_writes_what_the_commands_write() -> None:
    coder, pixels = TicodecCoder(weights.find("tiny"), "cpu", (1.0, 5.0)), make_pixels(70, 90)
    coder.prepare()
    data = coder.encode(pixels, 5.0)
    assert data == ticodec.encode(pixels, quality=5, model="tiny", device="cpu")
    assert np.array_equal(coder.decode(data), np.asarray(ticodec.decode(data, device="cpu")))
    assert (coder.ladder, coder.default) == ((1.0, 5.0), 4.0)
    assert coder.version.endswith("weights 37eb2f07, cpu")
    with pytest.raises(UsageError, match="quality must be"):
        TicodecCoder(weights.find("tiny"), "cpu", (9.0,))


@pytest.mark.parametrize("name", ["jpeg", "webp", "jpeg2000"])
def test_closest_finds_the_nearest_of_all_settings(name: str, crop: np.ndarray) -> None:
    coder = make_peer(name)
    some = [s for s in coder.settings if name != "jpeg2000" or 0.2 < s < 2][5:95]
    sizes = {setting: len(coder.encode(crop, setting)) for setting in some}
    target = sorted(sizes.values())[len(sizes) // 3] + 7
    best = min(abs(size - target) for size in sizes.values())
    for known in ({}, {s: sizes[s] for s in list(sizes)[::9]}):
        found = closest(coder, crop, target, known)
        assert abs(len(coder.encode(crop, found)) - target) == best
    for target, end in ((1, 0), (10**9, -1)):  # the last settings may give the same bytes
        found = closest(coder, crop, target)
        assert len(coder.encode(crop, found)) == len(coder.encode(crop, coder.settings[end]))


def test_closest_returns_the_nearest_that_it_has_seen() -> None:
    """Sizes do not always rise with the setting, for example in WebP."""

    class Uneven(Coder):
        name, version, suffix = "uneven", "1", ".x"
        settings = ladder = (1.0, 2.0, 3.0, 4.0, 5.0)

        def encode(self, pixels, setting):
            return bytes([0, 10, 50, 30, 40, 60][int(setting)])

        def decode(self, data):
            raise AssertionError("nothing is decoded here")

    assert closest(Uneven(), make_pixels(1, 1), 50, {2.0: 50}) == 2


def test_closest_encodes_only_unknown_settings() -> None:
    class Counting(Coder):
        name, version, suffix = "counting", "1", ".x"
        settings = ladder = tuple(float(s) for s in range(1000))
        asked = 0

        def encode(self, pixels, setting):
            self.asked += 1
            return bytes(int(setting))

        def decode(self, data):
            raise AssertionError("nothing is decoded here")

    coder = Counting()
    assert closest(coder, make_pixels(1, 1), 345) == 345
    assert coder.asked <= 11
    coder.asked = 0
    assert closest(coder, make_pixels(1, 1), 345, {340.0: 340, 350.0: 350}) == 345
    assert coder.asked <= 5


def test_a_failing_coder_is_named() -> None:
    class Broken(Coder):
        name, version, suffix = "broken", "1", ".x"
        settings = ladder = (1.0, 2.0)

        def encode(self, pixels, setting):
            raise ValueError("of all things")

        def decode(self, data):
            raise AssertionError("nothing is decoded here")

    with pytest.raises(TicodecError, match="broken: ValueError: of all things"):
        closest(Broken(), make_pixels(1, 1), 5)


def test_unknown_peers_are_refused() -> None:
    with pytest.raises(UsageError, match=f"unknown codec 'png'; known: {', '.join(PEERS)}$"):
        make_peer("png")


def test_jpegxl_says_what_it_needs(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(UsageError, match=r"^jpegxl needs packages .* pip install 'ticodec\[jxl\]'"):
        make_peer("jpegxl")


def test_zoo_codes_with_compressai(tmp_path, monkeypatch, crop: np.ndarray) -> None:
    """It uses CompressAI's real network and coder, with other weights than the published ones."""
    pytest.importorskip("compressai")
    from compressai.zoo import image_models
    from compressai.zoo.image import model_urls

    torch.manual_seed(0)
    network = image_models["bmshj2018-factorized"](1, metric="mse", pretrained=False)
    network.update(force=True)
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    file = model_urls["bmshj2018-factorized"]["mse"][1].rsplit("/", 1)[1]
    torch.save(network.state_dict(), place / file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    coder = make_peer("bmshj2018-factorized")
    assert coder._network(1.0) is coder._network(1.0)  # so that seconds do not include loading
    data = coder.encode(crop, 1.0)
    decoded = coder.decode(data)
    assert decoded.shape == crop.shape
    padded = np.pad(crop, [(0, 56), (0, 20), (0, 0)], "edge").transpose(2, 0, 1)[None]
    with torch.no_grad():
        network.eval()
        expected = network(torch.from_numpy(padded.copy()).float() / 255)["x_hat"][0]
    expected = (expected.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(decoded.astype(int) - expected[:200, :300]).max() <= 1


def test_zoo_without_its_weights_gives_a_clear_line(tmp_path, monkeypatch) -> None:
    pytest.importorskip("compressai")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="CompressAI cannot get its weights for quality 1"):
        make_peer("mbt2018-mean").prepare()


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_is_known_by_its_own_name(name: str) -> None:
    kind = PEERS[name].load()
    assert issubclass(kind, Coder)
    assert kind.name == name
    assert set(kind.ladder) <= set(kind.settings)


def test_versions_match_those_of_earlier_measurements() -> None:
    """The version is part of a measurement's key. If it changes, all is measured again."""
    versions = {name: make_peer(name).version for name in USUAL}
    library = {
        "jpeg": f"libjpeg {features.version('jpg')}",
        "webp": f"libwebp {features.version('webp')}",
        "avif": f"libavif {features.version('avif')}, one thread",
        "jpeg2000": f"OpenJPEG {features.version('jpg_2000')}, lossy wavelet and colour transforms",
    }
    assert versions == {name: f"Pillow {PIL.__version__}, {library[name]}" for name in USUAL}


def test_a_coder_with_a_classifier_has_another_version() -> None:
    plain, digest = CoderSpec("jpeg"), "0123456789abcdef"
    pixels = PixelFile(Path("vit"), "cpu", digest)
    shown = make(replace(plain, pixels=pixels))
    assert shown.version == f"{make(plain).version}, pixels' classifier 01234567"
    assert (shown.classified, make(plain).classified) == (True, False)


def table_of_peers() -> str:
    """The table of docs/evaluation.md, from `PEERS`. Peers with the same needs share a row."""
    rows = ["| `--against` | needs |", "| --- | --- |"]
    for needs, names in groupby(PEERS, key=lambda name: PEERS[name].needs):
        rows.append(f"| {', '.join(f'`{name}`' for name in names)} | {needs} |")
    return "\n".join(rows) + "\n"


def test_the_document_has_the_table_of_peers() -> None:
    assert table_of_peers() in (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_help_has_all_peers(run, command: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = run(command, "--help").out.replace("│", " ").split()
    listed = " ".join(words)
    assert f"Other codecs to measure, separated by commas: {', '.join(PEERS)}; or none." in listed
    assert f"[default: {','.join(USUAL)}]" in listed
