"""Makes classifiers for tests. Some always give the same answer, others are random."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ticodec.evaluation import measure
from ticodec.evaluation.registry import make
from ticodec.models.config import HeadConfig, ViTConfig
from ticodec.models.vit import ViT

LABELS = ("golf ball", "French horn", "tench", "church", "gas pump", "parachute", "chain saw")
#: Number of images per folder. The first three folders are the first, second and last class of
#: `RANKING`, the others are no classes.
FOLDERS = {"tench": 2, "Golf_Ball": 1, "deep/chain saw": 1, "holiday": 1, "": 1}
RANKING = ("tench", "golf ball", "church", "gas pump", "French horn", "parachute", "chain saw")
RANKS = {"tench": 1, "golf ball": 2, "chain saw": 7}


def write_head(path: Path, ranking: tuple[str, ...] = (), seed: int = 0, **fields) -> str:
    """Write a classifier whose answer is always `ranking`, or a random one. Returns its SHA-256."""
    given = {"stem": "pixels", "channels": 768, "labels": LABELS} | fields
    config = HeadConfig(vit=ViTConfig(C=16, L=3, heads=2, grid=4), **given)
    torch.manual_seed(seed)
    vit = ViT(config.channels, config.vit, len(config.labels))
    state = vit.state_dict()
    for name, value in state.items():
        if name.startswith(("embed", "blocks", "head")) and name.endswith("weight"):
            state[name] = 15 * value  # so that labels depend on the image
    if ranking:
        state["head.weight"] = torch.zeros_like(state["head.weight"])
        state["head.bias"] = torch.tensor([-float(ranking.index(each)) for each in config.labels])
    metadata = {"format": "1", "head": json.dumps(config.to_dict())}
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata=metadata)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forget() -> None:
    """Clear the caches of loaded weights, as in a new process."""
    for cache in (make, measure.ready):
        cache.cache_clear()
