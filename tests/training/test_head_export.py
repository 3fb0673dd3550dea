"""Separate classifiers in weights folders: beside the weights that they read, and elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import CPU, GOLDEN, make_pixels
from toys import FIRST, LABELS, PIXELS, VIT, of_tiny, saved

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import HeadConfig
from ticodec.training import checkpoint
from ticodec.training.export.install import LOCK
from ticodec.training.export.weights_file import export, export_head
from ticodec.training.head_trainer import HeadTrainer


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new weights folder with "tiny", which is searched first."""
    folder = tmp_path / "store"
    shutil.copytree(GOLDEN / "weights", folder)
    monkeypatch.setenv("TICODEC_WEIGHTS", str(folder))
    return folder


def test_a_head_exported_beside_its_weights_belongs_to_them(
    toys: Path, tmp_path: Path, store: Path
) -> None:
    tic = ticodec.encode(make_pixels(70, 90), quality=5, model="tiny", device="cpu")
    with pytest.raises(BadInputError, match="tiny have no classifier"):
        ticodec.classify(tic, device="cpu")
    ckpt = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "a.pt")
    path, config, owner = export_head([ckpt], store)
    entry = weights.find("tiny")
    file = store / f"tiny-head-{entry.head.sha256[:8]}.safetensors"
    assert (path, owner) == (file, "tiny")
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

    card = path.with_suffix(".md").read_text()
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
    """A head for its latents does not replace the joint model's own classifier."""
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


def test_heads_that_cannot_be_exported(toys: Path, tmp_path: Path, store: Path) -> None:
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
    with pytest.raises(UsageError, match="tiny is the name of weights"):
        export_head([ckpt], store, "tiny")
    (store / LOCK).unlink()
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before
    (store / "manifest.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged manifest"):
        export_head([ckpt], store)
    (store / "manifest.json").write_bytes(before["manifest.json"])
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A checkpoint of other weights, which take over the name "fixed"."""
    path = tmp_path / "other.pt"
    state = checkpoint.load(tmp_path / "fixed.pt")
    state["average"] = {name: value * 1.01 for name, value in state["average"].items()}
    checkpoint.save(path, state)
    return path


def test_a_head_stays_with_the_weights_it_reads(
    fixed, other: Path, toys: Path, tmp_path: Path
) -> None:
    config = HeadConfig("latents", 16, VIT, LABELS, "fixed", fixed.fingerprint.hex())
    ckpt = saved(HeadTrainer(config, FIRST, CPU), toys, tmp_path / "a.pt", 1)
    folder = fixed.path.parent
    path, _, owner = export_head([ckpt], folder)
    assert owner == "fixed"
    head = weights.find("fixed").head
    assert head.path == path
    # Exporting the same weights again changes nothing. Other weights have no classifier yet.
    assert export([tmp_path / "fixed.pt"], folder, "fixed").head == head
    assert export([other], folder, "fixed", force=True).head is None
    tic = Codec(fixed, "cpu").encode(make_pixels(40, 50))
    assert {label.label for label in ticodec.classify(tic, device="cpu")} == set(LABELS)
    # A classifier of earlier weights belongs to those.
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["models"]["fixed"]["earlier"][0]["head"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert export_head([ckpt], folder) == (path, config, "fixed")
    assert weights.find("fixed").head is None
    assert weights.find_fingerprint(fixed.fingerprint, "tic").head == head
    # Weights that get their name back still have their classifier.
    assert export([tmp_path / "fixed.pt"], folder, "fixed", force=True).head == head


def test_a_head_is_not_replaced_without_force(toys: Path, tmp_path: Path, store: Path) -> None:
    trainer = HeadTrainer(of_tiny(), FIRST, CPU)
    one = saved(trainer, toys, tmp_path / "1.pt", 1)
    two = saved(trainer, toys, tmp_path / "2.pt", 2)
    path, _, _ = export_head([one], store)
    manifest = (store / "manifest.json").read_bytes()
    assert export_head([one], store)[0] == path
    with pytest.raises(UsageError, match="tiny already has another classifier"):
        export_head([two], store)
    assert (store / "manifest.json").read_bytes() == manifest
    new, _, _ = export_head([two], store, force=True)
    head = weights.find("tiny").head
    assert head.path == new != path
    assert [earlier.path for earlier in head.earlier] == [path]
    tic = ticodec.encode(make_pixels(70, 90), quality=5, model="tiny", device="cpu")
    for file in (path, new):
        assert len(ticodec.classify(tic, head=file, device="cpu")) == 3
    assert ticodec.classify(tic, head=new, device="cpu") == ticodec.classify(tic, device="cpu")


def test_a_loose_head_is_not_replaced_without_force(toys: Path, tmp_path: Path) -> None:
    trainer = HeadTrainer(of_tiny(), FIRST, CPU)
    one = saved(trainer, toys, tmp_path / "1.pt", 1)
    two = saved(trainer, toys, tmp_path / "2.pt", 2)
    folder = tmp_path / "loose"
    path, _, _ = export_head([one], folder)
    old, card = path.read_bytes(), path.with_suffix(".md").read_bytes()
    before = {file.name for file in folder.iterdir()}
    with pytest.raises(UsageError, match="another classifier already has this name"):
        export_head([two], folder)
    export_head([one], folder)
    assert {file.name for file in folder.iterdir()} == before
    assert export_head([two], folder, force=True)[0] == path
    assert path.read_bytes() != old
    kept = folder / f"tiny-head-{hashlib.sha256(old).hexdigest()[:8]}.safetensors"
    assert (kept.read_bytes(), kept.with_suffix(".md").read_bytes()) == (old, card)


def test_a_loose_head_does_not_replace_files_of_the_manifest(
    toys: Path, tmp_path: Path, store: Path
) -> None:
    ckpt = saved(HeadTrainer(PIXELS, FIRST, CPU), toys, tmp_path / "a.pt", 1)
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["models"]["small"] = manifest["models"].pop("tiny")  # its file is tiny.safetensors
    (store / "manifest.json").write_text(json.dumps(manifest))
    before = (store / "tiny.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"tiny.safetensors belongs to the weights small"):
        export_head([ckpt], store, "tiny", force=True)
    assert (store / "tiny.safetensors").read_bytes() == before
