"""Dimensions of what names the content of an image, and of the joint model. Imports no torch.

`ViTConfig`   a Vision Transformer: tokens in, labels out
`HeadConfig`  a file of its own: a ViT that reads the latents of other weights, or pixels
`IcatConfig`  Bai et al.'s joint model, which has a ViT inside
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .dimensions import Dimensions

#: β of Bai et al., section "Training w/ Compression"; on MSE of 0 … 255 it is what λ is for TIC.
PAPER_BETAS = (0.001, 0.003, 0.006)


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


def check_labels(labels: object) -> None:
    """Raises ValueError unless these are names."""
    if not isinstance(labels, tuple) or not all(isinstance(each, str) for each in labels):
        raise ValueError("labels must be a list of names")


def check_halving(halving: object) -> None:
    """Raises ValueError unless it is said whether there is such a layer."""
    if not isinstance(halving, bool):
        raise ValueError("halving must be true or false")


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


@dataclass(frozen=True)
class IcatConfig(Dimensions):
    """Dimensions of Bai et al.'s joint model of compression and analysis (figures 2 and 3).

    Args:
        model: "icat".
        N: channels of the encoder and of the reconstructor; M: channels of the latent y.
        vit: the Transformer; its first three blocks take part in reconstruction.
        aggregation: whether they do: without, the expanded ŷ alone is reconstructed from
            (the paper's ablation).
        labels: name of each class.
        lambdas: β of each quality level; α is β times a ratio that the training is told.
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
    stride_z = 32
    #: Blocks that reconstruction runs.
    shared_blocks = 3

    def __post_init__(self) -> None:
        self.positive("N", "M")
        check_labels(self.labels)
        check_halving(self.halving)
        if self.model != "icat":
            raise ValueError(f"unknown model {self.model!r}")
        if self.M % 2:
            raise ValueError("M must be even")
        if self.shared_blocks > self.vit.L:
            raise ValueError(f"at least {self.shared_blocks} blocks are needed")
        if not self.lambdas or min(self.lambdas) <= 0:
            raise ValueError("lambdas must be positive numbers, at least one")

    @property
    def levels(self) -> int:
        """Number of quality levels; 1 means one fixed β and no gain vectors."""
        return len(self.lambdas)
