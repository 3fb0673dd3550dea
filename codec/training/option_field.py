"""What a field of `TrainOptions` says of its option, and which kinds of training there are.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Training(StrEnum):
    """What is trained, as far as options differ; the value is its name in messages and help."""

    CODEC = "codecs"
    ENTROPY = "codecs with frozen transforms"
    STEP_1 = "icat's step 1"
    STEP_2 = "icat's step 2"
    HEAD = "heads"
    PIXELS = "vit"


ALL = tuple(Training)
ICAT = (Training.STEP_1, Training.STEP_2)
CLASSIFIERS = (Training.HEAD, Training.PIXELS)
LABELLED = (*ICAT, *CLASSIFIERS)
#: Where a rate is part of the loss.
RATED = (Training.CODEC, Training.ENTROPY, Training.STEP_2)
#: Training on photos.
PHOTOS = (Training.CODEC, Training.ENTROPY)


def names_of(trainings: Iterable[Training]) -> str:
    """Names of kinds of training, such as "icat, heads and vit"."""
    names = [training.value for training in trainings]
    if set(ICAT) <= set(trainings):
        names = ["icat", *(name for name in names if name not in ICAT)]
    if set(PHOTOS) <= set(trainings):  # those with frozen transforms are codecs, too
        names.remove(Training.ENTROPY)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name and type.

    Args:
        help: one or two sentences.
        defaults: the default for each kind of training that takes it; others ignore it.
        must, check: what a value must be, in words and as a function of the value.
        fixed: whether it stays as it is when a run is resumed.
        recorded: whether the history of a run has it.
    """

    help: str
    defaults: Mapping[Training, Any]
    must: str
    check: Callable[[Any], bool] | None
    fixed: bool
    recorded: bool

    def described(self) -> str:
        """The help with which trainings take it, and its defaults."""
        only = "" if set(self.defaults) == set(ALL) else f" Only for {names_of(self.defaults)}."
        return f"{self.help}{only} [default: {self.defaults_shown()}]"

    def defaults_shown(self) -> str:
        """The default, and those of labelled training and of icat's step 2 that differ from it."""
        shown: list[str] = []
        last = None
        groups = {"": (Training.CODEC,), "labelled: ": LABELLED, "step 2: ": (Training.STEP_2,)}
        for name, group in groups.items():
            text = next((_shown(self.defaults[t]) for t in group if t in self.defaults), last)
            if text is not None and text != last:
                shown.append(f"{name}{text}" if shown else text)
                last = text
        return "; ".join(shown)


def _shown(value: object) -> str:
    """A default for people."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "none"


def option(
    default: Any,
    help: str,
    must: str = "",
    check: Callable[[Any], bool] | None = None,
    *,
    trainings: tuple[Training, ...] = ALL,
    labelled: Any = None,
    step_2: Any = None,
    fixed: bool = False,
    recorded: bool = True,
) -> Any:
    """A field of `TrainOptions`.

    Args:
        default: of a training of photos, and of what is trained by hand.
        trainings: the kinds that take it. The other arguments are those of `Option`.
        labelled: the default where labels are learned, if it is another one.
        step_2: the default in icat's step 2, if it is not that of all labelled training.
    """
    if labelled is None:
        labelled = default
    if step_2 is None:
        step_2 = labelled
    own = {**dict.fromkeys(PHOTOS, default), Training.STEP_2: step_2}
    defaults = {training: own.get(training, labelled) for training in trainings}
    described = Option(help, defaults, must, check, fixed, recorded)
    return field(default=default, metadata={"option": described, "help": described.described()})
