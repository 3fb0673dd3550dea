"""Training of one network by several processes. torchrun also runs this file as its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support import CPU, ROOT, SMALL, SMALL_RUN
from toys import FIRST, FITS, FOLDERS, ICAT, PIXELS, SECOND, of_tiny, quiet, same, saved

from ticodec.errors import TicodecError, UsageError
from ticodec.training import checkpoint, distributed
from ticodec.training.codec_trainer import Trainer
from ticodec.training.distributed import Ranks
from ticodec.training.export.cards import training as card_lines
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.loop import run
from ticodec.training.photo_trainer import PhotoData
from ticodec.training.schedule import Limits
from ticodec.training.trainer import BaseTrainer

KINDS = ("codec", "step 1", "step 2", "head", "latents")
BATCH = 2
#: Seconds after which a run of a few steps must have ended, even on a busy machine.
PATIENCE = 90


def made(kind: str, seed: int = 0) -> BaseTrainer:
    """A small trainer of this kind, whose gradients depend neither on chance nor on bf16."""
    cls, config, options = {
        "codec": lambda: (Trainer, SMALL, SMALL_RUN),
        "step 1": lambda: (JointTrainer, ICAT, FIRST),
        "step 2": lambda: (JointTrainer, ICAT, SECOND),
        "head": lambda: (HeadTrainer, PIXELS, FIRST),
        "latents": lambda: (HeadTrainer, of_tiny(), replace(FIRST, views=1)),
    }[kind]()
    trainer = cls(config, replace(options, seed=seed, clip=1e9, batch=BATCH), CPU)
    trainer.bf16 = False
    trainer.network.eval()
    return trainer


def batch_of(kind: str) -> tuple[torch.Tensor, ...]:
    """The batches of two ranks together for a trainer of this kind."""
    generator = torch.Generator().manual_seed(5)
    count = 2 * BATCH
    x, level = torch.rand(count, 64, 64, 3, generator=generator), torch.linspace(0, 2, count)
    targets = torch.eye(3)[torch.arange(count) % 3]
    if kind == "codec":
        return x, level
    if kind in ("head", "latents"):
        channels = PIXELS.channels if kind == "head" else of_tiny().channels
        return torch.rand(count, 4, 4, channels, generator=generator), targets
    return x, targets, level


def stepped(trainer: BaseTrainer, batch: tuple[torch.Tensor, ...]) -> dict:
    """Make one step on this batch without noise. Returns its numbers and gradients."""
    trainer.batch = lambda data: batch
    noisy, torch.rand_like = torch.rand_like, lambda x: torch.full_like(x, 0.5)
    scalars = trainer.train_step(None)
    torch.rand_like = noisy
    gradients = {k: p.grad for k, p in trainer.network.named_parameters() if p.grad is not None}
    return {"scalars": torch.stack(list(scalars)).detach(), "gradients": gradients}


# -- the workers that torchrun starts ---------------------------------------------------


def worker(folder: Path, toys: Path) -> None:
    """Run all that the tests check on two ranks, in one start of torchrun. Then one rank dies."""
    photos = toys / FOLDERS[0]
    for name, count in FITS.items():  # as in all training tests
        pytest.MonkeyPatch().setattr(name, count)
    with distributed.together() as ranks:
        for kind in KINDS:
            trainer = made(kind, seed=ranks.rank)  # different weights until they share
            trainer.ranks = ranks
            trainer.share()
            batch = [part.chunk(2)[ranks.rank] for part in batch_of(kind)]
            found = stepped(trainer, tuple(batch))
            if ranks.rank == 1:
                batch[0] = batch[0] * torch.nan
            stepped(trainer, tuple(batch))
            found |= {"skipped": int(trainer.skipped), "network": trainer.network.state_dict()}
            torch.save(found, folder / f"{kind} {ranks.rank}.pt")
        for kind in KINDS:
            trainer = made(kind)
            out, data = folder / f"run {kind}", photos if kind == "codec" else toys
            run(trainer, data, out, Limits(max_steps=3, anneal_minutes=0.003), Console(), ranks)
            state = {"state": trainer.state(), "drawn": trainer.sampler.get_state()}
            torch.save(state, folder / f"{kind} end {ranks.rank}.pt")
        trainer = made("codec")
        drawn = trainer.batch

        def dying(data: PhotoData) -> tuple[torch.Tensor, ...]:
            if ranks.rank == 1 and trainer.step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return drawn(data)

        trainer.batch = dying
        run(trainer, photos, folder / "dying", Limits(max_steps=100), Console(), ranks)


def torchrun(*arguments: object) -> subprocess.Popen:
    """Start two processes on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", *map(str, arguments)]
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.fixture(scope="module")
def worked(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """The folder that `worker` wrote to, its exit code, and its standard error."""
    out = tmp_path_factory.mktemp("worked")
    process = torchrun(__file__, out, toys)
    try:
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return out, process.returncode, err


# -- tests ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_have_the_gradient_of_one_rank_with_both_batches(kind: str, worked) -> None:
    out, _, err = worked
    alone = stepped(made(kind), batch_of(kind))
    for rank in (0, 1):
        path = out / f"{kind} {rank}.pt"
        assert path.exists(), err
        found = torch.load(path)
        torch.testing.assert_close(found["scalars"], alone["scalars"], rtol=1e-4, atol=1e-5)
        assert found["gradients"].keys() == alone["gradients"].keys()
        largest = max(float(g.abs().max()) for g in alone["gradients"].values())
        for name, wanted in alone["gradients"].items():
            torch.testing.assert_close(
                found["gradients"][name], wanted, rtol=1e-3, atol=1e-5 * largest, msg=name
            )
        assert found["skipped"] == 1  # the other rank's batch was not finite


@pytest.mark.parametrize("kind", KINDS)
def test_all_ranks_end_with_the_same_weights(kind: str, worked) -> None:
    out, _, err = worked
    assert (out / f"{kind} end 1.pt").exists(), err
    assert "Warning" not in err
    first, second = (torch.load(out / f"{kind} end {rank}.pt") for rank in (0, 1))
    assert not torch.equal(first["drawn"], second["drawn"])  # their crops differ
    for one, two in zip(both(first), both(second), strict=True):
        for name, value in one.items():
            assert torch.equal(value, two[name]), name
    state = checkpoint.load(out / f"run {kind}" / "annealed.pt")
    for kept, value in zip(both({"state": state}), both(first), strict=True):
        assert all(torch.equal(kept[name], value[name]) for name in value)
    # The history has two entries: the three steps, and those of annealing.
    trunk = checkpoint.load(out / f"run {kind}" / "trunk.pt")
    assert (trunk["step"], trunk["crops"]) == (3, 3 * BATCH * 2)
    assert [r["crops"] for r in state["history"]] == [12, (state["step"] - 3) * BATCH * 2]
    assert {r["processes"] for r in state["history"]} == {2}


def both(found: dict) -> list[dict[str, torch.Tensor]]:
    """The weights and the averaged weights of a state."""
    return [found["state"][name] for name in ("network", "average")]


def test_a_rank_that_dies_ends_the_run(worked) -> None:
    out, code, err = worked
    assert code != 0
    assert "process 0 of 2: another process has ended" in err
    assert not list((out / "dying").iterdir())  # no half-written file is left


def test_a_rank_that_lost_another_reports_it_before_it_is_ended(monkeypatch) -> None:
    """torchrun may send SIGTERM to the remaining ranks at any moment."""

    def lost(*_: object, **__: object) -> None:
        raise torch.distributed.DistError("connection closed")

    monkeypatch.setattr(torch.distributed, "init_process_group", lost)
    for name, value in zip(distributed.NAMES, "0202", strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(TicodecError, match="another process has ended"), distributed.together():
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # the signal is ignored
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_a_signal_leaves_a_checkpoint_for_any_number_of_ranks(toys: Path, tmp_path: Path) -> None:
    trunk, out = saved(made("head"), toys, tmp_path / "t.pt"), tmp_path / "out"
    process = torchrun("-m", "ticodec", "train", "--data", toys, "--resume", trunk,
                       "--out", out, "--max-minutes", 3, "--device", "cpu")  # fmt: skip
    try:
        started = time.monotonic()
        while not (out / "log.csv").exists() and time.monotonic() - started < PATIENCE:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.terminate()
        said, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert said.count("classes to train on") == said.count("wrote") == 1, (said, err)
    assert (out / "log.csv").read_text().splitlines()[1].startswith("training,52,204,")
    trainer = HeadTrainer.resume(out / "trunk.pt", CPU)
    begun = [2, 2 * BATCH]
    assert trainer.step >= 52
    assert trainer.crops == begun[1] + (trainer.step - begun[0]) * BATCH * 2
    row = card_lines(trainer.history, trainer.options.to_dict(), 1, "")[-1]
    assert "2 × CPU" in row
    assert f"| 64² | {BATCH * 2} |" in row  # crops per step, of both ranks
    before = trainer.crops
    trainer.train_step(trainer.load_data(toys, quiet)[0])
    assert trainer.crops == before + BATCH


def test_a_single_process_trains_as_before() -> None:
    with distributed.together() as ranks:
        trainer = made("codec", seed=3)
        trainer.share()
        assert (ranks, ranks.largest(0.25), ranks.seed(7)) == (Ranks(), 0.25, 7)
        assert trainer.model is trainer.network
        assert same(trainer.network, made("codec", seed=3).network)
    assert not torch.distributed.is_initialized()


def test_ranks_draw_different_random_numbers() -> None:
    seeds = [Ranks(rank, 3).seed(0, step) for rank in (1, 2) for step in (0, 500)]
    assert len({0, *seeds}) == 5


def test_every_rank_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Ranks(1, 2, 1, 2).device_of(CPU) == CPU
    with pytest.raises(UsageError, match="2 processes on this machine need a GPU each"):
        Ranks(1, 2, 1, 2).device_of(torch.device("cuda"))


def test_the_first_rank_reports_an_error_that_all_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another rank first waits to be ended, and only then reports its own error."""
    for name, value in zip(distributed.NAMES, ("1", "2", "1", "2"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(UsageError, match="process 1 of 2: no such thing"), distributed.together():
        raise UsageError("no such thing")
    with pytest.raises(TicodecError, match="another process has ended"), distributed.together():
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
    with pytest.raises(RuntimeError, match="mat1"), distributed.together():
        raise RuntimeError("mat1 and mat2 do not fit")
    assert waited == [distributed.PATIENCE] * 3


if __name__ == "__main__":
    worker(*map(Path, sys.argv[1:]))
