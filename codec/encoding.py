"""Encodes pictures to containers: for a quality or a target, with more or less effort.

picture ─► g_a ─► features ─┬─► ·gain(q), h_a (effort 1) ───┬─► y, z ─► entropy coder ─► container
                            └─► refinement (effort 2 … 9) ──┘

For a target, `rate_control.reach` does all this for several qualities.
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
    """Encode pictures. Returns the container of each, in the same order.

    `Codec.containers` calls this.

    Args:
        codec: the codec of the weights.
        pictures: of any sizes.
        quality, effort: the same for all pictures. They are checked here.
        progress: called from time to time with the share that is done, 0 … 1.

    Raises:
        UsageError: the weights do not have the quality, the effort is out of range, or one of
            `pictures` is not a valid `Picture`.
        TicodecError: a picture needs too much memory, or its target is out of reach.
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
        # One picture at a time: its floats, and therefore its bytes, must not depend on the others.
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
    """Raises UsageError for an invalid `Picture`, TicodecError if it needs too much memory."""
    if not isinstance(picture, Picture):
        raise UsageError(f"pictures must be `Picture`s, not {type(picture).__name__}")
    picture.check()
    height, width = picture.pixels.shape[:2]
    codec.check_picture(height, width, effort)
