"""Learning from another classifier's answers: they say more of an image than its label does.

    images ─► augment ─┬─► what this one reads ─► ViT ─► cross entropy with  ½·label + ½·answer
                       └─► what the other reads ─► its ViT ─► softmax ─► answer ─┘

A crop that shows only half of a thing, or two, is answered for as it is, where its label would
say the same of every crop. (Hinton et al., "Distilling the Knowledge in a Neural Network".)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ticodec.models.vit import ViT

from .least_squares import Source

#: What the answers count beside the labels, 0 … 1.
SHARE = 0.5


class Teacher(NamedTuple):
    """A classifier to learn from: what it reads of images, and its Transformer; both frozen."""

    source: Source
    vit: ViT

    @torch.no_grad()
    def taught(self, x: Tensor, targets: Tensor) -> Tensor:
        """Targets (B, classes), of which a share is its answer for images (B, H, W, 3) in [0, 1].

        H and W are multiples of 16.
        """
        answers = self.vit(self.source.read(x)).float().softmax(1)
        return torch.lerp(targets, answers, SHARE)
