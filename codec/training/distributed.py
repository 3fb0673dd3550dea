"""Several processes that train one network together, as torchrun starts them.

    rank 0: its crops -> gradient -+              +-> step -> logs, validates, writes, prints
    rank 1: its crops -> gradient -+-> the mean --+-> step
    ...                            |              |
    rank n: its crops -> gradient -+              +-> step

A rank is one process, on one GPU or on CPU threads. All begin with the weights of the first and
take the same steps, so that all have the same weights at any time: only gradients travel, by
torch's DistributedDataParallel, and a few scalars. A process that nobody started together with
others is alone, and pays nothing for this module.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ticodec.errors import TicodecError, UsageError

#: Variables that torchrun sets for every process: the fields of `Ranks`, in the same order.
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
#: The longest that ranks wait for another: the first one validates meanwhile, or a file is slow.
MINUTES = 10
#: torch's option for sending buffers in every step: newer releases warn of the older name.
OPTIONS = signature(DistributedDataParallel).parameters
SYNC = "forward_sync_buffers" if "forward_sync_buffers" in OPTIONS else "broadcast_buffers"
#: Seconds for the first rank to say what all of them fail from.
PATIENCE = 3.0


@dataclass(frozen=True)
class Ranks:
    """Which process this is of how many.

    Args:
        rank: from 0; the first one logs, validates, writes and prints for all.
        world: how many there are. local, here: the same two, of this machine alone.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether it speaks for all."""
        return self.rank == 0

    def device_of(self, device: torch.device) -> torch.device:
        """The rank's own device of this type. Raises UsageError when there are too few GPUs."""
        if device.type != "cuda" or self.world == 1:
            return device
        gpus = torch.cuda.device_count()
        if self.here > gpus:
            raise UsageError(
                f"{self.here} processes on this machine need a GPU each, and it has {gpus}; "
                f"start {gpus}, or set `device` to cpu"
            )
        own = torch.device("cuda", self.local)
        torch.cuda.set_device(own)
        return own

    def seed(self, seed: int, step: int = 0) -> int:
        """What to draw from at a step, other numbers on each rank; the first keeps `seed`."""
        if self.first:
            return seed
        return int(np.random.SeedSequence((abs(seed), step, self.rank)).generate_state(1)[0])

    def largest(self, value: float) -> float:
        """The largest that any rank gives: every rank calls this, and gets the same.

        It goes from CPU to CPU, also between GPUs, so that none of these is waited for.
        """
        if self.world == 1:
            return value
        largest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return float(largest)

    def mean(self, scalars: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Scalars (), on the rank's device, averaged over all ranks; as they are when alone."""
        if self.world == 1:
            return scalars
        total = torch.stack([scalar.detach().float() for scalar in scalars])
        dist.all_reduce(total)
        return (total / self.world).unbind()

    def joined(self, network: nn.Module, average: nn.Module, partial: bool) -> nn.Module:
        """A module that computes what `network` does, and averages its gradients over the ranks.

        The first rank's weights, and its averaged ones, are everybody's from here on.

        Args:
            partial: whether a step leaves some parameters without a gradient. Finding out
                which costs a walk through the graph in every step.
        """
        for tensor in (*network.state_dict().values(), *average.state_dict().values()):
            dist.broadcast(tensor, 0)
        # Buffers never change in a step: they travel once, here.
        once: dict[str, Any] = {SYNC: False}
        return DistributedDataParallel(network, find_unused_parameters=partial, **once)


ALONE = Ranks()


@contextmanager
def together() -> Iterator[Ranks]:
    """The ranks of torchrun's environment, connected; `ALONE` where it did not start this one.

    When all ranks fail alike, the first one says so: the others wait a moment, in which torchrun
    ends them.

    Raises TicodecError when another process has ended, or does not answer.
    """
    values = [os.environ.get(name, "") for name in NAMES]
    if not all(value.isdecimal() for value in values) or int(values[1]) == 1:
        yield ALONE
        return
    rank, world, local, here = map(int, values)
    ranks = Ranks(rank, world, local, here)
    try:
        # Scalars of the CPU go by gloo, gradients of GPUs by nccl.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=MINUTES))
        yield ranks
        ranks.largest(0.0)  # the first one may be writing yet
        dist.destroy_process_group()
    except Exception as error:
        if not ranks.first:
            time.sleep(PATIENCE)
        who = f"process {ranks.rank} of {ranks.world}"
        if isinstance(error, TicodecError) and not ranks.first:
            raise type(error)(f"{who}: {error}") from error
        if is_lost(error):
            # torchrun ends what is left over: not before it has said why.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise TicodecError(
                f"{who}: another one has ended, or did not answer for {MINUTES} minutes; "
                "trunk.pt is as it was written last"
            ) from error
        raise


def is_lost(error: Exception) -> bool:
    """Whether a connection to another rank was lost; gloo's errors have no type of their own."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)
