"""This package's own models as coders that evaluation measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ticodec import __version__, weights
from ticodec.effort import REFINEMENT, USUAL_EFFORT, checked_effort
from ticodec.errors import BadInputError
from ticodec.picture import Picture, Pixels
from ticodec.quality import checked_quality

from .coder import Coder
from .folder_labels import normalised, rank_of


class TicodecCoder(Coder):
    """One of this package's models, at one effort.

    Args:
        entry: its weights.
        device: "auto", "cpu" or "cuda".
        qualities: qualities of the curve, or None for 1 … 8, or for the one quality of a model with
            a fixed λ.
        head: a classifier file that replaces the classifier that comes with the weights, or None.
        effort: 1 … 9. The coder's name contains it, unless it is 1.

    Raises UsageError for a quality that the model does not have, an effort out of range, or a
    device that does not exist.
    """

    suffix = ".tic"

    def __init__(
        self,
        entry: weights.Entry,
        device: str,
        qualities: tuple[float, ...] | None = None,
        head: Path | None = None,
        effort: int = USUAL_EFFORT,
    ) -> None:
        from ticodec.codec import ENCODER
        from ticodec.device import pick_device

        self.entry, self.device, self.head = entry, device, head
        self.default = checked_quality(entry, None) or 0.0
        self.model, self.effort = entry.name, checked_effort(effort)
        self.name = entry.name
        kind = pick_device(device).type  # seconds depend on the device
        encoder = f"ticodec {__version__}, encoder {ENCODER}"
        if effort != USUAL_EFFORT:
            self.name += f" effort {effort}"
            encoder += f", refinement {REFINEMENT}, effort {effort}"
        self.version = f"{encoder}, weights {entry.fingerprint.hex()}, {kind}"
        if entry.qualities is None:
            self.settings = self.ladder = (0.0,)
            if qualities:
                checked_quality(entry, qualities[0])  # raises: it has one fixed quality
            return
        low, high = entry.qualities
        self.settings = tuple(np.arange(low, high + 1 / 64, 1 / 32).tolist())
        for quality in qualities or ():
            checked_quality(entry, quality)
        self.ladder = qualities or tuple(np.arange(low, high + 0.5).tolist())

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """A `.tic` file. The setting is the quality. A model with one fixed quality ignores it."""
        from ticodec.api import loaded

        quality = setting if self.entry.qualities else None
        codec = loaded(self.entry, self.device)
        return codec.encode(Picture(pixels), quality, effort=self.effort)

    def decode(self, data: bytes) -> Pixels:
        """The same pixels as `ticodec decode` writes."""
        from ticodec.api import loaded

        return loaded(self.entry, self.device).decode(data).pixels

    def labels(self) -> frozenset[str]:
        """The classes of `head`, or of the classifier that comes with the weights, if any."""
        from ticodec.api import loaded

        codec = loaded(self.entry, self.device)
        try:
            return frozenset(map(normalised, codec.classifier(self.head).labels))
        except BadInputError:
            if self.head or self.entry.head:
                raise  # there is a classifier, and it is damaged
            return frozenset()

    def rank(self, data: bytes, label: str) -> int | None:
        """The rank from the latents, as in `ticodec classify`: no pixels are decoded."""
        from ticodec.api import loaded

        codec = loaded(self.entry, self.device)
        ranking = codec.classify(data, len(codec.classifier(self.head).labels), self.head)
        return rank_of(label, [answer.label for answer in ranking])
