"""The folder of a run: its name, which files a run may replace, and the command that comes next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticodec import weights
from ticodec.errors import UsageError
from ticodec.files import locked, make_folder
from ticodec.models.config import CodecConfig, HeadConfig
from ticodec.models.families import preset_name

from .checkpoint import is_checkpoint
from .distributed import Ranks
from .parts import PARTS, are_in
from .request import Request
from .trainer import AnyTrainer

#: The folder of runs without `out`.
RUNS = Path("runs")
TRUNK, ANNEALED = "trunk.pt", "annealed.pt"
#: A run locks this file, so that no other run writes into its folder.
LOCK = ".ticodec-train.lock"
#: The suffix of the folder of icat's step 1.
STEP_1 = "-step1"


def folder_of(request: Request, trainer: AnyTrainer, out: Path | None) -> Path:
    """The folder of a run: `out`, or the folder of the resumed checkpoint, or `runs/MODEL`."""
    if out is not None:
        return out
    if request.resume is not None:
        return request.resume.parent
    return RUNS / _name_of(request, trainer)


def _name_of(request: Request, trainer: AnyTrainer) -> str:
    """The name of what is trained, for the folder."""
    config = trainer.config
    if isinstance(config, HeadConfig):
        return f"{config.codec}-head" if config.stem == "latents" else request.model or "vit"
    name = request.model or config.model
    return name + STEP_1 if is_step_1(trainer) else name


def is_step_1(trainer: AnyTrainer) -> bool:
    """Whether this run is step 1 of a joint model. Step 2 has to follow."""
    return trainer.recorded_options().get("step") == 1


@contextmanager
def claimed(
    folder: Path, request: Request, trainer: AnyTrainer, force: bool, ranks: Ranks
) -> Iterator[None]:
    """A context in which the folder of a run exists and no other run can write into it.

    Only the first of several ranks makes and locks the folder.

    Raises:
        UsageError: The run would replace checkpoints.
        TicodecError: Another run is writing there, or the folder cannot be written.
    """
    check_free(folder, request, trainer, force)
    if not ranks.first:
        yield
        return
    make_folder(folder)
    with locked(folder / LOCK, 0, "another run"):
        check_free(folder, request, trainer, force)  # again: another run may have just ended
        yield


def check_free(folder: Path, request: Request, trainer: AnyTrainer, force: bool) -> None:
    """Raises UsageError when the run would replace checkpoints in its folder.

    A run may replace the `trunk.pt` that it resumes. With `force` it may also replace the
    checkpoints of another run, but never those that it starts from or learns from.
    """
    trunk = (folder / TRUNK).resolve()
    resumes_trunk = request.resume is not None and request.resume.resolve() == trunk
    begun_from = None if resumes_trunk or request.resume is None else str(request.resume)
    for source in filter(None, (request.init, trainer.options.teacher, begun_from)):
        path = Path(source)
        if is_checkpoint(path) and path.resolve().parent == folder.resolve():
            raise UsageError(
                f"a run in {folder} would replace {source}, which it reads: give another `out`"
            )
    if force or resumes_trunk:
        return
    for name in (TRUNK, ANNEALED):
        if (folder / name).exists():
            raise UsageError(
                f"{folder / name} already exists: give `resume` to continue it, "
                "`out` for another folder, or `force` to replace it"
            )
    if are_in(folder / PARTS):
        raise UsageError(
            f"{folder / PARTS} already has weights of another run: give `init` to start from "
            "them, `out` for another folder, or `force` to replace them"
        )


def next_command(made: Path, data: Path, trainer: AnyTrainer) -> str:
    """The command line that comes after a run that wrote the checkpoint `made`.

    It is quoted for a POSIX shell.
    """
    checkpoint = _as_argument(made)
    if not is_step_1(trainer):
        name = _free_name(trainer)
        return shlex.join(["ticodec", "export", checkpoint, *(["--name", name] if name else [])])
    folders = ["--data", _as_argument(data), "--out", _as_argument(_free_folder(made.parent))]
    return shlex.join(["ticodec", "train", "--step", "2", "--init", checkpoint, *folders])


def _free_name(trainer: AnyTrainer) -> str:
    """A name for the exported codec that no installed weights have.

    The name of the preset is used if it is free. One model may have several presets.

    Returns:
        The name, or "" if the default name of the export is free.
    """
    if not isinstance(trainer.config, CodecConfig):
        return ""
    preset = preset_name(trainer.config)
    names = weights.names()
    if preset not in names:
        return "" if preset == trainer.config.model else preset
    own, number = f"my-{preset}", 2
    while own in names:
        own, number = f"my-{preset}-{number}", number + 1
    return own


def _free_folder(first_step: Path) -> Path:
    """A folder for step 2 that does not exist yet, beside the folder of step 1."""
    name = first_step.resolve().name
    name = name.removesuffix(STEP_1) if name.endswith(STEP_1) else f"{name}-step2"
    parent = first_step.parent if first_step.name else Path("..")
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def _as_argument(path: Path) -> str:
    """A path as text that no command mistakes for a flag."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text
