"""Compiles h_s of the joint model to integers, see `compile`."""

from __future__ import annotations

from torch import Tensor

from ticodec.entropy.icat_rows import mean_scale
from ticodec.models.conv import Conv
from ticodec.models.icat import Icat

from . import tables
from .compile import CompilingOps, conv_affine


def compile_icat(network: Icat, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """The compiled layers of the joint model's h_s, by name, see `entropy.icat_rows`.

    Args:
        network: a trained network on the CPU.
        y: latents of calibration images, which are not needed here.
        z: hyper-latents of calibration images, (B, h, w, N).
    """
    first, up, last = (conv_affine(m) for m in network.h_s if isinstance(m, Conv))
    layers = {"h_s.in": first, "h_s.up": up}
    scales, means = zip(*(part.chunk(2) for part in last), strict=True)
    layers |= {"h_s.scales": scales, "h_s.means": means}
    ops = CompilingOps(layers, {"exp": tables.exp_table()})
    mean_scale(ops, z.round())
    return dict(ops.parameters)
