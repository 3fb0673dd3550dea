"""The options `--target-…` and `--effort`, which `encode` and `batch encode` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.container import QUALITY_STEPS
from ticodec.errors import UsageError
from ticodec.targets import Measure, target_of

if TYPE_CHECKING:
    from ticodec.rate_control import Reached
    from ticodec.targets import Quality

TargetSize = Annotated[
    str | None,
    typer.Option("--target-size", metavar="SIZE", help="At most so many bytes, e.g. 200k, 1.5MB."),
]
TargetBpp = Annotated[
    str | None,
    typer.Option("--target-bpp", metavar="BPP", help="At most so many bits per pixel, e.g. 0.5."),
]
TargetPsnr = Annotated[
    str | None, typer.Option("--target-psnr", metavar="DB", help="At least so much PSNR, e.g. 35.")
]
TargetMsSsim = Annotated[
    str | None,
    typer.Option(
        "--target-ms-ssim", metavar="DB", help="At least so much MS-SSIM, e.g. 15dB or 0.97."
    ),
]
Effort = Annotated[
    int,
    typer.Option("--effort", help="1 to 9: more takes longer, and gives smaller or better files."),
]


def quality_of(
    quality: float | None,
    target_size: str | None,
    target_bpp: str | None,
    target_psnr: str | None,
    target_ms_ssim: str | None,
    force: bool,
) -> Quality:
    """The quality or the target that the options ask for; None: the usual quality.

    Args:
        force: if a target is out of reach, take what comes nearest.

    Raises UsageError when more than one was given, or the text of a target means none.
    """
    targets: dict[Measure, str | None] = {
        "size": target_size,
        "bpp": target_bpp,
        "psnr": target_psnr,
        "ms-ssim": target_ms_ssim,
    }
    texts = {measure: text for measure, text in targets.items() if text is not None}
    given = ["--quality"] if quality is not None else []
    given += [f"--target-{measure}" for measure in texts]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other; leave one out")
    if not texts:
        return quality
    ((measure, text),) = texts.items()
    return target_of(measure, text, f"--target-{measure}", force)


def facts_of_target(reached: Reached) -> dict[str, Any]:
    """What `--json` prints of a target; values are in bytes, bits per pixel or dB."""
    target = reached.target
    return {
        "target": {
            "measure": target.measure,
            "wanted": target.value,
            "reached": round(reached.value, 4),
            "out_of_reach": reached.out_of_reach,
            "trials": reached.trials,
        }
    }


def said_of_target(reached: Reached) -> str:
    """What was found for a target, for the line of a file: "quality 4.37, 35.04 dB PSNR".

    If every quality gives a smaller file than asked for: "quality 8.00 (the best)".
    """
    said = [f"quality {reached.container.header.quality / QUALITY_STEPS:.2f}"]
    if reached.at_end and not reached.out_of_reach:
        said[0] += " (the best)" if reached.target.of_file else " (the lowest)"
    if not reached.target.of_file:  # the line says its bytes and bits
        said.append(reached.target.said(reached.value))
    if reached.out_of_reach:
        said.append(f"{reached.target} out of reach")
    return ", ".join(said)
