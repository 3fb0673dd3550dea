"""Dimensions of networks, and their JSON form. This module does not import torch.

`ModelConfig`  TIC, TIC+ and tic-lite (Lu et al.)
`IcatConfig`   the joint model (Bai et al.), which contains a ViT
`HeadConfig`   a classifier with its own weights file: a ViT that reads latents, or pixels
`ViTConfig`    a Vision Transformer: tokens in, labels out

Every weights file contains its config as JSON, so its network can be rebuilt from the file alone.
`families.py` has the presets: those of the papers and our own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple, Self, get_type_hints

#: One latent position of y covers this many pixels each way.
STRIDE_Y = 16
#: Rate-distortion trade-offs of Lu et al., section 4. Quality q uses entry q - 1.
PAPER_LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932, 0.18)
#: β of Bai et al., section "Training w/ Compression". It has the same role as λ of TIC, with an MSE
#: of values 0 … 255.
PAPER_BETAS = (0.001, 0.003, 0.006)
#: A model card lists the labels if there are at most this many.
SHOWN_LABELS = 50


@dataclass(frozen=True)
class Dimensions:
    """The base class of every config. The fields are plain, and the constructor checks them."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict that JSON can store."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises ValueError on unknown or bad fields."""
        if not isinstance(given, dict):
            raise ValueError("model dimensions must be an object with named fields")
        hints = get_type_hints(cls)
        if unknown := set(given) - {entry.name for entry in fields(cls)}:
            raise ValueError(f"unknown model dimensions: {', '.join(sorted(unknown))}")
        plain: dict[str, Any] = {}
        for name, value in given.items():
            hint = hints[name]
            if is_dataclass(hint) and isinstance(hint, type) and issubclass(hint, Dimensions):
                plain[name] = hint.from_dict(value)
            else:
                plain[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**plain)
        except TypeError as error:
            raise ValueError(f"bad model dimensions: {error}") from error

    def positive(self, *names: str) -> None:
        """Raises ValueError unless these fields are whole numbers above 0."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")


@dataclass(frozen=True)
class ViTConfig(Dimensions):
    """A Vision Transformer (Bai et al., figure 3 and equations 7 and 8).

    Args:
        C: the width of a token.
        L: the number of blocks.
        heads: the number of attention heads.
        mlp_ratio: the hidden width of the MLPs, in multiples of C.
        grid: the side of the token grid whose position embeddings are learned, 14 for 224² pixels.
        drop_path: the chance that a sample skips a branch of the last block in training. It rises
            linearly from 0 at the first block.
    """

    C: int = 384
    L: int = 12
    heads: int = 6
    mlp_ratio: int = 4
    grid: int = 14
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        self.positive("C", "L", "heads", "mlp_ratio", "grid")
        if self.C % self.heads or self.C % 4:
            raise ValueError("C must be divisible by the number of heads, and by 4")
        if not 0 <= self.drop_path < 1:
            raise ValueError("drop_path must be at least 0 and below 1")

    def described(self, labels: tuple[str, ...]) -> str:
        """A line for model cards: its dimensions, and its labels if there are only a few."""
        names = f": {', '.join(labels)}" if len(labels) <= SHOWN_LABELS else ""
        return (
            f"Transformer: C = {self.C}, L = {self.L}, {self.heads} heads; "
            f"{len(labels)} labels{names}."
        )


#: Sizes of separate classifiers: that of Bai et al., and one that is half as wide and half as deep.
VITS = {"vit": ViTConfig(), "vit-lite": ViTConfig(C=192, L=6, heads=3)}


def check_labels(labels: object) -> None:
    """Raises ValueError unless the labels are a tuple of strings."""
    if not isinstance(labels, tuple) or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels must be a list of names")


def check_halving(halving: object) -> None:
    """Raises ValueError unless `halving` (whether there is a halving layer) is a bool."""
    if not isinstance(halving, bool):
        raise ValueError("halving must be true or false")


class Memory(NamedTuple):
    """Memory that coding an image takes, in bytes.

    With the C extension the transforms work in bands of rows, which are as wide as the image. Then
    only the pixels and the latents are held for the whole image. Without the extension, PyTorch
    holds much more.

    Args:
        per_pixel: for each pixel, with the extension.
        per_column: for each column of pixels, with the extension.
        per_latents: for each pixel, if only the latents are decoded.
        by_torch: for each pixel, without the extension.
        refined: how much more for each pixel at effort 2 … 9.
        gradient: how much more for each pixel of one block of latents (`effort.BLOCK`) at effort
            2 … 9, with the extension.
        gradient_by_torch: the same without the extension.
    """

    per_pixel: float
    per_column: float
    per_latents: float
    by_torch: float
    refined: float
    gradient: float
    gradient_by_torch: float


