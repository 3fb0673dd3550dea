"""Dimensions of a network and the presets of the papers. Imports no torch.

A `ModelConfig` (or an `IcatConfig`) is stored as JSON inside every weights file, so a file
is all that is needed to rebuild its network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .analysis_config import IcatConfig, ViTConfig
from .dimensions import Dimensions

#: Rate-distortion trade-offs of Lu et al., section 4; quality q uses entry q - 1.
PAPER_LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932, 0.18)

#: One latent position of y covers this many pixels each way.
STRIDE_Y = 16

MODEL_IDS = {"tic": 1, "tic-plus": 2, "tic-lite": 3, "icat": 4}
"""Model names and the numbers that stand for them in a `.tic` header."""


@dataclass(frozen=True)
class ModelConfig(Dimensions):
    """Dimensions of one TIC network (Lu et al., section 3.2 and figure 2).

    Args:
        model: stable model name, a key of `MODEL_IDS`.
        N: channels inside the transforms.
        M: channels of the latent y.
        depths: Swin layers of the STBs at 1/2, 1/4 and 1/8 resolution. 0 means
            no STB there, a LeakyReLU instead (`tic-lite`).
        heads: attention heads of those STBs.
        window: their window side, in tokens.
        hyper_depths, hyper_heads, hyper_window: the same at 1/16 and 1/32.
        mlp_ratio: hidden width of every MLP, in multiples of its input width.
        cam_heads: attention heads of the causal attention module.
        activation: after the convolutions of the main coder: "gdn" (linear GDN,
            as the paper says), "leaky_relu", or "none" (as its published code).
        hyper_activation: the same for the hyper coder: "leaky_relu" or "none".
        lambdas: the trade-off of each quality level. One entry is a network for
            one fixed λ; several are one network with a gain vector a level.
    """

    model: str
    N: int = 128
    M: int = 192
    depths: tuple[int, ...] = (2, 2, 2)
    heads: tuple[int, ...] = (4, 8, 16)
    window: int = 8
    hyper_depths: tuple[int, ...] = (2, 2)
    hyper_heads: tuple[int, ...] = (16, 16)
    hyper_window: int = 4
    mlp_ratio: int = 4
    cam_heads: int = 16
    activation: str = "gdn"
    hyper_activation: str = "leaky_relu"
    lambdas: tuple[float, ...] = PAPER_LAMBDAS

    #: z lives at 1/64; images are padded to a multiple of this inside the codec.
    stride_z = 64

    def __post_init__(self) -> None:
        if self.model not in MODEL_IDS:
            raise ValueError(f"unknown model {self.model!r}; known: {', '.join(MODEL_IDS)}")
        if self.activation not in ("gdn", "leaky_relu", "none"):
            raise ValueError(f"unknown activation {self.activation!r}")
        if self.hyper_activation not in ("leaky_relu", "none"):
            raise ValueError(f"unknown hyper activation {self.hyper_activation!r}")
        if not self.lambdas or min(self.lambdas) <= 0:
            raise ValueError("lambdas must be positive numbers, at least one")
        widths = [(self.N, self.heads), (self.N, self.hyper_heads), (self.M, (self.cam_heads,))]
        if any(width % heads for width, group in widths for heads in group):
            raise ValueError("channels must be divisible by the number of heads")

    @property
    def levels(self) -> int:
        """Number of quality levels; 1 means one fixed λ and no gain vectors."""
        return len(self.lambdas)


#: Dimensions of any network that codes.
Config = ModelConfig | IcatConfig


def config_from(fields: dict[str, Any]) -> Config:
    """The config a weights file or a checkpoint tells of. Raises ValueError on bad fields."""
    kind = IcatConfig if fields.get("model") == "icat" else ModelConfig
    return kind.from_dict(fields)


#: Sizes of a classifier of its own: Bai et al.'s, and half as wide and half as deep.
VITS = {"vit": ViTConfig(), "vit-lite": ViTConfig(C=192, L=6, heads=3)}

PRESETS: dict[str, Config] = {
    # Lu et al.: "128 channels for the first 4 models ..., 192 for the rest"; the
    # latent widths are those of their published code. "-high" is the wide one.
    "tic": ModelConfig("tic"),
    "tic-high": ModelConfig("tic", N=192, M=320),
    "tic-plus": ModelConfig("tic-plus", depths=(2, 4, 6)),
    "tic-plus-high": ModelConfig("tic-plus", N=192, M=320, depths=(2, 4, 6)),
    # Ours: no attention at half resolution, about a tenth of the work of tic-plus.
    "tic-lite": ModelConfig(
        "tic-lite", N=96, M=128, depths=(0, 2, 2), activation="none", hyper_activation="none"
    ),
    # Bai et al.; labels come from the data. "-lite" is ours, a seventh of the work.
    "icat": IcatConfig(),
    "icat-lite": IcatConfig(N=64, M=128, vit=VITS["vit-lite"]),
}


def preset(name: str, **changes: Any) -> Any:
    """The named preset with some fields changed, e.g. `preset("tic", activation="none")`.

    Raises ValueError if there is no such preset, or it has no such field.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    try:
        return replace(PRESETS[name], **changes)  # type: ignore[type-var]
    except TypeError as error:
        raise ValueError(f"{name} has no {', '.join(changes)}") from error
