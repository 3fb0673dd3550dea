"""Training classifiers of their own: what they read, how they learn, where they are exported to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import CPU, make_pixels
from toys import (
    FIRST,
    ICAT,
    LABELS,
    PIXELS,
    RUN,
    SECOND,
    VIT,
    of_tiny,
    parameters,
    quiet,
    same,
    saved,
    toy,
    write_toys,
)

from ticodec import container
from ticodec.classifier import load_pixel_classifier, read_head
from ticodec.codec import Codec
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.analysis_config import HeadConfig
from ticodec.models.config import VITS
from ticodec.models.icat import Icat
from ticodec.weights.training import checkpoint, start
from ticodec.weights.training.base import BaseTrainer
from ticodec.weights.training.export import export_head
from ticodec.weights.training.head import HeadTrainer
from ticodec.weights.training.joint import JointTrainer
from ticodec.weights.training.latents import frozen_network, latents
from ticodec.weights.training.standard import folded
from ticodec.weights.training.stitch import stitch


def steps_apart(codec: Codec, level: float, louder: float = 0.0) -> tuple[torch.Tensor, ...]:
    """How far latents of training, and those simply rounded, are from a file's, in its steps.

    Args:
        louder: added to the logarithm of the gain, for latents of more than a step or two.
    """
    network, _ = frozen_network(codec.entry, CPU)
    for each in (network, codec.network):
        each.gains.log_up += louder
        each.gains.log_down -= louder
    pixels = make_pixels(80, 112)
    x = torch.from_numpy(pixels)[None].float() / 255
    found = latents(network, x, torch.tensor([level]))[0]
    assert found.shape[:2] == (5, 7)
    opened = container.read(codec.encode(pixels, level + 1))
    down = codec.gains(opened.header.quality)[1][0]
    file = (codec.latents(opened) * down)[:5, :7].float()
    y, _ = codec.analyse(pixels, opened.header.quality)
    rounded = y[:5, :7].round() * down
    assert (rounded / down).std() > 0.5
    return ((found - file) / down).abs(), ((rounded - file) / down).abs()


@pytest.mark.parametrize("level", [0.0, 1.5, 2.0])
def test_latents_of_training_are_those_of_files(joint: Codec, level: float) -> None:
    apart, rounded = steps_apart(joint, level, 4.0)
    # All but ties: the means that a file is read with are whole numbers of 2^-8.
    assert (apart < 0.05).float().mean() > 0.99
    assert apart.mean() < 0.2 * rounded.mean()


@pytest.mark.parametrize("level", [0.0, 3.5, 7.0])
def test_latents_behind_a_context_model_are_nearly_those_of_files(
    tiny: Codec, level: float
) -> None:
    apart, rounded = steps_apart(tiny, level)
    assert apart.mean() < 0.2
    assert apart.mean() < 0.7 * rounded.mean()
    assert apart.max() < 1.5


def test_patches_of_pixels_are_normalised(toys: Path) -> None:
    trainer = HeadTrainer(PIXELS, replace(FIRST, augment="none"), CPU)
    x = torch.rand(2, 64, 64, 3)
    read = trainer.read(x, torch.zeros(2))
    assert read.shape == (2, 4, 4, 768)
    patch = read[1, 2, 3].reshape(16, 16, 3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(patch, (x[1, 32:48, 48:64] - mean) / std)


def test_pixels_are_learned(toys: Path, tmp_path: Path) -> None:
    """Within seconds, and what is exported knows pictures that it has not seen, of any size."""
    trainer = HeadTrainer(PIXELS, replace(FIRST, batch=8, weight_decay=0.01), CPU)
    data, line = trainer.load_data(toys, quiet)
    assert line.startswith("21 images of 3 classes to train on, 3 held out, 0 left out")
    trainer.begin_run(RUN)
    losses = [float(trainer.train_step(data).loss.detach()) for _ in range(80)]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert trainer.validate(data) == [{"top1": 1.0, "top5": 1.0}]
    trainer.save(tmp_path / "a.pt")
    path, config, owner = export_head([tmp_path / "a.pt"], tmp_path / "store")
    assert (path.name, config, owner) == ("vit.safetensors", PIXELS, "")
    classifier = load_pixel_classifier(path, CPU)
    sides = {30: 16, 31: 64, 32: 150}
    pictures = [
        (number, toy(number, seed, side)) for number in range(3) for seed, side in sides.items()
    ]
    right = [classifier.of_pixels(picture, 1)[0].label == LABELS[k] for k, picture in pictures]
    assert sum(right) / len(right) > 0.9


@pytest.mark.parametrize("views", [0, 2])
def test_latents_are_learned_and_weights_stay_frozen(views: int, toys: Path) -> None:
    options = replace(FIRST, views=views, augment="none" if views else "mild", batch=8)
    trainer = HeadTrainer(of_tiny(), options, CPU)
    before = parameters(trainer.frozen)
    data, _ = trainer.load_data(toys, quiet)
    assert (data.views is None) == (views == 0)
    losses = [float(trainer.train_step(data).loss.detach()) for _ in range(40)]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])
    rows = trainer.validate(data)
    assert [row["quality"] for row in rows] == [1, 3, 5, 8]
    assert all(0 <= row["top1"] <= row["top5"] == 1 for row in rows)
    assert all(torch.equal(before[k], v) for k, v in parameters(trainer.frozen).items())


def test_views_belong_to_their_images(toys: Path) -> None:
    trainer = HeadTrainer(of_tiny(), replace(FIRST, views=3, augment="none", batch=16), CPU)
    data, _ = trainer.load_data(toys, quiet)
    assert data.views.shape == (63, 4, 4, trainer.config.channels)
    assert data.views.dtype == torch.float16
    y, targets = trainer.batch(data)
    flat = data.views.float().flatten(1)
    for each, target in zip(y.flatten(1), targets, strict=True):
        place = int((flat - each).abs().sum(1).argmin())
        assert target.argmax() == data.targets[place]
    # Each of the three begins with the images in an order of its own.
    classes = data.images.targets[data.images.training]
    for view in data.targets.split(21):
        assert view.bincount().equal(classes.bincount())
    full = HeadTrainer(of_tiny(), replace(FIRST, views=1, augment="full", batch=16), CPU)
    _, targets = full.batch(full.load_data(toys, quiet)[0])
    assert any(bool(((target > 0) & (target < 1)).any()) for target in targets)  # mixed
    torch.testing.assert_close(targets.sum(1), torch.ones(16))


@pytest.mark.parametrize("enlarge", [1, 4])
def test_progress_comes_to_its_end(enlarge: int, toys: Path) -> None:
    totals: list[int] = []
    trainer = HeadTrainer(of_tiny(), replace(FIRST, views=2, enlarge=enlarge), CPU)
    trainer.load_data(toys, totals.append)
    assert totals[-1] == len(totals)


def test_enlarged_images_are_read_from_every_beginning(toys: Path) -> None:
    """Of every scale about as many maps, all of the size that is learned, of the right class."""
    options = replace(FIRST, views=1, enlarge=4, augment="none", batch=16)
    trainer = HeadTrainer(of_tiny(), options, CPU)
    data, _ = trainer.load_data(toys, quiet)
    assert data.views.shape == (21 + 6 * 4 + 2 * 16, 4, 4, trainer.config.channels)
    trainer.qualities = (3.0, 3.0)
    images, pick = data.images, data.images.training[:2]
    maps, targets = trainer.encoded(images, pick, 2, torch.Generator(), trainer.augmentation)
    assert torch.equal(targets.argmax(1), images.targets[pick].repeat(4))
    whole = torch.zeros(2, 8, 8, maps.shape[-1])
    for part, (i, j) in zip(maps.split(2), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        whole[:, i::2, j::2] = part
    x, _ = images.augmented(pick, 128, torch.Generator(), trainer.augmentation)
    torch.testing.assert_close(whole, trainer.read(x, torch.full((2,), 2.0)))


def test_channels_are_learned_alike_and_files_know_nothing_of_it(
    toys: Path, tmp_path: Path
) -> None:
    """The first layer sees a mean of 0 and a spread of 1; export folds that into its weights."""
    trainer = HeadTrainer(of_tiny(), replace(FIRST, views=2, batch=8), CPU)
    data, _ = trainer.load_data(toys, quiet)
    seen = (data.views.float() - trainer.network.embed.mean) / trainer.network.embed.std
    strong = trainer.network.embed.std > 0.01
    assert strong.any()
    assert seen.mean((0, 1, 2)).abs()[strong].max() < 0.2
    assert ((seen.std((0, 1, 2)) - 1).abs()[strong]).max() < 0.2
    trainer.begin_run(RUN)
    trainer.train_step(data)
    trainer.save(tmp_path / "a.pt")
    path, config, _ = export_head([tmp_path / "a.pt"], tmp_path / "store")
    _, vit = read_head(path, None)
    assert "embed.std" not in vit.state_dict()
    y = data.views[:8].float()
    expected = trainer.average.eval()(y)
    torch.testing.assert_close(vit(y), expected, atol=0.02 * float(expected.std()), rtol=0)
    # Weights that are there go on as what they are, from a checkpoint or from a file.
    for init in (tmp_path / "a.pt", path):
        again = start.start(
            toys, "tiny", {**FIRST.to_dict(), "views": 1}, CPU, init=str(init), head=True
        )
        assert isinstance(again, HeadTrainer)
        assert again.config == config
        again.load_data(toys, quiet)
        assert not torch.equal(again.network.embed.std, torch.ones(config.channels))
        found = again.network.eval()(y)
        torch.testing.assert_close(found, expected, atol=0.02 * float(expected.std()), rtol=0)


@pytest.mark.parametrize("case", ["pixels", "fresh", "views"])
def test_resuming_is_exact(case: str, toys: Path, tmp_path: Path) -> None:
    config = PIXELS if case == "pixels" else of_tiny()
    options = replace(FIRST, augment="full", views=2 if case == "views" else 0)
    straight = HeadTrainer(config, options, CPU)
    data, _ = straight.load_data(toys, quiet)
    for _ in range(4):
        straight.train_step(data)
    saved(HeadTrainer(config, options, CPU), toys, tmp_path / "trunk.pt")
    torch.rand(100)  # whatever happens in between
    resumed = start.resume(tmp_path / "trunk.pt", CPU, False, {})
    assert isinstance(resumed, HeadTrainer)
    data, _ = resumed.load_data(toys, quiet)
    resumed.validate(data)
    for _ in range(2):
        resumed.train_step(data)
    assert same(straight.network, resumed.network)
    assert same(straight.average, resumed.average)


def test_resuming_needs_the_same_classes_and_weights(toys: Path, tmp_path, monkeypatch) -> None:
    path = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "a.pt", 1)
    trainer = start.resume(path, CPU, False, {})
    with pytest.raises(UsageError, match="has the classes cat, dog; this network was begun with"):
        trainer.load_data(write_toys(tmp_path / "own", 2, ("cat", "dog")), quiet)
    monkeypatch.delenv("TICODEC_WEIGHTS")
    with pytest.raises(BadInputError, match="tiny, which are not installed"):
        start.resume(path, CPU, False, {})


# -- beginning from others ----------------------------------------------------------------


def test_own_classes_replace_the_layer_of_labels_alone(toys: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(VITS, "vit-lite", replace(VIT, grid=14))
    path = saved(HeadTrainer(PIXELS, FIRST, CPU), toys, tmp_path / "a.pt")
    began = checkpoint.load(path)["average"]
    own = write_toys(tmp_path / "own", 2, ("cat", "dog"))
    for folder, new in ((toys, set()), (own, {"head.weight", "head.bias"})):
        trainer = start.start(folder, "vit-lite", {"crop": 64}, CPU, init=str(path))
        now = trainer.network.state_dict()
        kept = {name for name in began if torch.equal(began[name], now[name])}
        assert set(began) - kept == new
        assert [run["crops"] for run in trainer.history] == [8]
    assert trainer.config.labels == ("cat", "dog")
    assert trainer.config.vit == VIT


def test_a_joint_models_own_classifier_begins_a_head(joint: Codec, tmp_path: Path) -> None:
    own = write_toys(tmp_path / "own", 2, ("cat", "dog"))
    trainer = start.start(own, "joint", {"crop": 64}, CPU, init="joint", head=True)
    assert (trainer.config.codec, trainer.config.channels) == ("joint", 16)
    vit = joint.network.vit.state_dict()
    now = trainer.network.state_dict()
    assert {name for name in vit if not torch.equal(vit[name], now[name])} == {
        "head.weight", "head.bias",
    }  # fmt: skip


def test_what_cannot_begin_a_classifier(joint: Codec, toys: Path, tmp_path: Path) -> None:
    def refused(message: str, model: str, init: str, **more: object) -> None:
        with pytest.raises(TicodecError, match=message):
            start.start(toys, model, {"crop": 64}, CPU, init=init, **more)

    pixels = str(saved(HeadTrainer(PIXELS, FIRST, CPU), toys, tmp_path / "a.pt", 1))
    refused("another size than vit-lite", "vit-lite", pixels)
    refused("tiny have no classifier to begin from", "tiny", "tiny", head=True)
    refused("is a classifier; --head begins from it", "icat", pixels)


@pytest.mark.parametrize(("crop", "grid"), [(64, 4), (224, 14)])
def test_positions_are_learned_for_the_grid_of_the_crops(toys: Path, crop: int, grid: int) -> None:
    """Since that is the size that pictures and latents are brought to, to classify them."""
    for model, head in (("vit-lite", False), ("tiny", True)):
        trainer = start.start(toys, model, {"crop": crop}, CPU, head=head)
        assert trainer.config.vit.grid == grid
        assert trainer.config.vit.C == 192  # of tic-lite too


def test_a_fixed_quality_is_what_is_trained_and_validated(fixed, toys: Path) -> None:
    config = HeadConfig("latents", 16, VIT, LABELS, "fixed", fixed.fingerprint.hex())
    trainer = HeadTrainer(config, FIRST, CPU)
    assert trainer.validation_qualities() == [1.0]
    assert torch.equal(trainer.draw_qualities(5, trainer.sampler), torch.zeros(5))


def test_larger_crops_take_positions_along(toys: Path, tmp_path: Path) -> None:
    """Begun on small crops, gone on with on larger ones: their positions are interpolated."""
    first = start.start(toys, "vit-lite", {"crop": 64}, CPU)
    first.average.load_state_dict(first.network.state_dict())
    first.calibration = torch.zeros(1)
    first.save(tmp_path / "small.pt")
    second = start.start(toys, "vit-lite", {"crop": 96}, CPU, init=str(tmp_path / "small.pt"))
    old, new = first.network.position.detach(), second.network.position.detach()
    assert second.config.vit.grid == 6
    assert new.shape == (1, 6, 6, old.shape[-1])
    torch.testing.assert_close(new.mean(), old.mean(), atol=0.002, rtol=0.3)
    torch.testing.assert_close(second.network.embed.weight, first.network.embed.weight)


@pytest.mark.parametrize("case", ["joint to latents", "joint to pixels", "pixels to latents"])
def test_a_classifier_of_other_things_lives_on(case: str, toys: Path, tmp_path: Path) -> None:
    """All but the first layer is kept, which is fitted to give the tokens of the other's."""
    vit = replace(VITS["vit-lite"], grid=4) if case == "joint to pixels" else VIT
    other: BaseTrainer = HeadTrainer(PIXELS, FIRST, CPU)
    if case.startswith("joint"):
        other = JointTrainer(replace(ICAT, vit=vit), FIRST, CPU)
    path = saved(other, toys, tmp_path / "other.pt", 3)
    to = ("vit-lite", False) if case.endswith("pixels") else ("tiny", True)
    options = {**FIRST.to_dict(), "augment": "none"}
    begun = start.start(toys, to[0], options, CPU, init=str(path), head=to[1])
    assert isinstance(begun, HeadTrainer)
    assert begun.source is not None
    old = other.average.get_submodule("vit") if case.startswith("joint") else other.average
    kept = {k: v for k, v in old.state_dict().items() if not k.startswith("embed")}
    data, line = begun.load_data(toys, quiet)
    for network in (begun.network, begun.average):
        assert all(torch.equal(network.state_dict()[k], v) for k, v in kept.items())
    x = torch.cat([x for x, _ in data.images.centre(64)])
    wanted = begun.source(x)
    found = begun.average.embed(begun.read(x, torch.full((len(x),), 3.0)))
    assert wanted.shape == found.shape == (3, 4, 4, vit.C)
    left = (found - wanted).square().mean() / (wanted - wanted.mean((0, 1, 2))).square().mean()
    told = int(line.rpartition("gives ")[2].partition("%")[0]) / 100
    assert 1 - float(left) == pytest.approx(told, abs=0.2)
    assert told > 0.25  # these images are colours and noise: the colours both know


