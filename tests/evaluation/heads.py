"""Classifiers for tests: some that always answer alike, and random ones."""

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
#: Class folders, of whom `ranking` makes the first, second and last guess, and no classes.
FOLDERS = {"tench": 2, "Golf_Ball": 1, "deep/chain saw": 1, "holiday": 1, "": 1}
RANKING = ("tench", "golf ball", "church", "gas pump", "French horn", "parachute", "chain saw")
RANKS = {"tench": 1, "golf ball": 2, "chain saw": 7}


def write_head(path: Path, ranking: tuple[str, ...] = (), seed: int = 0, **fields) -> str:
    """A classifier's file: one that always answers `ranking`, or a random one. Its SHA-256."""
    given = {"stem": "pixels", "channels": 768, "labels": LABELS} | fields
    config = HeadConfig(vit=ViTConfig(C=16, L=3, heads=2, grid=4), **given)
    torch.manual_seed(seed)
    vit = ViT(config.channels, config.vit, len(config.labels))
    state = vit.state_dict()
    for name, value in state.items():
        if name.startswith(("embed", "blocks", "head")) and name.endswith("weight"):
            state[name] = 15 * value  # so that labels depend on what is seen
    if ranking:
        state["head.weight"] = torch.zeros_like(state["head.weight"])
        state["head.bias"] = torch.tensor([-float(ranking.index(each)) for each in config.labels])
    metadata = {"format": "1", "head": json.dumps(config.to_dict())}
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata=metadata)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forget() -> None:
    """As a new process knows nothing of what was loaded."""
    for cache in (make, measure.ready):
        cache.cache_clear()
