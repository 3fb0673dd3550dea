"""Training of separate classifiers: what they read, how they learn, how they are exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import CPU, make_pixels
from toys import (
    FIRST,
    LABELS,
    LEARNED,
    PIXELS,
    RUN,
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
from ticodec.errors import BadInputError, UsageError
from ticodec.models.config import HeadConfig
from ticodec.training import checkpoint, start
from ticodec.training.encoded_views import encoded, windows
from ticodec.training.export.weights_file import export_head
from ticodec.training.float_latents import frozen_network, latents
from ticodec.training.halving import layer_of
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.request import Request
from ticodec.training.standardised_input import folded


def steps_apart(codec: Codec, level: float, louder: float = 0.0) -> tuple[torch.Tensor, ...]:
    """The distance of two kinds of latents from those of a file, in the file's quantisation steps.

    The first kind are the latents that training uses. The second kind are rounded directly.

    Args:
        louder: added to the logarithm of the gain, so that latents have more than a step or two.
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
    y, _ = codec.scaled(codec.features(pixels), opened.header.quality)
    rounded = y[:5, :7].round() * down
    assert (rounded / down).std() > 0.5
    return ((found - file) / down).abs(), ((rounded - file) / down).abs()


@pytest.mark.parametrize("level", [0.0, 1.5, 2.0])
def test_latents_of_training_equal_those_of_files(joint: Codec, level: float) -> None:
    apart, rounded = steps_apart(joint, level, 4.0)
    # All are equal but ties, because a file's means are multiples of 2^-8.
    assert (apart < 0.05).float().mean() > 0.99
    assert apart.mean() < 0.2 * rounded.mean()


@pytest.mark.parametrize("level", [0.0, 3.5, 7.0])
def test_latents_with_a_context_model_are_nearly_those_of_files(tiny: Codec, level: float) -> None:
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


def test_a_classifier_of_pixels_learns(toys: Path, tmp_path: Path) -> None:
    """It learns in seconds. When exported, it classifies new pictures of any size."""
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
def test_a_classifier_of_latents_learns_and_the_codec_stays_frozen(views: int, toys: Path) -> None:
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
        assert torch.equal(target, data.targets[place].float())
    # Each of the three views has all images, in its own order.
    classes = data.images.targets[data.images.training]
    for view in data.targets.split(21):
        assert view.argmax(1).bincount().equal(classes.bincount())
    full = HeadTrainer(of_tiny(), replace(FIRST, views=1, augment="full", batch=16), CPU)
    _, targets = full.batch(full.load_data(toys, quiet)[0])
    assert any(bool(((target > 0) & (target < 1)).any()) for target in targets)  # mixed
    torch.testing.assert_close(targets.sum(1), torch.ones(16))


@pytest.mark.parametrize("enlarge", [1, 4])
def test_progress_reaches_its_end(enlarge: int, toys: Path) -> None:
    totals: list[int] = []
    trainer = HeadTrainer(of_tiny(), replace(FIRST, views=2, enlarge=enlarge), CPU)
    trainer.load_data(toys, totals.append)
    assert totals[-1] == len(totals)


def test_latents_of_enlarged_images_are_halved_to_the_trained_size(toys: Path) -> None:
    options = replace(FIRST, views=1, enlarge=4, augment="none", batch=16)
    trainer = HeadTrainer(of_tiny(), options, CPU)
    data, _ = trainer.load_data(toys, quiet)
    assert data.views.shape == (21 + 6 + 2, 4, 4, trainer.config.channels)
    trainer.qualities = (3.0, 3.0)
    images, pick = data.images, data.images.training[:2]
    maps, targets = encoded(trainer, images, pick, 4, torch.Generator(), trainer.augmentation)
    assert torch.equal(targets.argmax(1), images.targets[pick])
    x, _ = images.augmented(pick, 256, torch.Generator(), trainer.augmentation)
    halve = layer_of(trainer.network)
    expected = halve(halve(trainer.read(x, torch.full((2,), 2.0))))
    torch.testing.assert_close(maps, expected)


