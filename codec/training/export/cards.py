"""Writes model cards: Markdown files that say how weights were trained.

Measurements are added to a card by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ticodec.models.config import CodecConfig, HeadConfig

LICENCE = (
    "What these weights may be used for depends on the licences of the training images of all runs "
    "below."
)
#: Facts about a run that have columns of their own in the table.
OWN = ("device", "seconds", "crops", "skipped", "crop", "batch", "lr", "annealed")


def summary(history: Iterable[dict[str, Any]]) -> str:
    """One line: the number of crops, the time and the devices of all runs."""
    runs = list(history)
    crops, seconds = sum(r["crops"] for r in runs), sum(r["seconds"] for r in runs)
    devices = ", ".join(dict.fromkeys(r["device"] for r in runs))
    return f"{crops:,} crops in {seconds / 60:.0f} min on {devices}"


def codec_card(
    name: str,
    config: CodecConfig,
    options: dict[str, Any],
    fields: dict[str, Any],
    checkpoints: int,
) -> str:
    """The card of a codec.

    Args:
        name: the name of the weights.
        config: dimensions of the network.
        options: options of the last run.
        fields: the manifest entry of the weights.
        checkpoints: how many checkpoints were averaged.
    """
    lambdas = ", ".join(f"{value:g}" for value in config.lambdas)
    low_high = fields["qualities"]
    quality = f"Quality {low_high[0]:g} to {low_high[1]:g}, " if low_high else "One fixed "
    what = (
        f"Architecture `{config.model}`, N = {config.N}, M = {config.M}, "
        f"{fields['parameters']:,} parameters. SHA-256 `{fields['sha256']}`."
    )
    lines = [f"# {name}", "", what]
    for line in config.card_lines():
        lines += ["", line]
    more = f"{quality}{config.trade_off} = {lambdas}."
    return "\n".join([*lines, "", *training(fields["history"], options, checkpoints, more)]) + "\n"


def head_card(
    name: str, config: HeadConfig, options: dict[str, Any], fields: dict[str, Any], checkpoints: int
) -> str:
    """The card of a classifier. The arguments are those of `codec_card`."""
    if config.stem == "pixels":
        reads = "16×16 patches of pixels, normalised as ImageNet's"
    else:
        reads = f"the latents of `{config.codec}` {config.fingerprint}, divided by the gain"
    what = (
        f"A classifier that reads {reads}. It has {fields['parameters']:,} parameters. "
        f"SHA-256 `{fields['sha256']}`."
    )
    size, enlarge = options["crop"], options.get("enlarge", 1)
    if config.stem == "pixels":
        scale = f"Trained at {size}² pixels. `classify` shrinks images to this size."
    else:
        larger = f", and on images enlarged up to {enlarge} times" if enlarge > 1 else ""
        way = "The latents of larger images are halved before they are read."
        if not config.halving:
            way = "Of larger images it reads all latents, or every second, third, … latent."
        scale = f"Trained at {size}² pixels{larger}. {way}"
    lines = [f"# {name}", "", what, "", config.vit.described(config.labels), "", scale]
    return "\n".join([*lines, "", *training(fields["history"], options, checkpoints, "")]) + "\n"


def training(
    history: list[dict[str, Any]], options: dict[str, Any], checkpoints: int, more: str
) -> list[str]:
    """The part of a card about the training, with a table of runs. `more` is added to its text."""
    crops, skipped = (sum(r.get(key, 0) for r in history) for key in ("crops", "skipped"))
    several = f" The result is the mean of {checkpoints} checkpoints." if checkpoints > 1 else ""
    lines = [
        LICENCE,
        "",
        "## How it was trained",
        "",
        f"Trained on {crops:,} crops in all. The norm of gradients was limited to "
        f"{options['clip']:g}. Weights were averaged with decay {options['ema']:g}.{several} "
        f"Steps skipped, because a value was not finite or the gradient had a spike: {skipped}. "
        f"{more}".rstrip(),
        "",
        "| run | device | minutes | crops | crop size | crops/step | learning rate | settings |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, r in enumerate(history, 1):
        rate = f"{r['lr']:g}"
        if "annealed" in r:
            rate += f" falling to {r['lr'] * (1 - r['annealed']):.1g}"
        settings = ", ".join(
            f"{key.replace('_', ' ')} {value}" for key, value in r.items() if key not in OWN
        )
        lines.append(
            f"| {number} | {r['device']} | {r['seconds'] / 60:.1f} | {r['crops']:,} "
            f"| {r['crop']}² | {r['batch'] * r.get('processes', 1)} | {rate} | {settings} |"
        )
    return lines
