"""Classifiers of their own in weights folders: beside the weights they read, and elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import CPU, GOLDEN, make_pixels
from toys import FIRST, LABELS, VIT, of_tiny, saved

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import HeadConfig
from ticodec.training import checkpoint
from ticodec.training.export.weights_file import export, export_head
from ticodec.training.head_trainer import HeadTrainer


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder of its own with "tiny", searched first."""
    folder = tmp_path / "store"
    shutil.copytree(GOLDEN / "weights", folder)
    monkeypatch.setenv("TICODEC_WEIGHTS", str(folder))
    return folder


def test_a_head_exported_beside_its_weights_comes_with_them(
    toys: Path, tmp_path: Path, store: Path
) -> None:
    tic = ticodec.encode(make_pixels(70, 90), quality=5, model="tiny", device="cpu")
    with pytest.raises(BadInputError, match="tiny have no classifier"):
        ticodec.classify(tic, device="cpu")
    ckpt = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "a.pt")
    path, config, owner = export_head([ckpt], store)
    assert (path, owner) == (store / "tiny-head.safetensors", "tiny")
    entry = weights.find("tiny")
    assert (entry.head.path, entry.head.labels) == (path, 3)
    assert entry.head.trained == "8 crops in 0 min on CPU"
    found = ticodec.classify(tic, device="cpu")
    assert {each.label for each in found} == set(LABELS)
    assert sum(each.probability for each in found) == pytest.approx(1, abs=1e-5)
    assert ticodec.classify(tic, top=1, head=path, device="cpu") == found[:1]
    stored = load_file(path)
    average = checkpoint.load(ckpt)["average"]
    assert stored.keys() == average.keys() - {"embed.mean", "embed.std"}
    rest = {name: value for name, value in average.items() if not name.startswith("embed")}
    assert all(torch.equal(stored[name], value.half()) for name, value in rest.items())

    card = (store / "tiny-head.md").read_text()
    assert f"reads the latents of `tiny` {config.fingerprint}, divided by the gain" in card
    assert "3 labels: blue sea, grass, red" in card
    assert "Trained at 64² pixels" in card
    assert entry.head.sha256 in card

    path.write_bytes(b"damaged")
    with pytest.raises(BadInputError, match="damaged weights"):
        Codec(entry, "cpu").classify(tic)
    path.unlink()
    with pytest.raises(BadInputError, match="the classifier of tiny is missing"):
        Codec(entry, "cpu").classify(tic)


def test_a_head_exported_elsewhere_is_used_by_its_name(toys: Path, tmp_path: Path, tiny) -> None:
    ckpt = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "a.pt")
    path, _, owner = export_head([ckpt], tmp_path / "elsewhere", "mine")
    assert (path.name, owner) == ("mine.safetensors", "")
    assert not (tmp_path / "elsewhere" / "manifest.json").exists()
    tic = tiny.encode(make_pixels(70, 90))
    assert len(tiny.classify(tic, head=path)) == 3
    with pytest.raises(BadInputError, match="tiny have no classifier"):
        tiny.classify(tic)


def test_a_joint_model_keeps_its_own_classifier(joint: Codec, joint_store: Path, toys, tmp_path):
    """A head for its latents does not become the one that it comes with."""
    store = tmp_path / "store"
    shutil.copytree(joint_store, store)
    before = (store / "manifest.json").read_bytes()
    fingerprint = joint.entry.fingerprint.hex()
    config = HeadConfig("latents", 16, VIT, LABELS, "joint", fingerprint)
    ckpt = saved(HeadTrainer(config, FIRST, CPU), toys, tmp_path / "a.pt", 1)
    path, _, owner = export_head([ckpt], store)
    assert owner == ""
    assert (store / "manifest.json").read_bytes() == before
    tic = joint.encode(make_pixels(70, 90), 2)
    assert {each.label for each in joint.classify(tic)} == {"ant", "bee", "cow"}
    assert {each.label for each in joint.classify(tic, head=path)} == set(LABELS)


def test_what_is_not_exported(toys: Path, tmp_path: Path, store: Path) -> None:
    trainer = HeadTrainer(of_tiny(), FIRST, CPU)
    trainer.save(tmp_path / "new.pt")
    ckpt = saved(trainer, toys, tmp_path / "a.pt", 1)
    with torch.no_grad():
        trainer.average.head.weight.fill_(float("nan"))
    trainer.save(tmp_path / "nan.pt")
    before = {p.name: p.read_bytes() for p in store.iterdir()}
    with pytest.raises(BadInputError, match="never trained"):
        export_head([tmp_path / "new.pt"], store)
    with pytest.raises(TicodecError, match="cannot export"):
        export_head([tmp_path / "nan.pt"], store)
    with pytest.raises(UsageError, match=r"tiny.safetensors belongs to the weights tiny"):
        export_head([ckpt], store, "tiny")
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before
    (store / "manifest.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged manifest"):
        export_head([ckpt], store)
    (store / "manifest.json").write_bytes(before["manifest.json"])
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


def test_weights_exported_anew_have_no_old_head(
    fixed, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = fixed.fingerprint.hex()
    config = HeadConfig("latents", 16, VIT, LABELS, "fixed", fingerprint)
    ckpt = saved(HeadTrainer(config, FIRST, CPU), toys, tmp_path / "a.pt", 1)
    folder = fixed.path.parent
    assert export_head([ckpt], folder)[2] == "fixed"
    assert weights.find("fixed").head is not None
    assert export([tmp_path / "fixed.pt"], folder, "fixed").head is None
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "head" not in manifest["models"]["fixed"]
    other = {**manifest["models"]["fixed"], "sha256": "0" * 64}
    manifest["models"]["fixed"] = other
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert export_head([ckpt], folder)[2] == ""  # other weights of that name
