"""Training with frozen transforms: which weights change, resuming, and whether it helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import CPU, make_pixels
from torch import Tensor
from toys import RUN, frozen_tiny, parameters, quiet, same

from ticodec.codec import Codec
from ticodec.models.prior import FactorizedPrior
from ticodec.training.encoded_photos import code
from ticodec.training.entropy_trainer import TRAINED, EncodedData, EntropyTrainer
from ticodec.training.export.tables import gaussian_tables
from ticodec.training.export.weights_file import export
from ticodec.training.options import OPTIMIZERS
from ticodec.training.request import Request
from ticodec.training.start import resume, start

#: Side of the crops for validation and calibration.
SIDE = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of five photos. The first is held out, and its crops are smaller than usual."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(5):
        Image.fromarray(make_pixels(150, 170, seed)).save(folder / f"{seed}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ticodec.training.photo_trainer.CALIBRATION_SIZE", SIDE)
        yield folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[EncodedData, Tensor, Tensor]:
    """Photos encoded by the tiny network, its calibration images, and the cost of errors."""
    trainer = frozen_tiny()
    data, line = trainer.load_data(folder, quiet)
    assert line.splitlines()[1:] == ["0.1 megapixels encoded, in 16 pieces"]
    return data, trainer.calibration, trainer.costs


@pytest.fixture
def trainer_of(loaded: tuple[EncodedData, Tensor, Tensor]) -> Callable[..., EntropyTrainer]:
    """A function like `frozen_tiny` that makes trainers for these photos without encoding again."""

    def make(*given: object, **changes: object) -> EntropyTrainer:
        trainer = frozen_tiny(*given, **changes)
        trainer.calibration = loaded[1]
        trainer.costs.copy_(loaded[2])
        return trainer

    return make


# -- learning ---------------------------------------------------------------------------


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_weights_stay_and_all_others_change(trainer_of, loaded, optimizer: str) -> None:
    trainer = trainer_of(optimizer=optimizer, weight_decay=0.1)
    before = parameters(trainer.network)
    for _ in range(3):
        trainer.train_step(loaded[0])
    for network in (trainer.network, trainer.average):
        for name, value in network.named_parameters():
            moved = not torch.equal(value, before[name])
            assert moved == name.startswith(TRAINED), name
    assert {name.split(".")[0] for name in before} == {"g_a", "g_s", "gains", *TRAINED}


def test_only_trained_weights_have_an_optimiser_state(trainer_of, loaded) -> None:
    """So a step does not have to go through the frozen weights."""
    trainer = trainer_of(optimizer="muon")
    trainer.train_step(loaded[0])
    state = trainer.optimizer.state_dict()
    stored = sum(buffer.numel() for buffer in state["muon"])
    stored += sum(each["exp_avg"].numel() for each in state["adam"]["state"].values())
    trained = [p.numel() for p in trainer.network.parameters() if p.requires_grad]
    assert stored == sum(trained) < sum(p.numel() for p in trainer.network.parameters())


def test_each_term_of_the_loss_trains_one_part(trainer_of, loaded) -> None:
    """The loss is computed by hand, at one level, for a batch of one."""
    trainer = trainer_of(balance=0.0)
    y, _, y_hat = trainer.batch(loaded[0])
    y, y_hat, level = y[:1], y_hat[:1], torch.tensor([3.0])
    torch.manual_seed(0)
    loss, bpp = trainer.forward(y, level, y_hat)
    torch.manual_seed(0)
    network, prior = trainer.network, trainer.network.prior
    up, down = network.scaling(level)
    z = network.h_a(y * up)
    noise = torch.rand_like(z) - 0.5
    scales, means = network.prediction(z.round(), y_hat)
    normal = torch.distributions.Normal(0.0, scales.clamp(min=0.11).double())

    def bits(x: Tensor) -> Tensor:
        p = normal.cdf(x.double() + 0.5) - normal.cdf(x.double() - 0.5)
        return -p.clamp(min=1e-9).log2().sum()

    error = y * up - means
    symbols = error.round()
    bits_z = [-prior.likelihood(value).log2().sum() for value in (z.round(), z + noise)]
    squares = ((symbols - error) * down).pow(2) * trainer.costs
    mse = squares.sum() / (3 * 64 * 64)  # errors of latents, converted to errors of pixels
    wanted = (bits(symbols) + bits(error) + sum(bits_z)) / 64**2 + 0.013 * 255**2 * mse
    torch.testing.assert_close(loss, wanted.float(), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        bpp, ((bits(symbols) + bits_z[0]) / 64**2).float(), rtol=1e-3, atol=0
    )
    (gradient,) = torch.autograd.grad(loss, prior.matrices[0], retain_graph=True)
    (alone,) = torch.autograd.grad(bits_z[0] / 64**2, prior.matrices[0])
    torch.testing.assert_close(gradient, alone)  # the noisy z does not train the prior


def test_a_frozen_prior_has_the_same_likelihoods_and_no_gradient() -> None:
    prior, z = FactorizedPrior(3), torch.randn(2, 4, 3, requires_grad=True)
    assert torch.equal(prior.likelihood(z), prior.likelihood(z, frozen=True))
    prior.likelihood(z, frozen=True).sum().backward()
    assert z.grad is not None
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_training_lowers_the_loss_and_the_rate_of_files(trainer_of, loaded) -> None:
    trainer = trainer_of(1.0, lr=3e-3, ema=0.9)
    before = trainer.validate(loaded[0])
    losses = [float(trainer.train_step(loaded[0]).loss.detach()) for _ in range(20)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert int(trainer.skipped) == 0
    after = trainer.validate(loaded[0])
    assert [row["quality"] for row in before] == [1, 3, 5, 8]
    for old, new in zip(before, after, strict=True):
        assert new["bpp"] < 0.8 * old["bpp"]
        assert new["psnr"] == pytest.approx(old["psnr"], abs=0.05)


def test_the_rate_that_is_shown_matches_files(trainer_of, loaded, tmp_path: Path) -> None:
    """It is the rate of the exported weights, up to their rounding to half precision."""
    trainer = trainer_of()
    trainer.begin_run({**RUN, **trainer.recorded_options()})
    trainer.train_step(loaded[0])
    trainer.finish(loaded[0])
    trainer.save(tmp_path / "a.pt")
    entry = export([tmp_path / "a.pt"], tmp_path / "store")
    assert "freeze transforms" in entry.path.with_suffix(".md").read_text()
    codec = Codec(entry, "cpu", bf16=False)
    (x,), (row, *_) = loaded[0].held, trainer.validate(loaded[0])
    pixels = (x * 255).round().byte().numpy()
    coded = codec.entropy.encode(*codec.scaled(codec.features(pixels), codec.stored_quality(1)))
    bpp = 8 * len(coded.z_stream + coded.y_stream) / SIDE**2
    assert row["bpp"] == pytest.approx(bpp, rel=0.02)
    tables = gaussian_tables(trainer.symbols.y)["frequencies"]
    for coder in (codec.entropy, trainer.coder(trainer.average)):
        assert np.array_equal(coder.y_tables.frequencies, tables.numpy())


# -- resuming ---------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resuming_where_a_new_coder_is_made_is_exact(
    trainer_of, loaded, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticodec.training.entropy_trainer.COMPILED", 2)
    straight = trainer_of(optimizer=optimizer)
    for _ in range(4):
        straight.train_step(loaded[0])
    first = trainer_of(optimizer=optimizer)
    for _ in range(2):
        first.train_step(loaded[0])
    first.finish(loaded[0])
    first.save(tmp_path / "trunk.pt")
    torch.rand(100)  # resuming must not depend on other random draws
    second = resume(tmp_path / "trunk.pt", CPU)
    assert type(second) is EntropyTrainer
    assert all(map(torch.equal, second.symbols, first.symbols))
    second.costs.copy_(straight.costs)
    for _ in range(2):
        second.train_step(loaded[0])
    assert same(second.network, straight.network)
    assert same(second.average, straight.average)


def test_a_resumed_run_encodes_to_the_same_latents(
    trainer_of, loaded, folder: Path, tmp_path: Path
) -> None:
    data = loaded[0]
    trainer = trainer_of(lr=1e-2, ema=0.0)
    for _ in range(5):
        trainer.train_step(data)
    trainer.save(tmp_path / "trunk.pt")
    resumed = resume(tmp_path / "trunk.pt", CPU)
    again, _ = resumed.load_data(folder, quiet)
    assert torch.equal(resumed.costs, trainer.costs)
    assert torch.equal(resumed.calibration, trainer.calibration)
    assert torch.equal(again.held_y, data.held_y)
    assert all(map(torch.equal, again.photos.maps, data.photos.maps))


def test_the_context_is_from_the_present_weights(
    trainer_of, loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ŷ of older weights would contain information from their h_a that files do not have."""
    monkeypatch.setattr("ticodec.training.entropy_trainer.COMPILED", 3)
    trainer = trainer_of(lr=1e-2)
    coders = []
    for step in range(6):
        now = trainer.coder(trainer.network)
        y, level, y_hat = trainer.batch(loaded[0])
        scaled = y * trainer.network.scaling(level)[0]
        if step % 3 == 0:
            assert torch.equal(y_hat, code(trainer.network, now, scaled))
        trainer.train_step(loaded[0])
        coders.append(trainer.batch_coder)
    assert [coder is coders[0] for coder in coders] == [True] * 3 + [False] * 3
    assert coders[3] is coders[5]


