"""Checks the form of compiled weights before anything computes with them.

The checks cover types, dimensions and ranges. If the values are not those of an export, the codec
may be useless, but it stays within its memory and comes to an end. Whether the layers fit each
other is checked later, when they are used or packed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

#: The most fractional bits that a grid has. The export chooses no finer grid.
FRAC_MAX = 14
#: The largest absolute exponent of a layer. No power of two overflows within this range, and real
#: exponents are much smaller.
EXPONENT_MAX = 100

#: The last part of a name decides the types and numbers of dimensions that are allowed. Biases of
#: layers have one dimension and 64 bits. Position biases have three dimensions and 32 bits.
_FORMS = {
    "weight": [(torch.int16, 2)],
    "bias": [(torch.int64, 1), (torch.int32, 3)],
    "exponent": [(torch.int16, 1)],
    "frac": [(torch.int16, 0)],
}
#: All other tensors are tables.
_TABLES = [(torch.int16, 1), (torch.int32, 1), (torch.int64, 1)]


def check_parameters(parameters: Mapping[str, Tensor]) -> None:
    """Raises ValueError if a tensor has a type, form or range that no export writes."""
    for name, tensor in parameters.items():
        end = name.rpartition(".")[2]
        if (tensor.dtype, tensor.ndim) not in _FORMS.get(end, _TABLES):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{name} is {kind} of shape {tuple(tensor.shape)}")
        if end == "frac" and not 0 <= int(tensor) <= FRAC_MAX:
            raise ValueError(f"{name} is {int(tensor)}, not 0 to {FRAC_MAX}")
        if end == "exponent" and bool((tensor.int().abs() > EXPONENT_MAX).any()):
            raise ValueError(f"{name} is outside ±{EXPONENT_MAX}")
