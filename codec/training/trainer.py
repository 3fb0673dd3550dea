"""What all trainers share: warm-up, a stable trunk that can always be resumed, an annealed copy.

lr │   ┌───────────── trunk.pt ─ ─ ─ ─ ─►  (resume here)
   │  /                  ╲
   │ / warm-up            ╲ annealed.pt    (export this)
   └──────────────────────────────────► steps
"""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import Dimensions
from ticodec.models.families import config_from
from ticodec.models.inference import fast_bf16

from . import checkpoint
from .compiled import PASSES, Pass, compiled
from .data.photos import draw_levels
from .distributed import ALONE
from .optimizer import Optimizer
from .option_field import Training
from .options import TrainOptions, check_used
from .parameters import is_new
from .request import Beginning, Request

#: Validation crops that every checkpoint carries; export calibrates its grids on them.
CALIBRATION = 8
CALIBRATION_SIZE = 256
#: A gradient this many times the mean norm of the last TYPICAL_STEPS steps is a spike.
SPIKE, TYPICAL_STEPS = 8.0, 100

#: Dimensions of what is trained, and the data it is trained on.
C = TypeVar("C", bound=Dimensions)
D = TypeVar("D")
#: Scalars of one batch, the first of them the loss to minimise.
Scalars = tuple[Tensor, ...]
#: One row of a validation: what was varied, and the numbers.
Row = dict[str, float]


