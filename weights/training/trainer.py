"""The trainer: warm-up, a stable trunk that can always be resumed, an annealed copy for export.

lr │   ┌───────────── trunk.pt ─ ─ ─ ─ ─►  (resume here)
   │  /                  ╲
   │ / warm-up            ╲ annealed.pt    (export this)
   └──────────────────────────────────► steps
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ticodec.errors import BadInputError
from ticodec.models.config import ModelConfig
from ticodec.models.inference import fast_bf16
from ticodec.models.network import Network

from . import checkpoint
from .data import Photos, send
from .loss import Loss, rate_distortion
from .optimizer import Optimizer
from .options import TrainOptions

#: Validation crops that every checkpoint carries; export calibrates its grids on them.
CALIBRATION = 8
CALIBRATION_SIZE = 256
#: A gradient this many times the mean norm of so many steps is a spike.
SPIKE, TYPICAL_STEPS = 8.0, 100


class Trainer:
    """One network in training: its weights, their average, the optimiser and the random state.

    Args:
        config: the network; options: the run; device: "cpu" or "cuda".
        init: float weights to start from instead of random ones; history: the runs they had.
        compile: run the training pass through torch.compile.
    """

    def __init__(
        self,
        config: ModelConfig,
        options: TrainOptions,
        device: torch.device,
        init: dict[str, Tensor] | None = None,
        compile: bool = False,
        history: Sequence[dict[str, Any]] = (),
    ) -> None:
        torch.manual_seed(options.seed)
        self.config, self.options, self.device = config, options, device
        self.network = Network(config).to(device)
        if init is not None:
            self.network.load_state_dict(init)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = Optimizer(self.network, options.optimizer, options.lr)
        self.sampler = torch.Generator().manual_seed(options.seed)
        self.step = self.crops = 0
        self.seconds = 0.0
        # On the device, since reading them in every step would make the CPU wait for a GPU.
        self.skipped = torch.zeros((), dtype=torch.long, device=device)
        self.typical = torch.zeros((), device=device)  # running mean of the gradient's norm
        self.lambdas = torch.tensor(config.lambdas, device=device)
        self.history = list(history)  # one entry a finished run, for the model card
        self.facts: dict[str, Any] = {}  # of the run that is going on
        self.begun = (0, 0.0, 0)  # crops, seconds and skipped steps before it
        self.calibration: Tensor | None = None
        self.bf16 = fast_bf16(device)
        self.loss = torch.compile(self.forward) if compile else self.forward

    # -- one step -------------------------------------------------------------------

    def learning_rate(self, anneal: float = 0.0) -> float:
        """Rate now: warm-up, then flat; `anneal` in [0, 1] is how far the decay has come."""
        warm = min(1.0, (self.step + 1) / max(1, self.options.warmup))
        return self.options.lr * warm * (1 - anneal)

    def forward(self, x: Tensor, level: Tensor) -> Loss:
        """Loss of images (B, H, W, 3) at levels (B,)."""
        with self.autocast():
            output = self.network(x, level)
        return rate_distortion(output, x, level, self.lambdas, self.options.balance)

    def train_step(self, photos: Photos, anneal: float = 0.0) -> Loss:
        """One optimiser step on fresh crops; one that is not sane is skipped and counted."""
        started = time.perf_counter()
        o = self.options
        x = photos.crops(o.batch, o.crop, self.sampler, o.shrink)
        level = self.draw_levels(o.batch)
        self.optimizer.lr = self.learning_rate(anneal)
        loss = self.loss(x, level)
        self.optimizer.zero_grad()
        loss.loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), o.clip)
        sane = self.is_sane(norm + loss.loss.detach(), norm)
        self.optimizer.step(sane)
        self.skipped += ~sane
        self.update_average()
        self.step += 1
        self.crops += o.batch
        self.seconds += time.perf_counter() - started
        return loss

    def is_sane(self, total: Tensor, norm: Tensor) -> Tensor:
        """Whether a step may be taken, a bool (): all finite, and no spike of the gradient.

        At the high learning rate of the trunk a single spike, even clipped, can undo an
        hour: its direction is one that Adam has no scale for.
        """
        finite = total.isfinite()
        warm = self.step > max(self.options.warmup, TYPICAL_STEPS)
        limit = SPIKE * self.typical if warm else torch.full_like(norm, math.inf)
        moved = (torch.minimum(norm, limit) - self.typical) / min(self.step + 1, TYPICAL_STEPS)
        self.typical += torch.where(finite, moved, 0.0)
        return finite & (norm <= limit)

    def autocast(self) -> torch.autocast:
        """bf16 where the hardware is fast at it; the likelihoods stay in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def draw_levels(self, count: int) -> Tensor:
        """Random quality levels within the range of the options, (count,)."""
        low, high = (min(q, self.config.levels) - 1 for q in self.options.quality_range)
        level = low + (high - low) * torch.rand(count, generator=self.sampler)
        return send(level, self.device)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights; the average is short at first, to forget the start."""
        decay = min(self.options.ema, (self.step + 1) / (self.step + 10))
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        mean, now = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(mean, now, 1 - decay)

    # -- validation -----------------------------------------------------------------

    @torch.no_grad()
    def validate(self, x: Tensor, quality: float) -> tuple[float, float]:
        """(bpp, PSNR) of the averaged weights on images (B, H, W, 3); an estimate, in noise."""
        levels = torch.full((len(x),), quality - 1.0, device=self.device)
        bits = errors = 0.0
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(cuda):  # validation must not change what training draws
            for image, level in zip(x.split(4), levels.split(4), strict=True):
                with self.autocast():
                    output = self.average(image, level)
                bits += float((output.bits_y + output.bits_z).sum())
                mse = (output.x_hat.clamp(0, 1) - image).pow(2).flatten(1).mean(1)
                errors += float((-10 * mse.log10()).sum())
        return bits / (x.numel() / 3), errors / len(x)

    # -- history --------------------------------------------------------------------

    def begin_run(self, facts: dict[str, Any]) -> None:
        """Start a new entry of the history with these facts, for the model card."""
        self.history = self.record()
        self.facts, self.begun = facts, self.spent()

    def spent(self) -> tuple[int, float, int]:
        """Crops, seconds and skipped steps so far."""
        return self.crops, self.seconds, int(self.skipped)

    def record(self) -> list[dict[str, Any]]:
        """The history, the run that is going on included."""
        names = ("crops", "seconds", "skipped")
        spent = dict(zip(names, np.subtract(self.spent(), self.begun).tolist(), strict=True))
        if not spent["crops"]:
            return self.history
        whole = {name: round(value) for name, value in spent.items()}
        return [*self.history, {**self.facts, **whole}]

    # -- checkpoints ----------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything `restore` needs."""
        cuda = self.device.type == "cuda"
        return {
            "config": self.config.to_dict(),
            "options": self.options.to_dict(),
            "step": self.step,
            "crops": self.crops,
            "skipped": int(self.skipped),
            "seconds": self.seconds,
            "typical": float(self.typical),
            "history": self.record(),
            "calibration": self.calibration,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state() if cuda else None,
                "sampler": self.sampler.get_state(),
            },
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        checkpoint.save(path, self.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken (on the same kind of device)."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("step", "crops", "seconds", "history", "calibration"):
            setattr(self, name, state[name])
        self.skipped.fill_(state["skipped"])
        self.typical.fill_(state["typical"])
        self.begun = self.spent()
        torch.set_rng_state(state["random"]["torch"])
        self.sampler.set_state(state["random"]["sampler"])
        if self.device.type == "cuda" and state["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["random"]["cuda"])

    @classmethod
    def resume(
        cls, path: Path, device: torch.device, compile: bool = False, **changes: Any
    ) -> Trainer:
        """A trainer that goes on from a checkpoint; `changes` replace some of its options.

        Raises BadInputError when the file is no checkpoint.
        """
        state = checkpoint.load(path)
        try:
            config = ModelConfig.from_dict(state["config"])
            options = TrainOptions(**{**state["options"], **changes})
            trainer = cls(config, options, device, compile=compile)
            trainer.restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInputError(f"{path}: not a checkpoint of this version: {error}") from error
        return trainer


def psnr(mse: float) -> float:
    """dB of a mean squared error on the [0, 1] scale."""
    return -10 * math.log10(max(mse, 1e-10))
