"""The compilation before training starts, and that it does not change the training."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from support import CPU, SMALL, SMALL_RUN
from torch import Tensor
from toys import FIRST, ICAT, PIXELS, SECOND, of_tiny, quiet

from ticodec.training import compiled
from ticodec.training.codec_trainer import Trainer
from ticodec.training.distributed import Ranks
from ticodec.training.entropy_trainer import EntropyTrainer
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.trainer import BaseTrainer

KINDS = {
    "codec": (Trainer, SMALL, SMALL_RUN),
    "frozen": (EntropyTrainer, SMALL, replace(SMALL_RUN, freeze="transforms")),
    "step 1": (JointTrainer, ICAT, FIRST),
    "step 2": (JointTrainer, ICAT, SECOND),
    "pixels": (HeadTrainer, PIXELS, FIRST),
    "latents": (HeadTrainer, None, FIRST),
}


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """A list of the options of each call of torch.compile. Nothing is compiled."""
    calls: list[dict] = []

    def compile(function: Callable, **options: object) -> Callable:
        calls.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    return calls


def made(kind: str) -> BaseTrainer:
    """A small trainer of this kind that compiles its training pass."""
    cls, config, options = KINDS[kind]
    return cls(config or of_tiny(), options, CPU, compile=True)


def flat(state: object) -> list[Tensor]:
    """All tensors in a nested state."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in flat(value)]
    if isinstance(state, list | tuple):
        return [tensor for value in state for tensor in flat(value)]
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_warming_up_changes_nothing(kind: str, compilations: list[dict]) -> None:
    trainer, passes = made(kind), []
    assert compilations == [{}]
    run = trainer.loss
    trainer.loss = lambda *batch: passes.append(batch) or run(*batch)
    before = deepcopy(trainer.state())
    trainer.warm_up()
    assert len(passes) == 1
    after = trainer.state()
    assert before.keys() == after.keys()
    assert all(map(torch.equal, flat(before), flat(after)))
    assert all(parameter.grad is None for parameter in trainer.network.parameters())
    plain = [before[key] == after[key] for key in ("step", "crops", "history", "skipped")]
    assert plain == [True] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_like_batches(kind: str, toys, data, compilations: list[dict]) -> None:
    """Otherwise the first step would compile again."""
    trainer = made(kind)
    loaded = data if kind == "codec" else trainer.load_data(toys, quiet)[0]
    pairs = list(zip(trainer.example(), trainer.batch(loaded), strict=True))
    assert [(a.shape, a.dtype, a.device) for a, _ in pairs] == [
        (b.shape, b.dtype, b.device) for _, b in pairs
    ]
    assert [a.is_contiguous() for a, _ in pairs] == [b.is_contiguous() for _, b in pairs]


def test_a_trainer_that_is_not_compiled_is_not_warmed_up() -> None:
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    trainer.loss = None  # cannot be called
    trainer.warm_up()


def test_graphs_return_copies_that_have_gradients(
    monkeypatch: pytest.MonkeyPatch, compilations: list[dict]
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: calls.append("step begins")
    )
    memory = torch.zeros(2)

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        """Writes to the same memory in every run, like a CUDA graph."""
        calls.append("pass")
        loss = x.square().sum()
        memory.copy_(torch.stack([loss, 2 * loss]).detach())
        return loss, memory[1]

    run = compiled.graphed(forward)
    assert compilations == [{"dynamic": False, "mode": "reduce-overhead"}]
    x = torch.tensor([3.0], requires_grad=True)
    first, second = run(x), run(2 * x)
    assert calls == ["step begins", "pass"] * 2
    assert [scalar.item() for scalar in first] == [9, 18]
    assert [scalar.item() for scalar in second] == [36, 72]
    first[0].backward()
    assert float(x.grad) == 6


def test_graphs_are_only_used_on_a_gpu_with_batches_of_one_size(compilations: list[dict]) -> None:
    settings = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    try:
        for device, sizes_vary in ((CPU, False), ("cuda", True), ("cuda", False)):
            compiled.compiled(lambda: (), torch.device(device), sizes_vary)
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.backends.cudnn.benchmark = settings[0]
        torch.set_float32_matmul_precision(settings[1])
    assert [bool(options) for options in compilations] == [False, False, True]


@pytest.mark.parametrize(
    ("views", "augment", "vary"), [(2, "full", True), (2, "mild", False), (0, "full", False)]
)
def test_parts_of_views_have_several_sizes(views: int, augment: str, vary: bool) -> None:
    trainer = HeadTrainer(of_tiny(), replace(FIRST, views=views, augment=augment), CPU)
    assert trainer.sizes_vary() == vary


def test_several_ranks_compile_without_graphs(
    monkeypatch: pytest.MonkeyPatch, compilations: list[dict]
) -> None:
    trainer = made("codec")
    trainer.ranks = Ranks(0, 2)
    monkeypatch.setattr(Ranks, "joined", lambda self, network, average, partial: network)
    monkeypatch.setattr(Ranks, "largest", lambda self, value: float(value))
    trainer.loss = None
    trainer.share()
    assert trainer.loss == trainer.forward
    assert compilations == [{}, {}]