def test_counts_are_from_the_end_of_the_last_phase(trainer_of, loaded, tmp_path: Path) -> None:
    trainer = trainer_of(batch=3)
    assert trainer.finish(loaded[0]) == ""  # nothing has changed yet
    trainer.train_step(loaded[0])
    assert trainer.state()["symbols"] is None
    drawn = trainer.sampler.get_state(), torch.get_rng_state()
    trainer.finish(loaded[0])
    assert torch.equal(trainer.sampler.get_state(), drawn[0])
    assert torch.equal(torch.get_rng_state(), drawn[1])
    first = trainer.symbols
    assert first.y.sum() == 33 * 4 * 4 * 16  # 33 pieces, because a batch has 3
    assert first.z.sum() == 33 * 16
    trainer.finish(loaded[0])
    assert all(map(torch.equal, first, trainer.symbols))
    with torch.no_grad():
        trainer.average.prior.biases[0].add_(1)
        trainer.average.head.conv3.bias.add_(1)  # wider scales
    trainer.finish(loaded[0])
    assert torch.equal(first.z, trainer.symbols.z)
    assert not torch.equal(first.y.sum(1), trainer.symbols.y.sum(1))


# -- other photos and weights ------------------------------------------------------------


def test_photos_are_shrunk_if_asked(folder: Path) -> None:
    totals: list[int] = []
    data, line = frozen_tiny(shrink=2.0).load_data(folder, totals.append)
    assert len(data.photos.maps) == 20
    assert line.endswith("megapixels encoded, in 20 pieces")
    assert len(totals) == totals[-1] == 5 + 8


def test_weights_for_one_trade_off_can_be_trained(fixed, folder: Path) -> None:
    request = Request(folder, options={"freeze": "transforms", "crop": 64}, init="fixed")
    trainer = start(request)
    assert trainer.options.quality_range == (1, 1)
    assert {name.split(".")[0] for name in parameters(trainer.network)} == {"g_a", "g_s", *TRAINED}
    data, _ = trainer.load_data(folder, quiet)
    assert trainer.batch(data)[1].unique().tolist() == [0]
    assert trainer.train_step(data).loss.isfinite()
    assert [row["quality"] for row in trainer.validate(data)] == [1]
