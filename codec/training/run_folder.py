"""The folder of a run: its name, what in it may be replaced, and the command that comes next."""

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

#: Folder of runs that are given none.
RUNS = Path("runs")
TRUNK, ANNEALED = "trunk.pt", "annealed.pt"
#: A run holds this file, so that two do not write into one folder.
LOCK = ".ticodec-train.lock"
#: What the folder of icat's first step ends in.
STEP_1 = "-step1"


def folder_of(request: Request, trainer: AnyTrainer, out: Path | None) -> Path:
    """Where a run writes: `out`, the folder of what it resumes, or one named after the model."""
    if out is not None:
        return out
    if request.resume is not None:
        return request.resume.parent
    return RUNS / _name_of(request, trainer)


def _name_of(request: Request, trainer: AnyTrainer) -> str:
    """What is trained."""
    config = trainer.config
    if isinstance(config, HeadConfig):
        return f"{config.codec}-head" if config.stem == "latents" else request.model or "vit"
    name = request.model or config.model
    return name + STEP_1 if is_step_1(trainer) else name


def is_step_1(trainer: AnyTrainer) -> bool:
    """Whether a joint model is in its first step, which another one has to follow."""
    return trainer.recorded_options().get("step") == 1


@contextmanager
def claimed(
    folder: Path, request: Request, trainer: AnyTrainer, force: bool, ranks: Ranks
) -> Iterator[None]:
    """The folder of a run, made, and kept from other runs; of several ranks the first does it.

    Raises UsageError when the run would replace checkpoints, TicodecError when another run is
    writing there, or the disk refuses.
    """
    check_free(folder, request, trainer, force)
    if not ranks.first:
        yield
        return
    make_folder(folder)
    with locked(folder / LOCK, 0, "another run"):
        check_free(folder, request, trainer, force)  # nobody has written since
        yield


def check_free(folder: Path, request: Request, trainer: AnyTrainer, force: bool) -> None:
    """Raises UsageError when the run would replace checkpoints in its folder.

    A run may replace the trunk that it resumes; with `force`, also another run's checkpoints,
    but never those that it begins or learns from.
    """
    trunk = (folder / TRUNK).resolve()
    resumes_trunk = request.resume is not None and request.resume.resolve() == trunk
    begun_from = None if resumes_trunk or request.resume is None else str(request.resume)
    for source in filter(None, (request.init, trainer.options.teacher, begun_from)):
        path = Path(source)
        if is_checkpoint(path) and path.resolve().parent == folder.resolve():
            raise UsageError(f"{folder} is where {source} is, which it would replace; give `out`")
    if force or resumes_trunk:
        return
    for name in (TRUNK, ANNEALED):
        if (folder / name).exists():
            raise UsageError(
                f"{folder / name} is there already: `resume` goes on from it, "
                "`out` names another folder, `force` replaces it"
            )
    if are_in(folder / PARTS):
        raise UsageError(
            f"{folder / PARTS} has weights of another run already: `init` begins from them, "
            "`out` names another folder, `force` replaces them"
        )


def next_command(made: Path, data: Path, trainer: AnyTrainer) -> str:
    """What to type after a run that wrote the checkpoint `made`, for a POSIX shell."""
    checkpoint = _as_argument(made)
    if not is_step_1(trainer):
        name = _free_name(trainer)
        return shlex.join(["ticodec", "export", checkpoint, *(["--name", name] if name else [])])
    folders = ["--data", _as_argument(data), "--out", _as_argument(_free_folder(made.parent))]
    return shlex.join(["ticodec", "train", "--step", "2", "--init", checkpoint, *folders])


def _free_name(trainer: AnyTrainer) -> str:
    """A name to export a codec by that no installed weights have; "" is that of its model.

    It is the name of its preset if that is free. Several presets are one model in other sizes.
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
    """A folder for the second step beside that of the first, in which there is nothing yet."""
    name = first_step.resolve().name
    name = name.removesuffix(STEP_1) if name.endswith(STEP_1) else f"{name}-step2"
    parent = first_step.parent if first_step.name else Path("..")
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def _as_argument(path: Path) -> str:
    """A path that no command takes for a flag."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text
