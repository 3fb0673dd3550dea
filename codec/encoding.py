"""Pictures to containers: at a quality, or for a target; with more or less effort.

picture ─► g_a ─► features ─┬─► ·gain(q), h_a (effort 1) ───┬─► y, z ─► entropy coder ─► container
                            └─► refinement (effort 2 … 9) ──┘

For a target, `rate_control.reach` does all of that, for several qualities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ticodec import refinement
from ticodec.container import Container
from ticodec.effort import checked_effort
from ticodec.errors import UsageError
from ticodec.packing import packed
from ticodec.picture import Picture
from ticodec.progress import FEATURES, TRANSFORMS, Progress, part
from ticodec.quality import check_quality
from ticodec.rate_control import reach
from ticodec.targets import Quality, Target

if TYPE_CHECKING:
    from ticodec.codec import Codec


def containers(
    codec: Codec,
    pictures: Sequence[Picture],
    quality: Quality,
    effort: int,
    progress: Progress | None,
) -> list[Container]:
    """`Codec.containers`: the container of each picture, in their order.

    Args:
        codec: of the weights; quality, effort: the same for all pictures, checked here.
        progress: called with the share done, 0 … 1, now and then.

    Raises UsageError for a quality that the weights do not have, an effort out of range, or what is
    no sound `Picture`; TicodecError for a picture that needs too much memory, or whose target is
    out of reach.
    """
    checked_effort(effort)
    check_quality(codec.entry, quality)
    if isinstance(quality, Target):
        files = []
        for number, picture in enumerate(pictures):
            _check(codec, picture, effort)
            report = part(progress, number / len(pictures), (number + 1) / len(pictures))
            files.append(reach(codec, picture, quality, effort, report).container)
        return files
    stored = codec.stored_quality(quality)
    latents = []
    for number, picture in enumerate(pictures):
        _check(codec, picture, effort)
        # One picture at a time: its floats, and so its bytes, must not depend on the others.
        share = TRANSFORMS / len(pictures)
        report = part(progress, number * share, (number + 1) * share)
        if effort == 1:
            features = codec.features(picture.pixels, report)
            latents.append(codec.scaled(features, stored))
            continue
        features = codec.features(picture.pixels, part(report, 0, FEATURES))
        report = part(report, FEATURES, 1)
        latents.append(refinement.refined(codec, picture.pixels, features, stored, effort, report))
    coded = codec.entropy.encode_many(latents)
    part(progress, TRANSFORMS, 1)(1)
    return [
        packed(codec, picture, symbols, stored)
        for picture, symbols in zip(pictures, coded, strict=True)
    ]


def _check(codec: Codec, picture: object, effort: int) -> None:
    """Raises UsageError unless it is a sound `Picture`, TicodecError unless it fits into memory."""
    if not isinstance(picture, Picture):
        raise UsageError(f"pictures must be `Picture`s, not {type(picture).__name__}")
    picture.check()
    height, width = picture.pixels.shape[:2]
    codec.check_picture(height, width, effort)
