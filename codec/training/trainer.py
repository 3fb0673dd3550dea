"""What all trainers share: warm-up, a stable phase that can always be resumed, an annealed copy.

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

#: Number and side of the validation crops in every checkpoint. Export calibrates its grids on them.
CALIBRATION = 8
CALIBRATION_SIZE = 256
#: A gradient is a spike if its norm is over SPIKE times the mean norm of about the last
#: TYPICAL_STEPS steps.
SPIKE, TYPICAL_STEPS = 8.0, 100

#: The config of the network, and the data to train on.
C = TypeVar("C", bound=Dimensions)
D = TypeVar("D")
#: Scalars of one batch. The first one is the loss to minimise.
Scalars = tuple[Tensor, ...]
#: One row of a validation: what was varied, such as the quality, and the measured numbers.
Row = dict[str, float]


class BaseTrainer(ABC, Generic[C, D]):
    """One network in training: its weights, their average, the optimiser and the random state.

    A subclass decides what is trained: it makes the network, the data and the loss.

    Args:
        config: dimensions of the network.
        options: options of the run.
        device: "cpu" or "cuda".
        init: float weights to start from. None means random weights.
        compile: run the training pass through torch.compile.
        history: the runs that made the weights of `init`.
    """

    #: The kind that its checkpoints store.
    kind: ClassVar[str]
    #: Whether a step leaves some parameters without a gradient.
    partial = False
    #: Names of the scalars that `forward` returns.
    columns: ClassVar[tuple[str, ...]]
    #: Whether the network has learned position embeddings, which fit crops of one size only.
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
        if init is not None:  # for other labels `init` has no label layer, which then stays random
            missing, unexpected = self.network.load_state_dict(init, strict=False)
            if unexpected or not all(is_new(name) for name in missing):
                raise ValueError("these weights belong to another network")
        self.trained = init is not None  # whether the weights are more than random
        self.model: nn.Module = self.network  # what `forward` calls, see `share`
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = Optimizer(
            self.network, options.optimizer, options.lr, options.weight_decay
        )
        self.sampler = torch.Generator().manual_seed(options.seed)
        self.step = self.crops = 0
        self.seconds = 0.0
        # These two are on the device: reading them in every step would make the CPU wait for a GPU.
        self.skipped = torch.zeros((), dtype=torch.long, device=device)
        self.typical = torch.zeros((), device=device)  # running mean of the gradient's norm
        #: What new layers are fitted to imitate before the first step, see `Beginning`.
        self.imitated: Any = None
        self.history = list(history)  # one entry per finished run, for the model card
        self.facts: dict[str, Any] = {}  # facts about the current run
        self.begun = (0, 0.0, 0)  # crops, seconds and skipped steps before the current run
        self.calibration: Tensor | None = None
        self.bf16 = fast_bf16(device)
        self.compile = compile
        self.loss: Pass = self.forward
        if compile:
            self.loss = compiled(self.forward, device, self.sizes_vary())

    # -- what a subclass defines ------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.Module:
        """Makes the network of `config`, with random weights."""

    def begin_loading(self, folder: Path) -> AbstractContextManager[object]:
        """Start other processes that do a part of `load_data` while this one does other work.

        They end when the context ends. Raises BadInputError when there is nothing to train on.
        """
        return nullcontext()

    @abstractmethod
    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[D, str]:
        """All data of a folder, and a line about it for people.

        `tick(total)` is called once for each file. Raises BadInputError when there is nothing to
        train on.
        """

    @abstractmethod
    def batch(self, data: D) -> tuple[Tensor, ...]:
        """Draws one batch: the arguments of `forward`. All randomness comes from `self.sampler`."""

    @abstractmethod
    def forward(self, *batch: Any) -> Scalars:
        """The loss of a batch, and the other scalars named in `columns`."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Random values with the shapes and dtypes that `batch` returns."""

    def sizes_vary(self) -> bool:
        """Whether the shapes differ from batch to batch."""
        return False

    @abstractmethod
    def validate(self, data: D) -> list[Row]:
        """Estimates how good the averaged weights are on the held-out data."""

    def finish(self, data: D) -> str:
        """Ends a phase, before its weights are written. Returns a line for people, or "".

        It changes buffers only, and draws random numbers only from generators of its own.
        """
        return ""

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> C:
        """The config of a codec from the fields in a checkpoint. Raises ValueError on bad ones."""
        return cast(C, config_from(fields))

    @classmethod
    @abstractmethod
    def training_of(cls, config: C, options: TrainOptions) -> Training:
        """The kind of training, which decides the options."""

    @classmethod
    @abstractmethod
    def beginning(cls, request: Request) -> Beginning:
        """What a new run starts with.

        Raises UsageError when parts of the request do not fit together, BadInputError when a file
        is damaged, and ValueError when dimensions are impossible.
        """

    @classmethod
    def begin(cls, request: Request) -> Self:
        """Makes a trainer for a new run. Raises the errors of `beginning`."""
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
        """The options that the history records."""
        return self.options.recorded(self.training_of(self.config, self.options))

    # -- one step ---------------------------------------------------------------------

    def learning_rate(self, anneal: float = 0.0) -> float:
        """The learning rate now, see the module. As `anneal` rises from 0 to 1 it falls to 0."""
        warm = min(1.0, (self.step + 1) / max(1, self.options.warmup))
        return self.options.lr * warm * (1 - anneal)

    def train_step(self, data: D, anneal: float = 0.0) -> Scalars:
        """One optimiser step on a new batch. A step that is not sane is skipped and counted."""
        started = time.perf_counter()
        batch = self.batch(data)
        self.optimizer.lr = self.learning_rate(anneal)
        self.optimizer.zero_grad()  # before the pass: CUDA graphs reuse the gradients' memory
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
        """Compile the training pass before the first step, if the run compiles it.

        Weights, averages, the optimiser and the state of the random numbers stay as they are.
        """
        if not self.compile:
            return
        with self.undisturbed():
            for _ in range(PASSES if self.device.type == "cuda" else 1):
                self.loss(*self.example())[0].backward()  # type: ignore[no-untyped-call]
                self.optimizer.zero_grad()

    def undisturbed(self) -> AbstractContextManager[None]:
        """A context in which drawing random numbers does not change what training draws later."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    def share(self) -> None:
        """Start to train together with the other `ranks`. Each draws other random numbers."""
        if self.ranks.world == 1:
            return
        self.model = self.ranks.joined(self.network, self.average, self.partial)
        if self.compile:  # gradients travel during the backward pass, which no graph can hold
            self.loss = torch.compile(self.forward)
        # If one rank lacks fast bf16, all use float32, so that all take the same step.
        if self.ranks.largest(self.optimizer.muon.dtype == torch.float32):
            self.optimizer.muon.dtype = torch.float32
        if not self.ranks.first:  # the first keeps its random state, perhaps from a checkpoint
            seed = self.ranks.seed(self.options.seed, self.step)
            torch.manual_seed(seed)
            self.sampler.manual_seed(seed)

    def is_sane(self, total: Tensor, norm: Tensor) -> Tensor:
        """Whether to take this step, bool, (): `total` is finite and `norm` is not a spike.

        At the high learning rate of the stable phase a single spike, even a clipped one, can
        destroy an hour of training, because Adam has not adapted its steps to such a gradient.
        """
        finite = total.isfinite()
        warm = self.step > max(self.options.warmup, TYPICAL_STEPS)
        limit = SPIKE * self.typical if warm else torch.full_like(norm, math.inf)
        moved = (torch.minimum(norm, limit) - self.typical) / min(self.step + 1, TYPICAL_STEPS)
        self.typical += torch.where(finite, moved, 0.0)
        return finite & (norm <= limit)

    def autocast(self) -> torch.autocast:
        """bf16 if the hardware is fast at it. The likelihoods stay in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def draw_levels(
        self, count: int, levels: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Random quality levels within the range of the options, (count,).

        `generator` is a CPU generator. None means the one that draws batches.
        """
        low, high = (min(q, levels) for q in self.options.quality_range)
        return draw_levels((low, high), count, generator or self.sampler, self.device)

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the averaged weights. Early averages cover few steps, to forget the first ones."""
        decay = min(self.options.ema, (self.step + 1) / (self.step + 10))
        pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
        trained = [(mean, now) for mean, now in pairs if now.requires_grad]
        mean, now = map(list, zip(*trained, strict=True))
        torch._foreach_lerp_(mean, now, 1 - decay)

    # -- history --------------------------------------------------------------------

    def begin_run(self, facts: dict[str, Any]) -> None:
        """Start a new entry of the history with these facts, which the model card will list."""
        self.history = self.record()
        self.facts, self.begun = facts, self.spent()

    def spent(self) -> tuple[int, float, int]:
        """Crops, seconds and skipped steps so far."""
        return self.crops, self.seconds, int(self.skipped)

    def record(self) -> list[dict[str, Any]]:
        """The history, including the current run."""
        names = ("crops", "seconds", "skipped")
        spent = dict(zip(names, np.subtract(self.spent(), self.begun).tolist(), strict=True))
        if not spent["crops"]:
            return self.history
        whole = {name: round(value) for name, value in spent.items()}
        return [*self.history, {**self.facts, **whole}]

    # -- checkpoints ----------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
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
        """Write a checkpoint. Only the first rank writes."""
        if self.ranks.first:
            checkpoint.save(path, self.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state. Training then continues exactly, on the same kind of device."""
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
        """Makes a trainer that continues from a checkpoint. `changes` replace some options.

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
        """Does the work of `resume`, from the `state` that was read from `path`."""
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
        """Raises UsageError when a run cannot change its options from `began` to `options`."""
        if cls.crop_is_fixed and options.crop != began.crop:
            raise UsageError(f"{path} needs `crop` {began.crop}; for another, give it as `init`")


AnyTrainer = BaseTrainer[Any, Any]
