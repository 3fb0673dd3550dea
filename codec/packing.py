"""Packs the coded latents of a picture, its alpha and its metadata into a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import sections
from .container import Container, Header, symbol_crc
from .entropy.coder import Coded
from .models.families import MODEL_IDS
from .picture import Picture

if TYPE_CHECKING:
    from .codec import Codec


def packed(
    codec: Codec,
    picture: Picture,
    coded: Coded,
    stored: int,
    optional: dict[int, bytes] | None = None,
) -> Container:
    """Make the container of a picture whose latents are coded.

    Args:
        codec: the codec that coded the latents.
        coded: the latents of `picture`.
        stored: the stored quality.
        optional: the payloads of the optional sections, by number. None means that they are made
            from the picture.
    """
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
    optional = sections.payloads(picture) if optional is None else optional
    return Container(header, required | optional)
