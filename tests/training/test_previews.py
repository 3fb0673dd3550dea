"""The layers that give smaller pictures: how they are fitted and exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support import CPU, SMALL, SMALL_RUN, make_pixels
from torch.nn.functional import conv2d

from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import TicodecError
from ticodec.models.conv import shuffled
from ticodec.models.preview import PreviewLayers
from ticodec.picture import Picture, smaller
from ticodec.psnr import psnr
from ticodec.training.codec_trainer import Trainer
from ticodec.training.export import previews
from ticodec.training.export.previews import LeastSquares, blocks, neighbourhoods, view
from ticodec.training.export.weights_file import export
from ticodec.training.float_latents import frozen_network


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a small network with random weights."""
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.average.load_state_dict(trainer.network.state_dict())
    trainer.save(tmp_path / "a.pt")
    return tmp_path / "a.pt"


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_fitting_recovers_a_layer() -> None:
    """A layer's weights are found from its output for a map."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 40, 30, 4, generator=generator)
    weight, bias = torch.randn(12, 4, 3, 3, generator=generator), torch.arange(12.0)
    wanted = conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1)[0].permute(1, 2, 0)
    sums = LeastSquares(36, 12)
    some = torch.randperm(1200, generator=generator)[:900]
    sums.add(neighbourhoods(x, some), wanted.flatten(0, 1)[some])
    found, offset = sums.solve()
    assert torch.allclose(found.view(12, 4, 3, 3).float(), weight, atol=0.01)
    assert torch.allclose(offset.float(), bias, atol=0.01)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_blocks_are_the_pixels_that_a_layer_outputs(scale: int) -> None:
    whole = torch.from_numpy(make_pixels(64, 96)).float()[None]
    h, w = 32 // scale, 48 // scale
    pixels = shuffled(blocks(whole, scale).view(h, w, 12))
    means = whole.view(2 * h, scale, 2 * w, scale, 3).mean((1, 3))
    assert torch.allclose(pixels, means)


def test_views_are_all_different() -> None:
    x = torch.from_numpy(make_pixels(8, 8)).float()[None]
    seen = {view(x, number).numpy().tobytes() for number in range(24)}
    assert len(seen) == 24


def test_a_few_images_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are fitted to two generated pictures are good for other such pictures."""
    monkeypatch.setattr(previews, "VIEWS", 6)
    entry = weights.find("tiny")
    network, _ = frozen_network(entry, CPU)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.from_numpy(np.stack([make_pixels(128, 128, seed) for seed in (1, 2)]))
    layers = previews.fit(network, previews.views(images))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    codec = Codec(entry, "cpu", bf16=False)
    data = codec.encode(Picture(make_pixels(120, 136, 3)), 4)
    whole = codec.decode(data).pixels
    for scale in (2, 4, 8):
        preview = codec.preview(scale)
        shipped = psnr(codec.decode(data, scale=scale).pixels, smaller(whole, scale))
        codec.previews[scale] = type(preview)(
            codec.network.g_s, layers, scale, codec.device, codec.dtype
        )
        fitted = psnr(codec.decode(data, scale=scale).pixels, smaller(whole, scale))
        assert fitted > shipped - 2, (scale, fitted, shipped)


def test_export_makes_a_preview(checkpoint: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    entry = export([checkpoint], store, "x")
    assert entry.preview is not None
    assert entry.preview.path.name == f"x-preview-{entry.preview.sha256[:8]}.safetensors"
    codec = Codec(entry, "cpu", bf16=False)
    data = codec.encode(Picture(make_pixels(40, 40)), 1)
    assert codec.decode(data, scale=2).pixels.shape == (20, 20, 3)


def test_exporting_the_same_again_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    export([checkpoint], store)
    before = {p.name: p.read_bytes() for p in store.iterdir()}
    export([checkpoint], store)
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


def test_older_weights_get_a_preview(checkpoint: Path, tmp_path: Path) -> None:
    """They get it when they are exported again. A missing or damaged file is also made again."""
    store = tmp_path / "store"
    entry = export([checkpoint], store)
    assert entry.preview is not None
    whole, manifest = entry.preview.path.read_bytes(), manifest_of(store)
    preview = manifest["models"]["tic-lite"].pop("preview")
    (store / "manifest.json").write_text(json.dumps(manifest))
    entry.preview.path.write_bytes(b"damaged")
    again = export([checkpoint], store)
    assert manifest_of(store)["models"]["tic-lite"]["preview"] == preview
    assert again.preview == entry.preview
    assert entry.preview.path.read_bytes() == whole


def test_a_preview_made_elsewhere_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    """Another kind of CPU may fit layers with other last bits to the same weights."""
    store = tmp_path / "store"
    export([checkpoint], store)
    manifest = manifest_of(store)
    manifest["models"]["tic-lite"]["preview"] = {"file": "other", "sha256": "0" * 64}
    (store / "manifest.json").write_text(json.dumps(manifest))
    export([checkpoint], store)
    assert manifest_of(store) == manifest


def test_earlier_weights_keep_their_preview(checkpoint: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    old = export([checkpoint], store)
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.average.load_state_dict(trainer.network.state_dict())
    torch.nn.init.zeros_(trainer.average.g_s[0].conv.bias)
    trainer.save(checkpoint)
    new = export([checkpoint], store, force=True)
    first, second = weights.entries(store)
    assert (first.preview, second.preview) == (new.preview, old.preview)
    assert old.preview is not None
    assert old.preview.path.exists()


def test_layers_that_are_not_finite_are_refused() -> None:
    network, _ = frozen_network(weights.find("tiny"), CPU)
    layers = PreviewLayers(network.g_s)
    torch.nn.init.constant_(layers.of(4).conv.bias, 1e6)
    with pytest.raises(TicodecError, match="not finite"):
        previews.preview_bytes(layers, "00000000")
