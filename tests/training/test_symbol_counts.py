"""Counts of symbols, the tables that are fitted to them, and weights with these tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support import CPU, SMALL, SMALL_RUN, make_pixels
from torch import Tensor

from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import BadInputError
from ticodec.models.prior import FactorizedPrior
from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.export.tables import (
    HALF_MAX,
    MODELLED,
    gaussian_tables,
    prior_tables,
    scale_grid,
)
from ticodec.training.export.weights_file import export
from ticodec.training.symbol_counts import REACH_Y, REACH_Z, SymbolCounts, summed

TABLES = len(scale_grid())
#: The number of a table for scales near 1, and of one for large scales.
NARROW, WIDE = 36, 80


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int, per_table: int = 5000, channels: int = 16) -> SymbolCounts:
    """Counts of random symbols with longer tails than gaussians, and a mean slightly above 0."""
    counts, scales = SymbolCounts.none(TABLES, channels), torch.from_numpy(scale_grid())[:, None]
    noise = torch.randn(2, TABLES, per_table, generator=seeded(seed), dtype=torch.float64)
    symbols = (noise[0] * noise[1].abs().sqrt() * scales + 0.1).round()
    indexes = torch.arange(TABLES)[:, None].expand_as(symbols)
    z = (torch.randn(4000, channels, generator=seeded(seed + 1)) * 3 + 5).round()
    counts.add(indexes, symbols, z)
    return counts


def rows(tables: dict[str, Tensor]) -> Iterator[Tensor]:
    """The frequencies of each table, for -K … K."""
    yield from tables["frequencies"].split((2 * tables["halves"] + 1).tolist())


def cost(tables: dict[str, Tensor], counts: Tensor, centres: Tensor | None = None) -> Tensor:
    """Bits of the counted symbols for each table. Symbols beyond its end count as the end."""
    bits = []
    for number, (frequencies, counted) in enumerate(zip(rows(tables), counts, strict=True)):
        half, middle = len(frequencies) // 2, len(counted) // 2
        symbols = torch.arange(-middle, middle + 1) - (0 if centres is None else centres[number])
        each = frequencies[symbols.clamp(-half, half) + half].double() / 65536
        bits.append(-(counted * each.log2()).sum())
    return torch.stack(bits)


# -- counting ---------------------------------------------------------------------------


def test_symbols_are_counted_by_table_and_z_by_channel() -> None:
    counts = SymbolCounts.none(3, 2)
    indexes = torch.tensor([[0, 2], [2, 2]])
    symbols = torch.tensor([[5.0, -1.0], [-1.0, 0.0]])
    z = torch.tensor([[[7.0, -3.0]], [[7.0, 2.0]]])
    for _ in range(2):
        counts.add(indexes, symbols, z)
    assert counts.y.sum() == 2 * indexes.numel()
    assert counts.z.sum() == 2 * z.numel()
    assert counts.y[:, REACH_Y + torch.tensor([-1, 0, 5])].tolist() == [
        [0, 0, 2],
        [0, 0, 0],
        [4, 2, 0],
    ]
    assert counts.z[:, REACH_Z + torch.tensor([-3, 2, 7])].tolist() == [[0, 0, 4], [2, 2, 0]]


def test_symbols_far_outside_count_as_the_last_one() -> None:
    counts = SymbolCounts.none(1, 1)
    far = torch.tensor([-32767.0, -256, -255, 255, 256, 32767])
    counts.add(torch.zeros(6, dtype=torch.long), far, 5 * far[:, None])
    ends = torch.tensor([0, -1])
    assert counts.y[0, ends].tolist() == [3, 3]
    assert counts.z[0, ends].tolist() == [3, 3]
    assert (int(counts.y.sum()), int(counts.z.sum())) == (6, 6)


def test_counts_add_up_unless_one_is_missing() -> None:
    one, two = drawn(1, 10), drawn(2, 20)
    both = summed([one, two])
    assert both is not None
    assert torch.equal(both.y, one.y + two.y)
    assert torch.equal(both.z, one.z + two.z)
    assert torch.equal(one.y, drawn(1, 10).y)  # unchanged
    assert summed([one, None]) is None
    assert summed([None]) is None


# -- tables -----------------------------------------------------------------------------


def test_counted_ranges_hold_every_table() -> None:
    assert REACH_Y >= HALF_MAX
    assert REACH_Z >= 4 * HALF_MAX


def test_fitted_tables_are_valid() -> None:
    """They have positive integers that sum to 65536. Those of y are symmetric around 0."""
    one_symbol = SymbolCounts.none(TABLES, 16)
    one_symbol.y[:, REACH_Y + 2] = 10**9
    one_symbol.z[:, 0] = 10**9
    prior = FactorizedPrior(16)
    for counts in (drawn(1), one_symbol):
        of_y, (of_z, centres) = gaussian_tables(counts.y), prior_tables(prior, counts.z)
        assert torch.equal(of_y["halves"], gaussian_tables()["halves"])
        assert torch.equal(centres, prior_tables(prior)[1])
        for tables in (of_y, of_z):
            for frequencies in rows(tables):
                assert frequencies.min() >= 1
                assert frequencies.sum() == 65536
        for frequencies in rows(of_y):  # except for one count that makes the sum right
            assert (frequencies - frequencies.flip(0)).abs().max() <= 1


def test_tables_without_counts_are_those_of_earlier_versions() -> None:
    _, tensors = weights.read(weights.find("tiny"))
    for name, value in gaussian_tables().items():
        assert torch.equal(value, tensors[f"exact.y.{name}"])


def test_tables_without_counted_symbols_are_those_of_the_model() -> None:
    nothing, prior = SymbolCounts.none(TABLES, 16), FactorizedPrior(16)
    for fitted, model in (
        (gaussian_tables(nothing.y), gaussian_tables()),
        (prior_tables(prior, nothing.z)[0], prior_tables(prior)[0]),
    ):
        assert torch.equal(fitted["halves"], model["halves"])
        assert (fitted["frequencies"] - model["frequencies"]).abs().max() <= 1
    little = SymbolCounts.none(TABLES, 16)
    little.y[NARROW, REACH_Y] = int(MODELLED / 100)
    before, after = (list(rows(gaussian_tables(c)))[NARROW] for c in (None, little.y))
    assert 0 < (after - before).abs().max() < 0.01 * 65536


def test_fitted_tables_take_fewer_bits_for_the_counted_symbols() -> None:
    counts, prior = drawn(1), FactorizedPrior(16)
    before, after = cost(gaussian_tables(), counts.y), cost(gaussian_tables(counts.y), counts.y)
    assert (after <= before * 1.0001).all()
    assert after[NARROW] < 0.99 * before[NARROW]
    assert after[WIDE] < 0.99 * before[WIDE]
    (of_model, centres), (of_counts, _) = prior_tables(prior), prior_tables(prior, counts.z)
    before, after = (cost(tables, counts.z, centres) for tables in (of_model, of_counts))
    assert (after < 0.9 * before).all()


def test_tables_of_z_are_not_made_symmetric() -> None:
    counts = SymbolCounts.none(TABLES, 16)
    counts.z[:, REACH_Z + 4] = 10**6
    tables, centres = prior_tables(FactorizedPrior(16), counts.z)
    for frequencies, centre in zip(rows(tables), centres.tolist(), strict=True):
        assert int(frequencies.argmax()) - len(frequencies) // 2 + centre == 4


# -- export -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints of one network: without counts, and with the counts of two runs."""
    folder = tmp_path_factory.mktemp("counted")
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.average.load_state_dict(trainer.network.state_dict())
    trainer.begin_run({"device": "CPU", "lr": 1e-3, "crop": 64, "batch": 2})
    trainer.crops = 2
    state = trainer.state()
    checkpoint.save(folder / "without.pt", state)
    checkpoint.save(folder / "none.pt", {**state, "symbols": None})
    for seed in (1, 2):
        checkpoint.save(folder / f"{seed}.pt", {**state, "symbols": drawn(seed)._asdict()})
    return folder


