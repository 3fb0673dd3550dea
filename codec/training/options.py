"""The options of a training run, each described by one field of `TrainOptions`.

A field holds everything about its option: the type, the help and the defaults that `ticodec train`
shows, the check, the kinds of training that take it, and whether the history of a run (and so the
model card) records it. To add an option, add a field here and the code that uses it.

This module imports no torch, because `--help` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ticodec.errors import UsageError

from .option_field import (
    CLASSIFIERS,
    ICAT,
    LABELLED,
    PHOTOS,
    RATED,
    Option,
    Training,
    names_of,
    option,
)

OPTIMIZERS = ("adam", "muon")
#: The only value of `freeze` besides "".
FROZEN = "transforms"
#: How labelled images are augmented: see `data.augment.Augmentation`.
AUGMENTATIONS = ("full", "mild", "none")


@dataclass
class TrainOptions:
    """Settings of a run, which its checkpoints store. The help text of each field explains it.

    Raises:
        UsageError: A value is out of range.
    """

    crop: int = option(
        256,
        "Width and height of the training crops, in pixels.",
        "be a positive multiple of 32",
        lambda crop: crop > 0 and crop % 32 == 0,
        labelled=224,
    )
    batch: int = option(
        8,
        "Crops per training step, in each process.",
        "be at least 1",
        lambda batch: batch >= 1,
        labelled=32,
        step_2=16,
    )
    lr: float = option(
        1e-4,
        "Learning rate, until it falls in the annealing phase.",
        "be above 0 and below 1",
        lambda lr: 0 < lr < 1,
        labelled=1e-3,
        step_2=1e-4,
    )
    warmup: int = option(
        200,
        "Number of steps in which the learning rate rises from 0 to --lr.",
        "not be negative",
        lambda warmup: warmup >= 0,
    )
    ema: float = option(
        0.999,
        "Decay of the moving average of the weights. The average is what gets exported.",
        "be at least 0 and below 1",
        lambda ema: 0 <= ema < 1,
        recorded=False,
    )
    clip: float = option(
        1.0,
        "Largest norm of the gradient. A larger gradient is scaled down to this norm.",
        "be above 0",
        lambda clip: clip > 0,
        recorded=False,
    )
    seed: int = option(
        0,
        "Seed of all random numbers: initial weights, crops and noise.",
        "be a 63-bit number",
        lambda seed: abs(seed) < 2**63 - 1,
        fixed=True,
    )
    optimizer: str = option(
        "adam",
        "adam, or muon. muon updates the matrices of linear layers with Muon and everything else "
        "with Adam.",
        "be adam or muon",
        lambda optimizer: optimizer in OPTIMIZERS,
        fixed=True,
    )
    balance: float = option(
        0.4,
        "How the qualities share the gradient: the loss is divided by λ to this power. With 0, the "
        "papers' loss, most of the gradient comes from the highest quality. With 1 most of it "
        "comes from the lowest.",
        "be from 0 to 1",
        lambda balance: 0 <= balance <= 1,
        trainings=RATED,
    )
    shrink: float = option(
        1.0,
        "Before a crop is taken, its photo is shrunk by a random factor from 1 to this value.",
        "be from 1 to 4",
        lambda shrink: 1 <= shrink <= 4,
        trainings=PHOTOS,
    )
    freeze: str = option(
        "",
        "transforms: train only the entropy model (h_a, h_s, context model and prior). The "
        "transforms g_a and g_s and the gains stay as they are in --init. Photos are encoded "
        "once, before training.",
        "be transforms, or left out",
        lambda freeze: freeze in ("", FROZEN),
        trainings=PHOTOS,
        fixed=True,
    )
    quality_range: tuple[float, float] = option(
        (1.0, 8.0),
        "Lowest and highest quality to train for.",
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
        "Step of the two-step training of Bai et al. 1: without quantisation. 2: with "
        "quantisation; give the result of step 1 as --init.",
        "be 1 or 2",
        lambda step: step in (1, 2),
        trainings=ICAT,
        fixed=True,
    )
    ratio: float = option(
        100.0,
        "α/β: weight of the label loss, relative to the weight of the pixel loss.",
        "not be negative",
        lambda ratio: ratio >= 0,
        trainings=(Training.STEP_2,),
    )
    smoothing: float = option(
        0.1,
        "Label smoothing: the part of each target that is spread evenly over all classes.",
        "be at least 0 and below 1",
        lambda smoothing: 0 <= smoothing < 1,
        trainings=LABELLED,
    )
    augment: str = option(
        "mild",
        "How images are varied at random: full (as in DeiT), mild (crops and mirror images) "
        "or none.",
        "be full, mild or none",
        lambda augment: augment in AUGMENTATIONS,
        trainings=LABELLED,
        labelled="full",
        step_2="mild",
    )
    smallest: float = option(
        0.08,
        "Area of the smallest crop, as a fraction of the image's area.",
        "be above 0, at most 1",
        lambda smallest: 0 < smallest <= 1,
        trainings=LABELLED,
    )
    views: int = option(
        0,
        "Before training, encode each image this many times, each time cropped at random, and "
        "train on these latents only. 0: encode new crops in every step.",
        "not be negative",
        lambda views: views >= 0,
        trainings=(Training.HEAD,),
    )
    enlarge: int = option(
        1,
        "2 or 4: also train on images enlarged by up to this factor. The width and height of their "
        "latents are halved until there are as many latents as without enlarging.",
        "be 1, 2 or 4",
        lambda enlarge: enlarge in (1, 2, 4),
        trainings=(Training.HEAD,),
    )
    teacher: str = option(
        "",
        "A classifier whose answers are learned too (distillation): the name of installed "
        "weights, or a file.",
        trainings=CLASSIFIERS,
    )

    def __post_init__(self) -> None:
        low, high = self.quality_range
        self.quality_range = (low, high)  # a checkpoint may hold a list
        for name, entry in OPTIONS.items():
            if entry.check is not None and not entry.check(getattr(self, name)):
                raise UsageError(f"`{name}` must {entry.must}")

    @classmethod
    def of(cls, training: Training, given: Mapping[str, Any]) -> Self:
        """The options of a new run: the given ones, and defaults for the others.

        Args:
            training: the kind of training, which decides the defaults.
            given: values by name of option.

        Raises:
            UsageError: A value is out of range, or this kind of training would ignore an option.
        """
        check_used(training, given)
        defaults = {
            name: entry.defaults[training]
            for name, entry in OPTIONS.items()
            if training in entry.defaults
        }
        return cls(**{**defaults, **given})

    def recorded(self, training: Training) -> dict[str, Any]:
        """The options that the history of this kind of training records, except empty texts."""
        used = {name: entry for name, entry in OPTIONS.items() if training in entry.defaults}
        values = {name: getattr(self, name) for name, entry in used.items() if entry.recorded}
        return {name: value for name, value in values.items() if value != ""}

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict, which a checkpoint stores."""
        return asdict(self)


#: Every option by name.
OPTIONS: dict[str, Option] = {
    entry.name: entry.metadata["option"] for entry in fields(TrainOptions)
}


def check_used(training: Training, given: Iterable[str]) -> None:
    """Raises UsageError when this kind of training would ignore one of the options given."""
    for name in given:
        entry = OPTIONS[name]
        if training not in entry.defaults:
            users = names_of(entry.defaults)
            raise UsageError(f"leave out `{name}`: it is only for {users} and has no effect here")


def check_resumable(given: Iterable[str]) -> None:
    """Raises UsageError when one of the given options cannot change in a resumed run."""
    fixed = [name for name in given if OPTIONS[name].fixed]
    if fixed:
        names = ", ".join(f"`{name}`" for name in fixed)
        raise UsageError(f"leave out {names}: a resumed run keeps its own")
