"""The description of a training option, which each field of `TrainOptions` holds.

This module also lists all kinds of training. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Training(StrEnum):
    """The kinds of training that differ in their options.

    The value is the name in messages and help texts.
    """

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
#: Kinds of training that have the rate in the loss.
RATED = (Training.CODEC, Training.ENTROPY, Training.STEP_2)
#: Kinds of training on photos without labels.
PHOTOS = (Training.CODEC, Training.ENTROPY)


def names_of(trainings: Iterable[Training]) -> str:
    """Joins names of kinds of training to a text such as "icat, heads and vit"."""
    names = [training.value for training in trainings]
    if set(ICAT) <= set(trainings):
        names = ["icat", *(name for name in names if name not in ICAT)]
    if set(PHOTOS) <= set(trainings):  # "codecs" includes codecs with frozen transforms
        names.remove(Training.ENTROPY)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


@dataclass(frozen=True)
class Option:
    """Everything about an option except its name and type.

    Args:
        help: one to three sentences.
        defaults: the default for each kind of training that takes the option. A kind that is
            missing here does not take it.
        must: what a value must be, in words that follow "must".
        check: returns whether a value is allowed. If it is None, every value is allowed.
        fixed: whether the option cannot change when a run is resumed.
        recorded: whether the history of a run records it.
    """

    help: str
    defaults: Mapping[Training, Any]
    must: str
    check: Callable[[Any], bool] | None
    fixed: bool
    recorded: bool

    def described(self) -> str:
        """The help text, followed by the kinds of training that take the option, and defaults."""
        only = "" if set(self.defaults) == set(ALL) else f" Only for {names_of(self.defaults)}."
        return f"{self.help}{only} [default: {self.defaults_shown()}]"

    def defaults_shown(self) -> str:
        """The default for codecs, and each default of training on labels that differs from it."""
        shown: list[str] = []
        last = None
        groups = {
            "": (Training.CODEC,),
            f"{names_of(LABELLED)}: ": LABELLED,
            f"{Training.STEP_2}: ": (Training.STEP_2,),
        }
        for name, group in groups.items():
            text = next((_shown(self.defaults[t]) for t in group if t in self.defaults), last)
            if text is not None and text != last:
                shown.append(f"{name}{text}" if shown else text)
                last = text
        return "; ".join(shown)


def _shown(value: object) -> str:
    """A default as text for people."""
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
    """A field of `TrainOptions`. Arguments that are not listed here are those of `Option`.

    Args:
        default: the default of training on photos, and of a `TrainOptions()` made in code.
        trainings: the kinds of training that take the option.
        labelled: the default of training on labels. None means the same as `default`.
        step_2: the default of icat's step 2. None means the same as `labelled`.
    """
    if labelled is None:
        labelled = default
    if step_2 is None:
        step_2 = labelled
    own = {**dict.fromkeys(PHOTOS, default), Training.STEP_2: step_2}
    defaults = {training: own.get(training, labelled) for training in trainings}
    described = Option(help, defaults, must, check, fixed, recorded)
    return field(default=default, metadata={"option": described, "help": described.described()})
