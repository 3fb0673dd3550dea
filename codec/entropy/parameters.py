"""Checks the form of compiled weights before anything computes with them.

Their values may be any numbers of these types and ranges: then a codec may be useless, but it stays
within its memory and ends. Whether layers fit each other shows when they are used or packed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

#: Most fractional bits of a grid; the export chooses none that is finer.
FRAC_MAX = 14
#: A layer's exponents lie within this. Real ones do by far, and no power of two overflows here.
EXPONENT_MAX = 100

#: Type and dimensions by the end of a name. Biases of layers have one dimension, in 64 bits;
#: position biases have three, in 32 bits.
_FORMS = {
    "weight": [(torch.int16, 2)],
    "bias": [(torch.int64, 1), (torch.int32, 3)],
    "exponent": [(torch.int16, 1)],
    "frac": [(torch.int16, 0)],
}
#: All others are tables.
_TABLES = [(torch.int16, 1), (torch.int32, 1), (torch.int64, 1)]


def check_parameters(parameters: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a tensor of a type, form or range that no export writes."""
    for name, tensor in parameters.items():
        end = name.rpartition(".")[2]
        if (tensor.dtype, tensor.ndim) not in _FORMS.get(end, _TABLES):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{name} is {kind} of shape {tuple(tensor.shape)}")
        if end == "frac" and not 0 <= int(tensor) <= FRAC_MAX:
            raise ValueError(f"{name} is {int(tensor)}, not 0 to {FRAC_MAX}")
        if end == "exponent" and bool((tensor.int().abs() > EXPONENT_MAX).any()):
            raise ValueError(f"{name} is outside ±{EXPONENT_MAX}")