@pytest.mark.parametrize("step", [1, 2])
def test_a_joint_model_to_begin_from_is_read_as_it_was_trained(
    step: int, toys: Path, tmp_path: Path
) -> None:
    joint = JointTrainer(ICAT, FIRST if step == 1 else SECOND, CPU)
    first = saved(joint, toys, tmp_path / "joint.pt", 1)
    begun = start.start(toys, "tiny", FIRST.to_dict(), CPU, init=str(first), head=True)
    assert isinstance(begun, HeadTrainer)
    assert begun.source is not None
    x = torch.rand(2, 64, 64, 3)
    network = joint.average
    assert isinstance(network, Icat)
    y = network.g_a(x - 0.5)
    if step == 2:
        y = latents(network, x, torch.full((2,), 2.0))
    torch.testing.assert_close(begun.source(x), network.vit.embed(y))


def test_what_a_beginning_computes_survives_resuming_at_once(toys: Path, tmp_path: Path) -> None:
    """Standardisation is measured anew then, and changes nothing."""
    path = saved(HeadTrainer(of_tiny(), replace(FIRST, views=1), CPU), toys, tmp_path / "a.pt", 5)
    begun = start.start(toys, "tiny", FIRST.to_dict(), CPU, init=str(path), head=True)
    begun.load_data(toys, quiet)
    begun.save(tmp_path / "b.pt")
    resumed = start.resume(tmp_path / "b.pt", CPU, False, {"views": 1})
    y = resumed.load_data(toys, quiet)[0].views[:8].float()
    torch.testing.assert_close(resumed.network.eval()(y), begun.network.eval()(y))


