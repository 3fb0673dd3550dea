"""Distillation: a classifier also learns from the answers of another one, its teacher.

    images ─► augment ─┬─► latents or patches ─► ViT ─► cross entropy with  ½·label + ½·answer
                       └─► the teacher's latents or patches ─► its ViT ─► softmax ─► answer ─┘

An answer says more about a crop than the label of the image does. If a crop shows only half of an
object, or two objects, the teacher answers for this crop, while the label is the same for every
crop. (Hinton et al., "Distilling the Knowledge in a Neural Network".)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ticodec.models.vit import ViT

from .least_squares import Source

#: The weight of the answers in the targets, from 0 to 1. The labels have the rest.
SHARE = 0.5


class Teacher(NamedTuple):
    """A classifier to learn from, frozen: what it computes up to its first layer, and its ViT."""

    source: Source
    vit: ViT

    @torch.no_grad()
    def taught(self, x: Tensor, targets: Tensor) -> Tensor:
        """Targets (B, classes), mixed with the teacher's answers for images (B, H, W, 3) in [0, 1].

        H and W must be multiples of 16.
        """
        answers = self.vit(self.source.read(x)).float().softmax(1)
        return torch.lerp(targets, answers, SHARE)
