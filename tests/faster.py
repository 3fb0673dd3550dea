"""Replaces parts of libraries to make tests faster: how workers start, how a command is built.

Both are replaced when pytest loads `conftest.py`, and only in that process. Commands that tests run
in processes of their own behave as they do for users: their workers start by spawn.

    test ─► engine ─► get_context("spawn") ─► a server that has imported PyTorch ─► fork ─► worker
                                              (started once)      environment, errors ─┘

A forked worker differs from a spawned one in two ways: some modules are imported before it begins,
and its parent process is the server. Tests of signals, and tests of which processes end together,
therefore run the command in a process of its own.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from multiprocessing import reduction

import typer.main

#: Modules that workers need. The server imports them before it forks workers.
IMPORTED = [
    "ticodec.batch.worker",
    "ticodec.codec",
    "ticodec.evaluation.measure",
    "ticodec.ms_ssim",
]


class Errors:
    """Stands for standard error of this process.

    A worker that unpickles it writes its own errors to this standard error.
    """

    def __reduce__(self) -> tuple:
        return take_errors, (reduction.DupFd(2),)


def take_errors(errors: reduction.DupFd) -> None:
    """Make this process's standard error that of another process."""
    handle = errors.detach()
    os.dup2(handle, 2)
    os.close(handle)


class Forked(multiprocessing.context.ForkServerProcess):
    """A worker with the environment and standard error of the process that asked for it.

    Without this it would have those of the server.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.environment = dict(os.environ)
        self.errors = Errors()

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        super().run()


class Forking(multiprocessing.context.ForkServerContext):
    """A multiprocessing context whose processes are `Forked`."""

    Process = Forked


def fork_workers() -> None:
    """Fork the workers of this process from a server that has imported PyTorch.

    The import takes 2 s of one core. It now happens once, not once per worker.
    """
    if sys.platform != "linux":
        return
    forking, get_context = Forking(), multiprocessing.get_context
    forking.set_forkserver_preload(IMPORTED)
    multiprocessing.get_context = lambda how=None: forking if how == "spawn" else get_context(how)


def share_command() -> None:
    """Build the command once per process, instead of at every call.

    typer takes 0.1 s or more to build it from the functions' signatures.
    """
    typer.main.get_command = functools.cache(typer.main.get_command)