class BaseTrainer(ABC, Generic[C, D]):
    """One network in training: its weights, their average, the optimiser and the random state.

    A subclass says what is trained: it makes the network, the data and the loss.

    Args:
        config: the network; options: the run; device: "cpu" or "cuda".
        init: float weights to start from instead of random ones; history: the runs they had.
        compile: run the training pass through torch.compile.
    """

    #: What its checkpoints are marked with.
    kind: ClassVar[str]
    #: Whether a step leaves some parameters without a gradient.
    partial = False
    #: Names of the scalars that `forward` gives.
    columns: ClassVar[tuple[str, ...]]
    #: Whether the network has learned positions for crops of one size.
    crop_is_fixed: ClassVar[bool] = False

    def __init__(
        self,
        config: C,
        options: TrainOptions,
        device: torch.device,
        init: dict[str, Tensor] | None = None,
        compile: bool = False,
        history: Sequence[dict[str, Any]] = (),
    ) -> None:
        torch.manual_seed(options.seed)
        self.config, self.options, self.device = config, options, device
        self.ranks = ALONE
        self.network = self.build().to(device)
        if init is not None:  # without a layer of labels it is for other ones: that stays random
            missing, unexpected = self.network.load_state_dict(init, strict=False)
            if unexpected or not all(is_new(name) for name in missing):
                raise ValueError("these weights are of another network")
        self.trained = init is not None  # not random: what it computes is to be kept
        self.model: nn.Module = self.network  # what `forward` calls: see `share`
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = Optimizer(
            self.network, options.optimizer, options.lr, options.weight_decay
        )
        self.sampler = torch.Generator().manual_seed(options.seed)
        self.step = self.crops = 0
        self.seconds = 0.0
        # On the device, since reading them in every step would make the CPU wait for a GPU.
        self.skipped = torch.zeros((), dtype=torch.long, device=device)
        self.typical = torch.zeros((), device=device)  # running mean of the gradient's norm
        #: What new layers are fitted to imitate before the first step, see `Beginning`.
        self.imitated: Any = None
        self.history = list(history)  # one entry a finished run, for the model card
        self.facts: dict[str, Any] = {}  # of the run that is going on
        self.begun = (0, 0.0, 0)  # crops, seconds and skipped steps before it
        self.calibration: Tensor | None = None
        self.bf16 = fast_bf16(device)
        self.compile = compile
        self.loss: Pass = self.forward
        if compile:
            self.loss = compiled(self.forward, device, self.sizes_vary())

    # -- what a subclass says ---------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.Module:
        """The network of `config`, with random weights."""

    def begin_loading(self, folder: Path) -> AbstractContextManager[object]:
        """Begin what of `load_data` other processes can do while this one does something else.

        They are ended where the context is left. Raises BadInputError when there is nothing.
        """
        return nullcontext()

    @abstractmethod
    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[D, str]:
        """Everything in a folder, and a line about it; `tick(total)` is called once a file.

        Raises BadInputError when there is nothing to train on.
        """

    @abstractmethod
    def batch(self, data: D) -> tuple[Tensor, ...]:
        """One batch, what `forward` takes; `self.sampler` alone decides which."""

    @abstractmethod
    def forward(self, *batch: Any) -> Scalars:
        """The loss of a batch, and the other `columns`."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Noise of the shapes and types that `batch` gives."""

    def sizes_vary(self) -> bool:
        """Whether batches have several sizes."""
        return False

    @abstractmethod
    def validate(self, data: D) -> list[Row]:
        """How good the averaged weights are on what was held out; an estimate."""

    def finish(self, data: D) -> str:
        """What a phase ends with, before its weights may be exported; a line about it, or "".

        Only buffers change, and no random number is drawn but from generators of its own.
        """
        return ""

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> C:
        """The config in a checkpoint, by default a codec's. Raises ValueError on bad fields."""
        return cast(C, config_from(fields))

    @classmethod
    @abstractmethod
    def training_of(cls, config: C, options: TrainOptions) -> Training:
        """The kind of training, as far as options differ."""

    @classmethod
    @abstractmethod
    def beginning(cls, request: Request) -> Beginning:
        """What a new run begins with.

        Raises UsageError when parts of the request do not go together, BadInputError for damaged
        files, ValueError for impossible dimensions.
        """

    @classmethod
    def begin(cls, request: Request) -> Self:
        """A trainer that begins anew; raises what `beginning` does."""
        start = cls.beginning(request)
        trainer = cls(
            cast(C, start.config),
            start.options,
            request.device,
            init=start.floats,
            compile=request.compile,
            history=start.history,
        )
        trainer.imitated = start.imitated
        return trainer

    def recorded_options(self) -> dict[str, Any]:
        """The options that the history has."""
        return self.options.recorded(self.training_of(self.config, self.options))

    # -- one step ---------------------------------------------------------------------

    def learning_rate(self, anneal: float = 0.0) -> float:
        """Rate now: warm-up, then flat; `anneal` in [0, 1] is how far the decay has come."""
        warm = min(1.0, (self.step + 1) / max(1, self.options.warmup))
        return self.options.lr * warm * (1 - anneal)

    def train_step(self, data: D, anneal: float = 0.0) -> Scalars:
        """One optimiser step on a fresh batch; one that is not sane is skipped and counted."""
        started = time.perf_counter()
        batch = self.batch(data)
        self.optimizer.lr = self.learning_rate(anneal)
        self.optimizer.zero_grad()  # before the pass: CUDA graphs write where gradients were
        scalars = self.loss(*batch)
        scalars[0].backward()  # type: ignore[no-untyped-call]
        scalars = self.ranks.mean(scalars)  # so that every rank decides the same
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        sane = self.is_sane(norm + scalars[0].detach(), norm)
        self.optimizer.step(sane)
        self.skipped += ~sane
        self.update_average()
        self.step += 1
        self.crops += self.options.batch * self.ranks.world
        self.seconds += time.perf_counter() - started
        return scalars

    def warm_up(self) -> None:
        """Let the training pass be compiled, if it is to be, before the first step.

        No step is taken: weights, averages, the optimiser and random numbers stay as they are.
        """
        if not self.compile:
            return
        with self.undisturbed():
            for _ in range(PASSES if self.device.type == "cuda" else 1):
                self.loss(*self.example())[0].backward()  # type: ignore[no-untyped-call]
                self.optimizer.zero_grad()

    def undisturbed(self) -> AbstractContextManager[None]:
        """Within it random numbers may be drawn without changing what training draws."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def share(self) -> None:
        """Begin to train together with the other `ranks`, each with draws of its own."""
        if self.ranks.world == 1:
            return
        self.model = self.ranks.joined(self.network, self.average, self.partial)
        if self.compile:  # gradients travel during the backward pass, which no graph can hold
            self.loss = torch.compile(self.forward)
        # One without fast bf16 decides for all: the same gradients have to make the same step.
        if self.ranks.largest(self.optimizer.muon.dtype == torch.float32):
            self.optimizer.muon.dtype = torch.float32
        if not self.ranks.first:  # that one goes on with its own, those of a checkpoint maybe
            seed = self.ranks.seed(self.options.seed, self.step)
            torch.manual_seed(seed)
            self.sampler.manual_seed(seed)

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

    def draw_levels(
        self, count: int, levels: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Random quality levels within the range of the options, (count,).

        `generator`: a CPU generator; None: that of the batches.
        """
        low, high = (min(q, levels) for q in self.options.quality_range)
        return draw_levels((low, high), count, generator or self.sampler, self.device)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights; the average is short at first, to forget the start."""
        decay = min(self.options.ema, (self.step + 1) / (self.step + 10))
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        trained = [(mean, now) for mean, now in pairs if now.requires_grad]
        mean, now = map(list, zip(*trained, strict=True))
        torch._foreach_lerp_(mean, now, 1 - decay)

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
        return {
            "kind": self.kind,
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
            "random": checkpoint.random_state(self.sampler, self.device),
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint; the first rank does, for all."""
        if self.ranks.first:
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
        self.begun, self.trained = self.spent(), True
        checkpoint.set_random_state(state["random"], self.sampler, self.device)

    @classmethod
    def resume(
        cls, path: Path, device: torch.device, compile: bool = False, **changes: Any
    ) -> Self:
        """A trainer that goes on from a checkpoint; `changes` replace some of its options.

        Raises BadInputError when the file is no checkpoint of this kind of training.
        """
        return cls.restored(path, checkpoint.load(path), device, compile, changes)

    @classmethod
    def restored(
        cls,
        path: Path,
        state: dict[str, Any],
        device: torch.device,
        compile: bool,
        changes: Mapping[str, Any],
    ) -> Self:
        """`resume` from the `state` that was read at `path`."""
        try:
            config = cls.config_from(state["config"])
            began = TrainOptions(**state["options"])
            if "crop" not in state["options"]:  # which every checkpoint has
                raise ValueError("its options have no `crop`")
            options = replace(began, **changes)
            check_used(cls.training_of(config, options), changes)
            cls.check_resumed(path, began, options)
            trainer = cls(config, options, device, compile=compile)
            trainer.restore(state)
        except TicodecError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInputError(f"{path}: not a checkpoint of this version: {error}") from error
        return trainer

    @classmethod
    def check_resumed(cls, path: Path, began: TrainOptions, options: TrainOptions) -> None:
        """Raises UsageError when the options of a run at `path` cannot become these others."""
        if cls.crop_is_fixed and options.crop != began.crop:
            raise UsageError(f"{path} was begun at `crop` {began.crop}; `init` takes it to others")


AnyTrainer = BaseTrainer[Any, Any]
