"""Adam and Muon, and steps that are skipped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support import CPU
from support import SMALL as CONFIG
from support import SMALL_RUN as OPTIONS

from ticodec.training.codec_trainer import Trainer
from ticodec.training.optimizer import Muon, orthogonal
from ticodec.training.options import OPTIMIZERS
from ticodec.training.photo_trainer import PhotoData


def test_steps_that_are_not_finite_are_skipped_and_counted(data: PhotoData) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.train_step(data)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    good = trainer.loss
    trainer.loss = lambda x, level: good(x * float("nan"), level)
    trainer.train_step(data)
    assert (int(trainer.skipped), trainer.step) == (1, 2)
    assert all(torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())
    trainer.loss = good
    trainer.train_step(data)
    assert int(trainer.skipped) == 1
    assert any(not torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())


def test_a_spike_of_the_gradient_is_skipped_and_does_not_hide_later_ones() -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.step = 1000
    trainer.typical.fill_(2.0)
    sane = lambda norm: bool(trainer.is_sane(torch.tensor(1.0 + norm), torch.tensor(norm)))  # noqa: E731
    assert sane(3.0)
    before = float(trainer.typical)
    assert not sane(100.0)
    after = float(trainer.typical)
    assert before < after < 1.1 * before
    assert not sane(float("nan"))
    assert float(trainer.typical) == after
    for _ in range(300):  # larger norms are accepted after some time
        sane(30.0)
    assert sane(30.0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_changes_every_parameter_and_a_skipped_step_none(
    optimizer: str, data: PhotoData
) -> None:
    trainer = Trainer(CONFIG, replace(OPTIONS, optimizer=optimizer), CPU)
    with torch.no_grad():  # ẑ would be all zeros at first, and h_s would hardly learn
        trainer.network.h_a[-1].conv.weight.mul_(100)

    def moved() -> set[str]:
        before = {k: v.clone() for k, v in trainer.network.named_parameters()}
        trainer.train_step(data)
        after = dict(trainer.network.named_parameters())
        return {k for k, v in before.items() if not torch.equal(v, after[k])}

    for _ in range(2):
        assert moved() == {k for k, _ in trainer.network.named_parameters()}
    good = trainer.loss
    trainer.loss = lambda x, level: good(x * float("nan"), level)
    assert moved() == set()
    trainer.loss = good
    assert moved()
    assert all(v.isfinite().all() for v in trainer.network.parameters())


@pytest.mark.parametrize("bf16", [True, False])
def test_muon_equals_torchs_muon(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in float32 if bf16 would be emulated."""
    monkeypatch.setattr("ticodec.training.optimizer.fast_bf16", lambda device: bf16)
    types: list[torch.dtype] = []

    def seen(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        types.append(dtype)
        return orthogonal(x, dtype)

    monkeypatch.setattr("ticodec.training.optimizer.orthogonal", seen)
    torch.manual_seed(0)
    shapes = [(6, 9), (9, 6), (6, 9), (5, 5)]
    mine, theirs = ([torch.nn.Parameter(torch.zeros(s)) for s in shapes] for _ in range(2))
    muon = Muon(mine)
    torchs = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        muon.step(0.1, torch.tensor(True))
        torchs.step()
        for a, b in zip(mine, theirs, strict=True):
            limit = 0.02 if bf16 else 0.1  # torch's Muon uses bfloat16
            assert (a - b).norm() < limit * b.norm(), step
    assert set(types) == {torch.bfloat16 if bf16 else torch.float32}


@pytest.mark.parametrize(("dtype", "digits"), [(torch.bfloat16, 0.1), (torch.float32, 1e-5)])
def test_orthogonal_matrices_are_computed_in_the_requested_type(
    dtype: torch.dtype, digits: float
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    for given in (x, x.mT):
        exact = orthogonal(given, torch.float64)
        found = orthogonal(given, dtype)
        assert found.dtype == dtype
        error = float((found - exact).norm() / exact.norm())
        assert digits / 100 < error < digits


def test_muon_is_used_for_matrices() -> None:
    trainer = Trainer(CONFIG, replace(OPTIONS, optimizer="muon"), CPU)
    matrices = sum(isinstance(m, torch.nn.Linear) for m in trainer.network.modules())
    assert sum(len(group) for group in trainer.optimizer.muon.groups) == matrices
    assert all(group[0].dim() == 2 for group in trainer.optimizer.muon.groups)
