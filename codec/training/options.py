"""The options of a training run, each described by one field of `TrainOptions`.

From a field come its option of `ticodec train` with type, help and defaults, its check, the kinds
of training that take it, and whether the history (and with it the model card) records it. A new
option is a field here and the code that uses it. Imports no torch, since `--help` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from ticodec.errors import UsageError

OPTIMIZERS = ("adam", "muon")
#: How labelled images are augmented: see `data.augment.Augmentation`.
AUGMENTATIONS = ("full", "mild", "none")


class Training(StrEnum):
    """What is trained, as far as options differ; the value is its name in messages and help."""

    CODEC = "codecs"
    STEP_1 = "icat's step 1"
    STEP_2 = "icat's step 2"
    HEAD = "heads"
    PIXELS = "vit"


ALL = tuple(Training)
ICAT = (Training.STEP_1, Training.STEP_2)
CLASSIFIERS = (Training.HEAD, Training.PIXELS)
LABELLED = (*ICAT, *CLASSIFIERS)
#: Where a rate is part of the loss.
RATED = (Training.CODEC, Training.STEP_2)


def listed(trainings: Iterable[Training]) -> str:
    """Names of kinds of training, such as "icat, heads and vit"."""
    names = [training.value for training in trainings]
    if set(ICAT) <= set(trainings):
        names = ["icat", *(name for name in names if name not in ICAT)]
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
        only = "" if set(self.defaults) == set(ALL) else f" Only for {listed(self.defaults)}."
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
    own = {Training.CODEC: default, Training.STEP_2: step_2}
    defaults = {training: own.get(training, labelled) for training in trainings}
    described = Option(help, defaults, must, check, fixed, recorded)
    return field(default=default, metadata={"option": described, "help": described.described()})


@dataclass
class TrainOptions:
    """Settings of a run; stored in its checkpoints. `option` says what each field means.

    Raises UsageError for a value out of range.
    """

    crop: int = option(
        256,
        "Side of the training crops, in pixels.",
        "be a positive multiple of 32",
        lambda crop: crop > 0 and crop % 32 == 0,
        labelled=224,
    )
    batch: int = option(
        8,
        "Crops in a step of each process.",
        "be at least 1",
        lambda batch: batch >= 1,
        labelled=32,
        step_2=16,
    )
    lr: float = option(
        1e-4,
        "Learning rate of the stable phase.",
        "be above 0 and below 1",
        lambda lr: 0 < lr < 1,
        labelled=1e-3,
        step_2=1e-4,
    )
    warmup: int = option(
        200,
        "Steps in which the learning rate rises from 0.",
        "not be negative",
        lambda warmup: warmup >= 0,
    )
    ema: float = option(
        0.999,
        "Decay of the averaged weights, which are exported.",
        "be at least 0 and below 1",
        lambda ema: 0 <= ema < 1,
        recorded=False,
    )
    clip: float = option(
        1.0,
        "Gradients with a larger norm are scaled down to it.",
        "be above 0",
        lambda clip: clip > 0,
        recorded=False,
    )
    seed: int = option(
        0,
        "Seed of the weights, the crops and the noise.",
        "be a 63-bit number",
        lambda seed: abs(seed) < 2**63 - 1,
        fixed=True,
    )
    optimizer: str = option(
        "adam",
        "adam, or muon for the matrices.",
        "be adam or muon",
        lambda optimizer: optimizer in OPTIMIZERS,
        fixed=True,
    )
    balance: float = option(
        0.4,
        "The loss is divided by λ to this power. 0 is the papers' loss, in which the highest "
        "quality has most of the gradient; at 1 the lowest has.",
        "be from 0 to 1",
        lambda balance: 0 <= balance <= 1,
        trainings=RATED,
    )
    shrink: float = option(
        1.0,
        "Photos are shrunk by a random factor from 1 to this before they are cropped.",
        "be from 1 to 4",
        lambda shrink: 1 <= shrink <= 4,
        trainings=(Training.CODEC,),
    )
    quality_range: tuple[float, float] = option(
        (1.0, 8.0),
        "Lowest and highest quality that one network learns.",
        "be within 1 to 8, the lowest first",
        lambda range: 1 <= range[0] <= range[1] <= 8,
        trainings=RATED,
        recorded=False,
    )
    weight_decay: float = option(
        0.0,
        "Weight decay of AdamW and Muon.",
        "be from 0 to 1",
        lambda decay: 0 <= decay <= 1,
        labelled=0.05,
        step_2=0.0,
    )
    step: int = option(
        2,
        "1: without quantisation. 2: with it, begun from step 1 (Bai et al., Training Strategy).",
        "be 1 or 2",
        lambda step: step in (1, 2),
        trainings=ICAT,
        fixed=True,
    )
    ratio: float = option(
        100.0,
        "α/β: the weight of the labels' loss over that of the pixels'.",
        "not be negative",
        lambda ratio: ratio >= 0,
        trainings=(Training.STEP_2,),
    )
    smoothing: float = option(
        0.1,
        "Label smoothing.",
        "be at least 0 and below 1",
        lambda smoothing: 0 <= smoothing < 1,
        trainings=LABELLED,
    )
    augment: str = option(
        "mild",
        "Augmentation: full (DeiT's), mild (crops and mirrors) or none.",
        "be full, mild or none",
        lambda augment: augment in AUGMENTATIONS,
        trainings=LABELLED,
        labelled="full",
        step_2="mild",
    )
    smallest: float = option(
        0.08,
        "Smallest crop, as a part of the image's area.",
        "be above 0, at most 1",
        lambda smallest: 0 < smallest <= 1,
        trainings=LABELLED,
    )
    views: int = option(
        0,
        "Encode this many views of every image once and keep them. "
        "0: encode a fresh view in every step.",
        "not be negative",
        lambda views: views >= 0,
        trainings=(Training.HEAD,),
    )
    enlarge: int = option(
        1,
        "Learn from images that are enlarged by up to 2 or 4, too; their latents are halved.",
        "be 1, 2 or 4",
        lambda enlarge: enlarge in (1, 2, 4),
        trainings=(Training.HEAD,),
    )
    teacher: str = option(
        "",
        "Learn the answers of this classifier, too: installed weights or a file.",
        trainings=CLASSIFIERS,
    )

    def __post_init__(self) -> None:
        low, high = self.quality_range
        self.quality_range = (low, high)  # a tuple, whatever the checkpoint had
        for name, option in OPTIONS.items():
            if option.check is not None and not option.check(getattr(self, name)):
                raise UsageError(f"`{name}` must {option.must}")

    @classmethod
    def of(cls, training: Training, given: Mapping[str, Any]) -> Self:
        """The options of a new run: those given, and the defaults of its kind of training.

        Raises UsageError for a value out of range, and for an option that would be ignored.
        """
        check_used(training, given)
        defaults = {
            name: option.defaults[training]
            for name, option in OPTIONS.items()
            if training in option.defaults
        }
        return cls(**{**defaults, **given})

    def recorded(self, training: Training) -> dict[str, Any]:
        """The options that the history of such a training has; those that are "" are left out."""
        used = {name: option for name, option in OPTIONS.items() if training in option.defaults}
        values = {name: getattr(self, name) for name, option in used.items() if option.recorded}
        return {name: value for name, value in values.items() if value != ""}

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, as stored in a checkpoint."""
        return asdict(self)


#: Every option by name.
OPTIONS: dict[str, Option] = {
    entry.name: entry.metadata["option"] for entry in fields(TrainOptions)
}


def check_used(training: Training, given: Iterable[str]) -> None:
    """Raises UsageError when this kind of training would ignore one of the options given."""
    for name in given:
        option = OPTIONS[name]
        if training not in option.defaults:
            users = listed(option.defaults)
            raise UsageError(f"`{name}` is for {users}: here it would be ignored; leave it out")


def check_resumable(given: Iterable[str]) -> None:
    """Raises UsageError when one of the options given cannot change while a run goes on."""
    fixed = [name for name in given if OPTIONS[name].fixed]
    if fixed:
        names = ", ".join(f"`{name}`" for name in fixed)
        raise UsageError(f"`resume` brings what {names} would set; leave that away")
