"""Writes safetensors files whose bytes depend only on their contents.

The writer of the safetensors library stores metadata in a random order, so the same weights would
get another fingerprint every time. The library can read the files that are written here.

    length of the header (8 bytes, little-endian) │ header (JSON) │ tensors, one after the other
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

#: Names of dtypes, in the order in which tensors are stored. Wide types come first, so that all
#: tensors are aligned.
DTYPES = {
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.int16: "I16",
}


def safetensors_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file: metadata sorted by key, tensors by dtype and name.

    Args:
        tensors: tensors on the CPU, of any shape. Their dtypes must be in `DTYPES`.
        metadata: texts by key.
    """
    order = list(DTYPES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, offset = [], 0
    for name in names:
        tensor = tensors[name]
        values = tensor.contiguous().numpy()
        part = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(part)],
        }
        parts.append(part)
        offset += len(part)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
