"""What tests replace in libraries, only to be faster: how workers start, how a command is made.

Both are set when pytest loads `conftest.py`, and hold for what runs in that process. Commands that
tests run as processes of their own are as users have them: their workers start by spawn.

    test ─► engine ─► get_context("spawn") ─► a server that has imported PyTorch ─► fork ─► worker
                                              (started once)      environment, errors ─┘

A worker differs from a spawned one in what it has imported before it begins, and in its parent,
which is the server. Tests of signals, and of who ends with whom, use processes of their own.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from multiprocessing import reduction

import typer.main

#: What workers need: they have it when they begin.
IMPORTED = [
    "ticodec.batch.worker",
    "ticodec.codec",
    "ticodec.evaluation.measure",
    "ticodec.ms_ssim",
]


class Errors:
    """Standard error of this process; on its way to a worker it becomes the worker's own."""

    def __reduce__(self) -> tuple:
        return take_errors, (reduction.DupFd(2),)


def take_errors(errors: reduction.DupFd) -> None:
    """Write errors where another process does."""
    handle = errors.detach()
    os.dup2(handle, 2)
    os.close(handle)


class Forked(multiprocessing.context.ForkServerProcess):
    """A worker with the environment and standard error of its starter, not of what forks it."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.environment = dict(os.environ)
        self.errors = Errors()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        super().run()


class Forking(multiprocessing.context.ForkServerContext):
    """How `Forked` ones are started."""

    Process = Forked


def fork_workers() -> None:
    """Let what runs in this process fork its workers off a server that has imported PyTorch.

    The import takes 2 s of a core: once, instead of once a worker.
    """
    if sys.platform != "linux":
        return
    forking, get_context = Forking(), multiprocessing.get_context
    forking.set_forkserver_preload(IMPORTED)
    multiprocessing.get_context = lambda how=None: forking if how == "spawn" else get_context(how)


def share_command() -> None:
    """Let all calls of the command in this process share what typer makes of its signatures.

    That takes 0.1 s and more, every time.
    """
    typer.main.get_command = functools.cache(typer.main.get_command)
