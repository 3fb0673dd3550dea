"""The families of models: all facts about each family, in one place. Does not import torch.

A family is an architecture: its networks, how its latents are coded, and how it is trained. To
add a family, write

    a config         `models/config.py`                   its dimensions
    a network        `models/`          a `CodecNetwork`  the float network that is trained
    a latent coder   `entropy/`         a `LatentCoder`   its entropy part on exact integers
    a compiler       `training/export/`                   makes the integers from the network
    a trainer        `training/`        a `Trainer`

and one entry of `FAMILIES`. An entry may name a class of another family, except for the trainer,
because each trainer has the `kind` of its family. A trainer on photos can be a subclass of
`codec_trainer.Trainer` that only sets its `kind`.

An entry names these classes as "module:name" within the package. They are imported when they are
needed, because `ticodec info` reads this file without torch, and code that only runs a codec does
not import training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from .config import VITS, CodecConfig, IcatConfig, ModelConfig, ViTConfig

if TYPE_CHECKING:
    from torch import Tensor

    from ticodec.entropy.exact import Ops
    from ticodec.entropy.latent_coder import LatentCoder

    from .codec_network import CodecNetwork


class Model(NamedTuple):
    """The properties of a stable model name.

    Args:
        number: the number of the model in the header of a `.tic` file. It is never given to another
            model.
        head: the default size of a classifier that is trained on its latents, a key of `VITS`.
    """

    number: int
    head: str = "vit"


@dataclass(frozen=True)
class Family:
    """One family of models.

    Args:
        kind: the kind that the checkpoints of its training store.
        config: the class of its dimensions.
        models: its stable model names and their properties.
        presets: maps the names that `--model` takes to dimensions.
        network, latent_coder, compiler, trainer: "module:name" of each class or function. See the
            top of this module.
    """

    kind: str
    config: type[CodecConfig]
    models: Mapping[str, Model]
    presets: Mapping[str, CodecConfig]
    network: str
    latent_coder: str
    compiler: str
    trainer: str

    def build(self, config: CodecConfig) -> CodecNetwork:
        """A network with random weights."""
        return imported(self.network)(config)  # type: ignore[no-any-return]

    def make_latent_coder(self, ops: Ops, config: CodecConfig, thresholds: Tensor) -> LatentCoder:
        """A coder of its latents. `thresholds` are the thresholds between the scale tables."""
        return imported(self.latent_coder)(ops, config, thresholds)  # type: ignore[no-any-return]

    def compile(self, network: CodecNetwork, y: Tensor, z: Tensor) -> dict[str, Tensor]:
        """The integers of its hyper-synthesis and context model, see `training.export.compile`.

        Args:
            network: the trained network, on the CPU.
            y, z: latents of calibration images, after the gains, (B, h, w, M) and
                (B, h/n, w/n, N). n is the stride of z divided by the stride of y.
        """
        return imported(self.compiler)(network, y, z)  # type: ignore[no-any-return]

    def trainer_class(self) -> Any:
        """The class that trains it, a `training.trainer.Trainer`."""
        return imported(self.trainer)


def imported(where: str) -> Any:
    """The object at "module:name" within the package."""
    module, name = where.split(":")
    return getattr(import_module(f"ticodec.{module}"), name)


#: Swin layers of TIC+: 1, 2 and 3 STBs, two layers each, in the NTUs of the main coder.
PLUS = (2, 4, 6)

TIC = Family(
    kind="codec",
    config=ModelConfig,
    models={"tic": Model(1), "tic-plus": Model(2), "tic-lite": Model(3, head="vit-lite")},
    presets={
        # Our own presets. One network for every quality needs many latent channels. A linear
        # transform of the 16×16 blocks of Kodak reaches at most 33.8 dB with M = 128, 37.9 with
        # 192, 42.4 with 256, and 47.5 with 320.
        "tic": ModelConfig("tic", N=128, M=320),
        "tic-plus": ModelConfig("tic-plus", N=128, M=320, depths=PLUS),
        # Lu et al.: N is 128 for their four models of low rates, and 192 for the four of high
        # rates. The paper does not give M, so these pairs come from its published code.
        "tic-low": ModelConfig("tic", N=128, M=192),
        "tic-high": ModelConfig("tic", N=192, M=320),
        "tic-plus-low": ModelConfig("tic-plus", N=128, M=192, depths=PLUS),
        "tic-plus-high": ModelConfig("tic-plus", N=192, M=320, depths=PLUS),
        # Our own preset. It has no attention at half resolution, and a seventh of tic-plus's work.
        "tic-lite": ModelConfig(
            "tic-lite", N=96, M=128, depths=(0, 2, 2), activation="none", hyper_activation="none"
        ),
    },
    network="models.tic:Network",
    latent_coder="entropy.tic_coder:TicLatentCoder",
    compiler="training.export.compile_tic:compile_tic",
    trainer="training.codec_trainer:Trainer",
)

ICAT = Family(
    kind="icat",
    config=IcatConfig,
    models={"icat": Model(4)},
    presets={
        # Bai et al. The labels come from the training data. icat-lite is our own preset, with a
        # seventh of icat's work.
        "icat": IcatConfig(),
        "icat-lite": IcatConfig(N=64, M=128, vit=VITS["vit-lite"]),
    },
    network="models.icat:Icat",
    latent_coder="entropy.icat_rows:IcatLatentCoder",
    compiler="training.export.compile_icat:compile_icat",
    trainer="training.joint_trainer:JointTrainer",
)

#: All families. The first one has the default model.
FAMILIES = (TIC, ICAT)
#: Model names, and their numbers in a `.tic` header.
MODEL_IDS = {name: model.number for family in FAMILIES for name, model in family.models.items()}
PRESETS = {name: config for family in FAMILIES for name, config in family.presets.items()}
#: Fields of a config that a preset does not fix. Options and data of a training decide them.
DECIDED = ("lambdas", "activation", "hyper_activation", "aggregation", "labels", "halving")


def family_of(model: str) -> Family:
    """The family of a stable model name. Raises ValueError if there is none."""
    for family in FAMILIES:
        if model in family.models:
            return family
    raise ValueError(f"unknown model {model!r}; known: {', '.join(MODEL_IDS)}")


def default_head(model: str) -> ViTConfig:
    """The default size of a classifier for a model's latents. Raises ValueError if unknown."""
    return VITS[family_of(model).models[model].head]


def config_from(fields: dict[str, Any]) -> CodecConfig:
    """The config in a weights file or a checkpoint. Raises ValueError on bad fields."""
    if not isinstance(fields, dict):
        raise ValueError("model dimensions must be an object with named fields")
    return family_of(str(fields.get("model"))).config.from_dict(fields)


def preset_name(config: CodecConfig) -> str:
    """The name of the preset with the sizes of a config, or the config's model if there is none."""
    for name, known in PRESETS.items():
        if sizes(known) == sizes(config):
            return name
    return config.model


def sizes(config: CodecConfig) -> dict[str, Any]:
    """The fields of a config that its preset fixes."""
    return {name: value for name, value in config.to_dict().items() if name not in DECIDED}


def build(config: CodecConfig) -> CodecNetwork:
    """The network of a config, with random weights."""
    return family_of(config.model).build(config)


def preset(name: str, **changes: Any) -> Any:
    """The named preset with some fields changed, e.g. `preset("tic-low", activation="none")`.

    Raises ValueError if there is no preset with this name, or if it has no such field.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    try:
        return replace(PRESETS[name], **changes)
    except TypeError as error:
        raise ValueError(f"{name} has no {', '.join(changes)}") from error
