"""The options `--target-…` and `--effort`, which `encode` and `batch encode` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.container import QUALITY_STEPS
from ticodec.effort import MOST
from ticodec.errors import UsageError
from ticodec.targets import Measure, target_of

from .help_pages import QUALITY

if TYPE_CHECKING:
    from ticodec.rate_control import Reached
    from ticodec.targets import Quality

TargetSize = Annotated[
    str | None,
    typer.Option(
        "--target-size",
        metavar="SIZE",
        help="Find the quality that gives a file of at most this size, e.g. 200k or 1.5MB.",
        rich_help_panel=QUALITY,
    ),
]
TargetBpp = Annotated[
    str | None,
    typer.Option(
        "--target-bpp",
        metavar="BPP",
        help="Find the quality that gives at most this many bits per pixel, e.g. 0.5.",
        rich_help_panel=QUALITY,
    ),
]
TargetPsnr = Annotated[
    str | None,
    typer.Option(
        "--target-psnr",
        metavar="DB",
        help="Find the quality that gives a PSNR of at least this many dB, e.g. 35.",
        rich_help_panel=QUALITY,
    ),
]
TargetMsSsim = Annotated[
    str | None,
    typer.Option(
        "--target-ms-ssim",
        metavar="DB",
        help="Find the quality that gives an MS-SSIM of at least this, e.g. 15dB or 0.97.",
        rich_help_panel=QUALITY,
    ),
]


def _whole_effort(text: object) -> int:
    """The effort in a word of the command line. Raises typer's error if it is no whole number."""
    try:
        return int(str(text))
    except ValueError as error:
        raise typer.BadParameter(
            f"effort is a whole number, 1 to {MOST}, not {str(text)!r}"
        ) from error


Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        metavar="N",
        parser=_whole_effort,
        help=f"1 to {MOST}: a higher effort takes longer. The file becomes smaller or the picture "
        "better.",
        rich_help_panel=QUALITY,
    ),
]


def quality_of(
    quality: float | None,
    target_size: str | None,
    target_bpp: str | None,
    target_psnr: str | None,
    target_ms_ssim: str | None,
    force: bool,
) -> Quality:
    """The quality or the target that the options ask for.

    Args:
        force: if a target is out of reach, make the file that comes nearest.

    Returns None if no option was given. That stands for the usual quality.

    Raises UsageError if more than one option was given, or the text of a target cannot be read.
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
    """What `--json` prints about a target. Values are in bytes, bits per pixel or dB."""
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
    """What the search for a target found, such as "quality 4.37, 35.04 dB PSNR".

    If every quality gives a smaller file than was asked for, it is "quality 8.00 (the best)".
    `encode` prints this in its line about the file.
    """
    said = [f"quality {reached.container.header.quality / QUALITY_STEPS:.2f}"]
    if reached.at_end and not reached.out_of_reach:
        said[0] += " (the best)" if reached.target.of_file else " (the lowest)"
    if not reached.target.of_file:  # the line of the file has its bytes and bits per pixel
        said.append(reached.target.said(reached.value))
    if reached.out_of_reach:
        said.append(f"{reached.target} out of reach")
    return ", ".join(said)