class CodecConfig(Dimensions):
    """The fields that the configs of all coding networks have.

    Attributes:
        model: the stable model name.
        N: the number of channels inside the network.
        M: the number of channels of the latent y.
        lambdas: the rate-distortion trade-off of each quality level. A network with one entry has
            one fixed trade-off. A network with several entries has a gain vector per level.
        stride_z: one position of z covers this many pixels each way. Images are padded to a
            multiple of it.
        trade_off: the letter that the paper uses for an entry of `lambdas`.
        labels: the classes that the network itself can predict.
        vit: the network's own Transformer for classification, or None.
        halving: whether this Transformer has a layer that halves the latents of large images.
    """

    model: str
    N: int
    M: int
    lambdas: tuple[float, ...]
    stride_z: ClassVar[int]
    trade_off: ClassVar[str] = "λ"
    labels: tuple[str, ...] = ()
    vit: ViTConfig | None = None
    halving: bool = False

    @property
    def levels(self) -> int:
        """The number of quality levels. 1 means one fixed trade-off and no gain vectors."""
        return len(self.lambdas)

    @property
    def memory(self) -> Memory:
        """The most memory that coding an image takes on the CPU, without the weights.

        It has a margin. `icat-lite` was measured at 6 megapixels, with 3000×2000 and 24000×256
        pixels, encoding and decoding. Gradients were measured at 768×768 pixels, where they took
        620 bytes per pixel in all.
        """
        return Memory(
            per_pixel=self.M / 2,
            per_column=256 * self.N,
            per_latents=self.M / 2,
            by_torch=2.5 * self.N,
            refined=self.M / 8,
            gradient=6 * self.N,
            gradient_by_torch=6 * self.N,
        )

    def card_lines(self) -> list[str]:
        """The lines that a model card has besides N, M and the trade-offs."""
        return []

    def check_model(self, *names: str) -> None:
        """Raises ValueError unless the model has one of these names, and has trade-offs."""
        if self.model not in names:
            raise ValueError(f"unknown model {self.model!r}; known: {', '.join(names)}")
        if not self.lambdas or min(self.lambdas) <= 0:
            raise ValueError("lambdas must be one or more positive numbers")


