"""The options of a training run, each described by one field of `TrainOptions`.

From a field come its option of `ticodec train` with type, help and defaults, its check, the kinds
of training that take it, and whether the history (and with it the model card) records it. A new
option is a field here and the code that uses it. Imports no torch, since `--help` reads it.
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
#: The value of `freeze` that is not "".
FROZEN = "transforms"
#: How labelled images are augmented: see `data.augment.Augmentation`.
AUGMENTATIONS = ("full", "mild", "none")


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
        trainings=PHOTOS,
    )
    freeze: str = option(
        "",
        "transforms: keep g_a, g_s and the gains of --init as they are, and train only what "
        "predicts and codes latents. Photos are encoded once, before training.",
        "be transforms, or left out",
        lambda freeze: freeze in ("", FROZEN),
        trainings=PHOTOS,
        fixed=True,
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
        for name, entry in OPTIONS.items():
            if entry.check is not None and not entry.check(getattr(self, name)):
                raise UsageError(f"`{name}` must {entry.must}")

    @classmethod
    def of(cls, training: Training, given: Mapping[str, Any]) -> Self:
        """The options of a new run: those given, and the defaults of its kind of training.

        Raises UsageError for a value out of range, and for an option that would be ignored.
        """
        check_used(training, given)
        defaults = {
            name: entry.defaults[training]
            for name, entry in OPTIONS.items()
            if training in entry.defaults
        }
        return cls(**{**defaults, **given})

    def recorded(self, training: Training) -> dict[str, Any]:
        """The options that the history of such a training has; those that are "" are left out."""
        used = {name: entry for name, entry in OPTIONS.items() if training in entry.defaults}
        values = {name: getattr(self, name) for name, entry in used.items() if entry.recorded}
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
        entry = OPTIONS[name]
        if training not in entry.defaults:
            users = names_of(entry.defaults)
            raise UsageError(f"`{name}` is for {users}: here it would be ignored; leave it out")


def check_resumable(given: Iterable[str]) -> None:
    """Raises UsageError when one of the options given cannot change while a run goes on."""
    fixed = [name for name in given if OPTIONS[name].fixed]
    if fixed:
        names = ", ".join(f"`{name}`" for name in fixed)
        raise UsageError(f"`resume` brings what {names} would set; leave that away")