def test_channels_are_standardised_in_training_but_not_in_files(toys: Path, tmp_path: Path) -> None:
    """The first layer gets a mean of 0 and a deviation of 1. Export folds that into its weights."""
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
    # Training that begins from a checkpoint or a file begins with the same function.
    for init in (tmp_path / "a.pt", path):
        again = start.start(
            Request(toys, "tiny", {**LEARNED, "views": 1}, CPU, init=str(init), head=True)
        )
        assert isinstance(again, HeadTrainer)
        assert again.config == config
        again.load_data(toys, quiet)
        assert not torch.equal(again.network.embed.std, torch.ones(config.channels))
        found = again.network.eval()(y)
        torch.testing.assert_close(found, expected, atol=0.02 * float(expected.std()), rtol=0)


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("case", ["pixels", "fresh", "views"])
def test_resuming_is_exact(case: str, toys: Path, tmp_path: Path) -> None:
    config = PIXELS if case == "pixels" else of_tiny()
    options = replace(FIRST, augment="full", views=2 if case == "views" else 0)
    straight = HeadTrainer(config, options, CPU)
    data, _ = straight.load_data(toys, quiet)
    for _ in range(4):
        straight.train_step(data)
    saved(HeadTrainer(config, options, CPU), toys, tmp_path / "trunk.pt")
    torch.rand(100)  # resuming must not depend on other random draws
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
    with pytest.raises(UsageError, match="has the classes cat, dog, but this network has"):
        trainer.load_data(write_toys(tmp_path / "own", 2, ("cat", "dog")), quiet)
    monkeypatch.delenv("TICODEC_WEIGHTS")
    with pytest.raises(BadInputError, match="tiny, which are not installed"):
        start.resume(path, CPU, False, {})


# -- beginning from other weights ---------------------------------------------------------


@pytest.mark.parametrize(("crop", "grid"), [(64, 4), (224, 14)])
def test_positions_have_the_grid_of_the_crops(toys: Path, crop: int, grid: int) -> None:
    """To classify them, pictures and latents are brought to the size of the crops."""
    for model, head in (("vit-lite", False), ("tiny", True)):
        trainer = start.start(Request(toys, model, {"crop": crop}, CPU, head=head))
        assert trainer.config.vit.grid == grid
        assert trainer.config.vit.C == 192  # for tic-lite too


def test_training_and_validation_use_a_fixed_quality(fixed, toys: Path) -> None:
    config = HeadConfig("latents", 16, VIT, LABELS, "fixed", fixed.fingerprint.hex())
    trainer = HeadTrainer(config, FIRST, CPU)
    assert trainer.validation_qualities() == [1.0]
    assert torch.equal(trainer.draw_qualities(5, trainer.sampler), torch.zeros(5))


def test_old_checkpoints_without_standardisation(toys: Path, tmp_path: Path) -> None:
    """They can be resumed unchanged, and averaged with later ones."""
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


def test_old_checkpoints_without_halving(toys: Path, tmp_path: Path) -> None:
    """They can be resumed unchanged. Latents for them cannot be halved."""
    before = saved(HeadTrainer(replace(of_tiny(), halving=False), FIRST, CPU), toys, tmp_path / "a")
    state = checkpoint.load(before)
    del state["config"]["halving"]
    assert not any(name.startswith("halve") for name in state["average"])
    checkpoint.save(tmp_path / "a.pt", state)
    resumed = start.resume(tmp_path / "a.pt", CPU, False, {})
    assert not resumed.config.halving
    resumed.save(tmp_path / "b.pt")
    sources = [tmp_path / "a.pt", tmp_path / "b.pt"]  # one has the field that the other lacks
    path, config, _ = export_head(sources, tmp_path / "mean")
    assert not config.halving
    assert "every second" in path.with_suffix(".md").read_text()
    with pytest.raises(UsageError, match="no layer that halves latents"):
        start.resume(tmp_path / "a.pt", CPU, False, {"views": 1, "enlarge": 2})
    begun = start.start(Request(toys, "tiny", LEARNED, CPU, init=str(tmp_path / "a.pt"), head=True))
    assert isinstance(begun, HeadTrainer)
    begun.load_data(toys, quiet)
    assert layer_of(begun.network).weight.any()  # it was missing, so it is fitted


def test_windows_are_parts_of_their_maps() -> None:
    torch.manual_seed(0)
    y = torch.arange(4 * 6 * 9).reshape(4, 6, 9, 1)
    sizes, corners = set(), set()
    for _ in range(300):
        parts = windows(y)
        high, wide = parts.shape[1:3]
        for part, whole in zip(parts, y, strict=True):
            i, j = divmod(int(part[0, 0, 0] - whole[0, 0, 0]), 9)
            assert torch.equal(part, whole[i : i + high, j : j + wide])
            corners.add((i, j))
        sizes.add((high, wide))
    assert sizes == {(h, w) for h in (4, 5, 6) for w in (6, 7, 8, 9)}
    assert corners == {(i, j) for i in range(3) for j in range(4)}