@dataclass(frozen=True)
class ModelConfig(CodecConfig):
    """Dimensions of one TIC network (Lu et al., section 3.2 and figure 2).

    Args:
        model: the stable model name, "tic", "tic-plus" or "tic-lite".
        N: the number of channels inside the transforms.
        M: the number of channels of the latent y.
        depths: the number of Swin layers in the STBs at 1/2, 1/4 and 1/8 resolution. 0 means
            a LeakyReLU in place of an STB (`tic-lite`).
        heads: the number of attention heads of these STBs.
        window: the side of their windows, in tokens.
        hyper_depths, hyper_heads, hyper_window: the same for the STBs at 1/16 and 1/32.
        mlp_ratio: the hidden width of every MLP, in multiples of its input width.
        cam_heads: the number of attention heads of the causal attention module.
        activation: what follows the convolutions of the main coder: "gdn" (linear GDN, as in the
            paper), "leaky_relu", or "none" (as in the paper's published code).
        hyper_activation: what follows the convolutions of the hyper coder: "leaky_relu" or "none".
        lambdas: the trade-off of each quality level. A network with one entry has one fixed λ. A
            network with several entries has a gain vector per level.
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

    #: z is at 1/64 resolution. The codec pads images to a multiple of this.
    stride_z: ClassVar[int] = 64

    def __post_init__(self) -> None:
        self.check_model("tic", "tic-plus", "tic-lite")
        if self.activation not in ("gdn", "leaky_relu", "none"):
            raise ValueError(f"unknown activation {self.activation!r}")
        if self.hyper_activation not in ("leaky_relu", "none"):
            raise ValueError(f"unknown hyper activation {self.hyper_activation!r}")
        widths = [(self.N, self.heads), (self.N, self.hyper_heads), (self.M, (self.cam_heads,))]
        if any(width % heads for width, group in widths for heads in group):
            raise ValueError("channels must be divisible by the number of heads")

    @property
    def memory(self) -> Memory:
        """The most memory that coding an image takes on the CPU, without the weights.

        It was measured at 6 megapixels (MP), with 3000×2000 and 24000×256 ("wide") pixels, and at
        96 MP. The table has the larger value of encoding and decoding:

        |                        | 6 MP    | wide    | 96 MP   | PyTorch, 3 to 12 MP |
        | N = 128, M = 320       | 260 MB  | 830 MB  | 2.1 GB  | 2.9 N bytes / pixel |
        | no STBs at 1/2, N = 96 | 140 MB  | 320 MB  |         | 1.8 N bytes / pixel |

        The gradient of a block of 768×768 pixels in float32 takes, in bytes per pixel: 2100 with
        the extension and 9700 without it for N = 128; 1060 and 2000 without STBs at 1/2. In bf16 it
        takes less.
        """
        columns, torch = (240, 3.0) if self.depths[0] else (96, 2.5)
        # The minimum of 12 is there because an image is held twice while its pixels are converted.
        latents = 4 + self.M / 16
        gradient, by_torch = (20, 80) if self.depths[0] else (14, 25)
        return Memory(
            per_pixel=max(12, latents),
            per_column=columns * self.N,
            per_latents=latents,
            by_torch=torch * self.N,
            refined=self.M / 8,
            gradient=gradient * self.N,
            gradient_by_torch=by_torch * self.N,
        )


@dataclass(frozen=True)
class IcatConfig(CodecConfig):
    """Dimensions of Bai et al.'s joint model of compression and analysis (figures 2 and 3).

    Args:
        model: "icat".
        N: the number of channels of the encoder and of the reconstructor.
        M: the number of channels of the latent y.
        vit: the Transformer.
        aggregation: whether its first three blocks take part in reconstruction. Without them, the
            image is reconstructed from the expanded ŷ alone (the paper's ablation).
        labels: the name of each class.
        lambdas: β of each quality level. α is β times an option of training.
        halving: whether the Transformer has a layer that halves the latents of large images, to
            classify them.
    """

    model: str = "icat"
    N: int = 128
    M: int = 192
    vit: ViTConfig = field(default_factory=ViTConfig)
    aggregation: bool = True
    labels: tuple[str, ...] = ()
    lambdas: tuple[float, ...] = PAPER_BETAS
    halving: bool = False

    #: z is at 1/32 resolution, because only one hyper layer has stride 2. (The grid of 14×14
    #: latents is not divisible by 4.)
    stride_z: ClassVar[int] = 32
    #: The number of blocks that reconstruction runs.
    shared_blocks: ClassVar[int] = 3
    trade_off: ClassVar[str] = "β"

    def __post_init__(self) -> None:
        self.positive("N", "M")
        check_labels(self.labels)
        check_halving(self.halving)
        self.check_model("icat")
        if self.M % 2:
            raise ValueError("M must be even")
        if self.shared_blocks > self.vit.L:
            raise ValueError(f"at least {self.shared_blocks} blocks are needed")
        if not self.lambdas or min(self.lambdas) <= 0:
            raise ValueError("lambdas must be one or more positive numbers")

    def card_lines(self) -> list[str]:
        """Lines on its Transformer and labels, and a line if it is the paper's ablation."""
        lines = [self.vit.described(self.labels)]
        if not self.aggregation:
            lines.append("Without feature aggregation: the paper's ablation.")
        return lines


@dataclass(frozen=True)
class HeadConfig(Dimensions):
    """A classifier with its own weights file.

    Args:
        stem: what it reads, "latents" (ŷ of the weights that it was trained for) or "pixels"
            (split into patches).
        channels: the number of input channels: M for latents, 768 for patches of 16×16 pixels.
        vit: its Transformer.
        labels: the name of each class.
        codec: the name of the weights that it was trained for. "" for pixels.
        fingerprint: the fingerprint of these weights, hexadecimal. "" for pixels.
        halving: whether the Transformer has a layer that halves the latents of large images.
    """

    stem: str
    channels: int
    vit: ViTConfig
    labels: tuple[str, ...]
    codec: str = ""
    fingerprint: str = ""
    halving: bool = False

    def __post_init__(self) -> None:
        self.positive("channels")
        check_halving(self.halving)
        if self.stem not in ("latents", "pixels"):
            raise ValueError(f"unknown stem {self.stem!r}")
        check_labels(self.labels)
        if len(self.labels) < 2:
            raise ValueError("a classifier needs two classes at least")
        if (self.stem == "pixels") != (self.fingerprint == ""):
            raise ValueError(
                "a head for latents needs the fingerprint of their weights, "
                "and a head for pixels has none"
            )
        if self.halving and self.stem == "pixels":
            raise ValueError("pixels are shrunk, not halved")
