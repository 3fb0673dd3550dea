"""Lets several processes, which torchrun starts, train one network together.

    rank 0: its crops -> gradient -+              +-> step -> logs, validates, writes, prints
    rank 1: its crops -> gradient -+-> the mean --+-> step
    ...                            |              |
    rank n: its crops -> gradient -+              +-> step

A rank is one process, on one GPU or on CPU threads. All ranks start with the weights of the first
and take the same steps, so that all have the same weights at any time. They exchange only
gradients, through torch's DistributedDataParallel, and a few scalars. A process that torchrun did
not start trains alone, and this module costs it nothing.
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

#: Environment variables that torchrun sets for each process, in the order of the fields of `Ranks`.
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
#: Ranks wait at most this long for each other, for example while the first one validates.
MINUTES = 10
OPTIONS = signature(DistributedDataParallel).parameters
#: The name of torch's option to send buffers in every step. New releases warn about the old name.
SYNC = "forward_sync_buffers" if "forward_sync_buffers" in OPTIONS else "broadcast_buffers"
#: If all ranks fail, the others give the first one this many seconds to print the error.
PATIENCE = 3.0


@dataclass(frozen=True)
class Ranks:
    """The number of this process among all processes that train together.

    Args:
        rank: from 0. Rank 0 logs, validates, writes and prints for all.
        world: how many ranks there are.
        local: the number of this rank among the ranks on this machine, from 0.
        here: how many ranks are on this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that logs, validates, writes and prints for all."""
        return self.rank == 0

    def device_of(self, device: torch.device) -> torch.device:
        """The device of this rank, of the given type. Raises UsageError for too few GPUs."""
        if device.type != "cuda" or self.world == 1:
            return device
        gpus = torch.cuda.device_count()
        if self.here > gpus:
            raise UsageError(
                f"{self.here} processes on this machine need a GPU each, and it has only {gpus}: "
                f"start {gpus}, or set `device` to cpu"
            )
        own = torch.device("cuda", self.local)
        torch.cuda.set_device(own)
        return own

    def seed(self, seed: int, step: int = 0) -> int:
        """The seed of this rank at a step. Rank 0 keeps `seed`, and each other rank differs."""
        if self.first:
            return seed
        return int(np.random.SeedSequence((abs(seed), step, self.rank)).generate_state(1)[0])

    def largest(self, value: float) -> float:
        """The largest of the values that all ranks pass. Every rank must call this.

        The values go from CPU to CPU, even if the ranks have GPUs, so that no CPU waits for a GPU.
        """
        if self.world == 1:
            return value
        largest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return float(largest)

    def mean(self, scalars: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The mean of scalars () over all ranks, on this rank's device. Every rank must call it."""
        if self.world == 1:
            return scalars
        total = torch.stack([scalar.detach().float() for scalar in scalars])
        dist.all_reduce(total)
        return (total / self.world).unbind()

    def joined(self, network: nn.Module, average: nn.Module, partial: bool) -> nn.Module:
        """A module that computes what `network` computes, and averages gradients over the ranks.

        All ranks get the weights, and the averaged weights, of the first rank.

        Args:
            network: the network in training.
            average: its averaged weights.
            partial: whether a step leaves some parameters without a gradient. Then each step
                searches the graph for these, which takes time.
        """
        for tensor in (*network.state_dict().values(), *average.state_dict().values()):
            dist.broadcast(tensor, 0)
        # Steps do not change buffers, so it is enough to send them once, above.
        once: dict[str, Any] = {SYNC: False}
        return DistributedDataParallel(network, find_unused_parameters=partial, **once)


ALONE = Ranks()


@contextmanager
def together() -> Iterator[Ranks]:
    """Connects the ranks that torchrun started. Yields `ALONE` if it did not start this process.

    If all ranks fail with the same error, only the first one prints it. The others wait for a
    moment, in which torchrun ends them.

    Raises:
        TicodecError: Another process has ended, or does not answer.
    """
    values = [os.environ.get(name, "") for name in NAMES]
    if not all(value.isdecimal() for value in values) or int(values[1]) == 1:
        yield ALONE
        return
    rank, world, local, here = map(int, values)
    ranks = Ranks(rank, world, local, here)
    try:
        # gloo carries scalars between CPUs, nccl carries gradients between GPUs.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=MINUTES))
        yield ranks
        ranks.largest(0.0)  # wait: the first rank may still be writing
        dist.destroy_process_group()
    except Exception as error:
        if not ranks.first:
            time.sleep(PATIENCE)
        who = f"process {ranks.rank} of {ranks.world}"
        if isinstance(error, TicodecError) and not ranks.first:
            raise type(error)(f"{who}: {error}") from error
        if is_lost(error):
            # torchrun ends the remaining processes. This one must print its error before that.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise TicodecError(
                f"{who}: another process has ended, or did not answer for {MINUTES} minutes; "
                "the last trunk.pt that was written is kept"
            ) from error
        raise


def is_lost(error: Exception) -> bool:
    """Whether the error means that another rank was lost. gloo's errors have no special type."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)