def test_checkpoints_from_before_standardisation(toys: Path, tmp_path: Path) -> None:
    """They go on as they are, and have a mean with later ones."""
    new = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "new.pt")
    state = checkpoint.load(new)
    for name in ("network", "average"):
        state[name] = folded(state[name])
    checkpoint.save(tmp_path / "old.pt", state)
    resumed = start.resume(tmp_path / "old.pt", CPU, False, {})
    data, _ = resumed.load_data(toys, quiet)
    assert torch.equal(resumed.network.get_submodule("embed").std, torch.ones(16))
    resumed.train_step(data)
    for sources in ([new], [tmp_path / "old.pt", new]):
        path, _, _ = export_head(sources, tmp_path / str(len(sources)))
        one, two = read_head(path, None)[1], read_head(tmp_path / "1" / path.name, None)[1]
        for name, value in one.state_dict().items():
            torch.testing.assert_close(value, two.state_dict()[name], rtol=2e-3, atol=1e-5)


def test_least_squares_find_what_is_linear() -> None:
    torch.manual_seed(0)
    wanted, layer, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    given = [torch.randn(7, 2, 5) for _ in range(20)]
    assert stitch(layer, [(x, wanted(x)) for x in given]) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(layer.weight, wanted.weight, atol=5e-3, rtol=0)
    noisy = [(x, wanted(x) + other(x).std() * torch.randn(7, 2, 3)) for x in given]
    assert 0.2 < stitch(layer, noisy) < 0.9


def test_a_classifier_of_unknown_latents_is_no_beginning(toys: Path, tmp_path: Path) -> None:
    path = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "a.pt", 1)
    state = checkpoint.load(path)
    state["config"]["fingerprint"] = "12345678"
    checkpoint.save(path, state)
    with pytest.raises(BadInputError, match="tiny, which are not installed"):
        start.start(toys, "tiny", FIRST.to_dict(), CPU, init=str(path), head=True)
