"""The registry of families: every entry is complete, and names classes and fields that exist."""

from __future__ import annotations

import re

import pytest
from support import ROOT

from ticodec.models import families
from ticodec.models.config import CodecConfig
from ticodec.models.families import (
    FAMILIES,
    Family,
    config_from,
    family_of,
    imported,
    preset,
    preset_name,
)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.kind)
def test_everything_that_an_entry_names_exists(family: Family) -> None:
    from ticodec.models.codec_network import CodecNetwork
    from ticodec.training.trainer import BaseTrainer

    assert issubclass(family.config, CodecConfig)
    assert issubclass(imported(family.network), CodecNetwork)
    assert issubclass(family.trainer_class(), BaseTrainer)
    assert family.trainer_class().kind == family.kind
    assert callable(imported(family.compiler))
    assert callable(imported(family.latent_coder).run)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.kind)
def test_presets_belong_to_their_family_and_survive_json(family: Family) -> None:
    assert family.presets
    for config in family.presets.values():
        assert isinstance(config, family.config)
        assert family_of(config.model) is family
        assert config_from(config.to_dict()) == config
        assert config.trade_off in ("λ", "β")
        assert all(bytes > 0 for bytes in config.memory)
        assert families.default_head(config.model) in families.VITS.values()


def test_which_widths_are_from_the_papers_code() -> None:
    tic, plus = ("tic", (2, 2, 2)), ("tic-plus", (2, 4, 6))
    known = {name: (c.model, c.depths, c.N, c.M) for name, c in families.TIC.presets.items()}
    assert known == {
        "tic": (*tic, 128, 320),  # our own width: one network for every quality
        "tic-low": (*tic, 128, 192),  # the width of the paper's code, as in "-high"
        "tic-high": (*tic, 192, 320),
        "tic-plus": (*plus, 128, 320),
        "tic-plus-low": (*plus, 128, 192),
        "tic-plus-high": (*plus, 192, 320),
        "tic-lite": ("tic-lite", (0, 2, 2), 96, 128),
    }


def test_a_config_is_named_after_the_preset_with_its_sizes() -> None:
    changes = {"lambdas": (0.0067,), "activation": "none", "hyper_activation": "none"}
    for name in families.TIC.presets:
        assert preset_name(preset(name, **changes)) == name
    for name in families.ICAT.presets:
        changed = preset(name, labels=("ant", "bee"), aggregation=False, halving=True)
        assert preset_name(changed) == name
    assert preset_name(preset("tic-plus-low", M=208)) == "tic-plus"


def test_names_numbers_and_kinds_are_each_used_once() -> None:
    names = [name for family in FAMILIES for name in family.models]
    numbers = [model.number for family in FAMILIES for model in family.models.values()]
    kinds = [family.kind for family in FAMILIES]
    for values in (names, numbers, kinds):
        assert len(values) == len(set(values))
    assert families.MODEL_IDS == {"tic": 1, "tic-plus": 2, "tic-lite": 3, "icat": 4}


@pytest.mark.parametrize("fields", [{}, {"model": "jpeg"}, {"model": 3}, {"model": ["tic"]}, [], 5])
def test_dimensions_of_no_family_are_refused(fields: object) -> None:
    with pytest.raises(ValueError, match="model"):
        config_from(fields)  # type: ignore[arg-type]


def test_the_format_document_has_every_model() -> None:
    line = next(
        line
        for line in (ROOT / "docs" / "format.md").read_text().splitlines()
        if line.startswith("| 7 | 1 | model:")
    )
    pairs = re.findall(r"(\d+) `([\w-]+)`", line)
    assert {name: int(number) for number, name in pairs} == families.MODEL_IDS