@pytest.fixture(scope="module")
def exported(counted: Path) -> Callable[..., weights.Entry]:
    """A function that exports some of these checkpoints together, and caches the result."""

    @cache
    def call(*names: str) -> weights.Entry:
        return export([counted / f"{name}.pt" for name in names], counted / " ".join(names))

    return call


def test_an_export_has_the_tables_of_all_counts_together(exported) -> None:
    both = summed([drawn(1), drawn(2)])
    assert both is not None
    for names, counts in (("1",), drawn(1)), (("1", "2"), both), (("1", "without"), None):
        _, tensors = weights.read(exported(*names))
        wanted = gaussian_tables(None if counts is None else counts.y)
        for name, value in wanted.items():
            assert torch.equal(tensors[f"exact.y.{name}"], value)


def test_counts_change_tables_and_nothing_else(exported) -> None:
    assert exported("without").sha256 == exported("none").sha256 != exported("1").sha256
    without, fitted = (weights.read(exported(name))[1] for name in ("without", "1"))
    assert without.keys() == fitted.keys()
    changed = {name for name, value in without.items() if not torch.equal(value, fitted[name])}
    assert changed == {"exact.y.frequencies", "exact.z.frequencies"}


def test_files_of_fitted_tables_decode_exactly(exported) -> None:
    """The C extension and torch decode the same latents as from files without fitted tables."""
    pixels = make_pixels(70, 90)
    without, fitted, by_torch = (
        Codec(exported(name), "cpu", bf16=False) for name in ("without", "1", "1")
    )
    by_torch.entropy.latents.native = by_torch.entropy.latents.native_hyper = None
    for quality in (1, 8):
        plain, file = without.encode(pixels, quality), fitted.encode(pixels, quality)
        assert by_torch.encode(pixels, quality) == file
        found = [codec.decode(file).pixels for codec in (fitted, by_torch)]
        assert np.array_equal(*found)
        assert np.array_equal(found[0], without.decode(plain).pixels)


@pytest.mark.parametrize(
    "damaged",
    [
        {"y": torch.zeros(91, 511, dtype=torch.long)},
        {"y": torch.zeros(92, 509, dtype=torch.long)},
        {"z": torch.zeros(8, 2041, dtype=torch.long)},
        {"z": torch.full((16, 2041), -1)},
        {"z": torch.zeros(16, 2041)},
        {"x": torch.zeros(1)},
    ],
)
def test_counts_for_other_tables_are_refused(
    damaged: dict[str, Tensor], counted: Path, tmp_path: Path
) -> None:
    state = checkpoint.load(counted / "1.pt")
    checkpoint.save(tmp_path / "a.pt", {**state, "symbols": state["symbols"] | damaged})
    with pytest.raises(BadInputError, match=r"a\.pt: not a checkpoint of .*this version"):
        export([tmp_path / "a.pt"], tmp_path / "store")
    assert not (tmp_path / "store").exists()
