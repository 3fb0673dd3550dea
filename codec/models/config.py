"""Dimensions of networks, as JSON and back. Imports no torch.

`ModelConfig`  TIC, TIC+ and tic-lite (Lu et al.)
`IcatConfig`   the joint model (Bai et al.), which has a ViT inside
`HeadConfig`   a classifier in a file of its own: a ViT that reads latents, or pixels
`ViTConfig`    a Vision Transformer: tokens in, labels out

A config is stored as JSON inside every weights file, so a file is all that is needed to rebuild
its network. `families.py` has the presets: the papers' and ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple, Self, get_type_hints

#: One latent position of y covers this many pixels each way.
STRIDE_Y = 16
#: Rate-distortion trade-offs of Lu et al., section 4; quality q uses entry q - 1.
PAPER_LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932, 0.18)
#: β of Bai et al., section "Training w/ Compression"; on MSE of 0 … 255 it is what λ is for TIC.
PAPER_BETAS = (0.001, 0.003, 0.006)
#: A model card lists labels up to this number.
SHOWN_LABELS = 50


@dataclass(frozen=True)
class Dimensions:
    """Base of every config: plain fields, checked when it is made."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises ValueError on unknown or bad fields."""
        if not isinstance(given, dict):
            raise ValueError("model dimensions must be named")
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
        C: width of a token; L: number of blocks; heads: attention heads.
        mlp_ratio: hidden width of the MLPs, in multiples of C.
        grid: side of the token grid whose position embeddings are learned; 14 for 224² pixels.
        drop_path: chance of the last block to be left out in training; it rises from 0.
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
            raise ValueError("drop_path must be from 0 to 1")

    def described(self, labels: tuple[str, ...]) -> str:
        """A line for model cards: its dimensions, and its labels if they are few."""
        names = f": {', '.join(labels)}" if len(labels) <= SHOWN_LABELS else ""
        return (
            f"Transformer: C = {self.C}, L = {self.L}, {self.heads} heads; "
            f"{len(labels)} labels{names}."
        )


#: Sizes of a classifier of its own: Bai et al.'s, and half as wide and half as deep.
VITS = {"vit": ViTConfig(), "vit-lite": ViTConfig(C=192, L=6, heads=3)}


def check_labels(labels: object) -> None:
    """Raises ValueError unless these are names."""
    if not isinstance(labels, tuple) or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels must be a list of names")


def check_halving(halving: object) -> None:
    """Raises ValueError unless the field is a bool: whether there is a halving layer."""
    if not isinstance(halving, bool):
        raise ValueError("halving must be true or false")


class Memory(NamedTuple):
    """Memory that coding an image takes, in bytes.

    With the C extension the transforms work in bands of rows, which are as wide as the image, and
    what is left of a pixel are the pixel and its latents. Without it, PyTorch holds much more.

    Args:
        per_pixel, per_column: with the extension; per_latents: a pixel whose latents alone are
            decoded. by_torch: a pixel without the extension.
        refined: more for a pixel at effort 2 … 9; gradient, gradient_by_torch: and more for a pixel
            of one block of latents (`effort.BLOCK`), with the extension and without.
    """

    per_pixel: float
    per_column: float
    per_latents: float
    by_torch: float
    refined: float
    gradient: float
    gradient_by_torch: float


class CodecConfig(Dimensions):
    """What the dimensions of every network that codes have.

    Attributes:
        model: stable model name; N: channels inside; M: channels of the latent y.
        lambdas: the rate-distortion trade-off of each quality level. One entry is a network for
            one fixed trade-off; several are one network with a gain vector a level.
        stride_z: one position of z covers this many pixels each way; images are padded to it.
        trade_off: the papers' letter for an entry of `lambdas`.
        labels: classes that the network itself can name; vit: its Transformer for that.
        halving: whether that has a layer which makes the latents of large images smaller.
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
        """Number of quality levels; 1 means one fixed trade-off and no gain vectors."""
        return len(self.lambdas)

    @property
    def memory(self) -> Memory:
        """What coding an image takes at most on the CPU, beside the weights, with a margin.

        Measured with `icat-lite` at 6 megapixels, 3000×2000 and 24000×256, encoding and decoding;
        gradients at 768×768: 620 bytes a pixel in all.
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
        """What a model card lists besides N, M and the trade-offs."""
        return []

    def check_model(self, *names: str) -> None:
        """Raises ValueError unless the model is one of these, and it has trade-offs."""
        if self.model not in names:
            raise ValueError(f"unknown model {self.model!r}; known: {', '.join(names)}")
        if not self.lambdas or min(self.lambdas) <= 0:
            raise ValueError("lambdas must be positive numbers, at least one")


@dataclass(frozen=True)
class ModelConfig(CodecConfig):
    """Dimensions of one TIC network (Lu et al., section 3.2 and figure 2).

    Args:
        model: stable model name, "tic", "tic-plus" or "tic-lite".
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
        """Measured at 6 megapixels, 3000×2000 and 24000×256, and at 96: the most of both ways.

        |                        | 6 MP    | wide    | 96 MP   | PyTorch, 3 to 12 MP |
        | N = 128, M = 320       | 260 MB  | 830 MB  | 2.1 GB  | 2.9 N bytes a pixel |
        | no STBs at 1/2, N = 96 | 140 MB  | 320 MB  |         | 1.8 N               |

        A gradient of a block of 768×768 pixels, in float32: 2100 bytes a pixel with the extension
        and 9700 without (N = 128); 1060 and 2000 (no STBs at 1/2). Less in bf16.
        """
        columns, torch = (240, 3.0) if self.depths[0] else (96, 2.5)
        # 12: an image is held twice while its pixels are converted.
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
        N: channels of the encoder and of the reconstructor; M: channels of the latent y.
        vit: the Transformer; its first three blocks take part in reconstruction.
        aggregation: whether they do: without, the expanded ŷ alone is reconstructed from
            (the paper's ablation).
        labels: name of each class.
        lambdas: β of each quality level; α is β times an option of training.
        halving: whether it has a layer that makes latents of large images smaller, to classify.
    """

    model: str = "icat"
    N: int = 128
    M: int = 192
    vit: ViTConfig = field(default_factory=ViTConfig)
    aggregation: bool = True
    labels: tuple[str, ...] = ()
    lambdas: tuple[float, ...] = PAPER_BETAS
    halving: bool = False

    #: z lives at 1/32: the one hyper layer of stride 2 (14 does not divide by 4).
    stride_z: ClassVar[int] = 32
    #: Blocks that reconstruction runs.
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
            raise ValueError("lambdas must be positive numbers, at least one")

    def card_lines(self) -> list[str]:
        """Its Transformer and labels, and whether it is the paper's ablation."""
        lines = [self.vit.described(self.labels)]
        if not self.aggregation:
            lines.append("Without feature aggregation: the paper's ablation.")
        return lines


@dataclass(frozen=True)
class HeadConfig(Dimensions):
    """A classifier in a file of its own.

    Args:
        stem: "latents" (ŷ of the weights it was trained for) or "pixels" (a patchify stem).
        channels: of what it reads: M, or 768 of a 16×16 patch.
        vit: its Transformer.
        labels: name of each class.
        codec: name of those weights; fingerprint: theirs, hexadecimal. "" for pixels.
        halving: whether it has a layer that makes latents of large images smaller.
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
            raise ValueError("a head reads the latents of some weights, or pixels")
        if self.halving and self.stem == "pixels":
            raise ValueError("pixels are shrunk, not halved")
