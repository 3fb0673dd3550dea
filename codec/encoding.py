"""Pictures to containers: at a quality, or for a target; with more or less effort.

picture ─► g_a ─► features ─► ·gain(q) ─► y, z ─► entropy coder ─► container
                     └─► refinement (effort 2 … 9) ─┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ticodec import refinement, sections
from ticodec.container import Container, Header, symbol_crc
from ticodec.effort import checked_effort
from ticodec.entropy.coder import Coded
from ticodec.errors import UsageError
from ticodec.models.families import MODEL_IDS
from ticodec.picture import Picture
from ticodec.progress import TRANSFORMS, Progress, part
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
    """See `Codec.containers`."""
    checked_effort(effort)
    if isinstance(quality, Target):
        raise NotImplementedError
    stored = codec.stored_quality(quality)
    latents = []
    for number, picture in enumerate(pictures):
        if not isinstance(picture, Picture):
            kind = type(picture).__name__
            raise UsageError(f"pictures must be `Picture`s, not {kind}")
        picture.check()
        codec.check_picture(*picture.pixels.shape[:2])
        # One picture at a time: its floats, and so its bytes, must not depend on the others.
        share = TRANSFORMS / len(pictures)
        report = part(progress, number * share, (number + 1) * share)
        features = codec.features(picture.pixels, report)
        if effort == 1:
            latents.append(codec.scaled(features, stored))
        else:
            latents.append(
                refinement.refined(codec, picture.pixels, features, stored, effort, report)
            )
    coded = codec.entropy.encode_many(latents)
    part(progress, TRANSFORMS, 1)(1)
    return [
        container_of(codec, picture, symbols, stored)
        for picture, symbols in zip(pictures, coded, strict=True)
    ]


def container_of(codec: Codec, picture: Picture, coded: Coded, stored: int) -> Container:
    """The container of a picture whose latents are coded; `stored`: the stored quality."""
    height, width = picture.pixels.shape[:2]
    header = Header(
        model=MODEL_IDS[codec.config.model],
        fingerprint=codec.entry.fingerprint,
        quality=stored,
        mode=int(picture.grey),
        width=width,
        height=height,
        symbols=symbol_crc(*coded.symbols),
    )
    streams = {"z": coded.z_stream, "y": coded.y_stream}
    required = {stream.number: streams[stream.name] for stream in sections.streams()}
    return Container(header, required | sections.payloads(picture))
