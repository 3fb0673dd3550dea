"""A photo that would lose anything is never deleted, and its row in the report says what."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from batch_support import rows, summary, tree
from PIL import Image
from support import make_pixels

from ticodec.batch.verification import verify
from ticodec.picture import Picture
from ticodec.reading.options import PLAIN, Reading

PIXELS = make_pixels(64, 96)
PHOTO = Image.fromarray(PIXELS)
BLOCK = b"\x1c\x02x\x00\x07caption"


def saved(format: str, image: Image.Image = PHOTO, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    """A JPEG with this segment in front of all others."""
    head = struct.pack(">BBH", 0xFF, marker, len(payload) + 2)
    photo = saved("JPEG", quality=95)
    return photo[:2] + head + payload + photo[2:]


def chunk(kind: bytes, payload: bytes) -> bytes:
    """A PNG with this chunk before its pixels."""
    photo = saved("PNG")
    body = struct.pack(">I", len(payload)) + kind + payload
    body += struct.pack(">I", zlib.crc32(kind + payload))
    return photo[:33] + body + photo[33:]


def tiff(samples: np.ndarray, **options: object) -> bytes:
    out = BytesIO()
    tifffile.imwrite(out, samples, **options)
    return out.getvalue()


def moving(format: str, second: Image.Image) -> bytes:
    return saved(format, PHOTO.copy(), save_all=True, append_images=[second.copy()])


SIDEWAYS = PHOTO.transpose(Image.Transpose.ROTATE_90)
NEXT = Image.fromarray(PIXELS[::-1].copy())
IPTC = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(BLOCK)) + BLOCK + b"\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 9, 0) + b"<x/>"
#: EXIF with an orientation: turned by 90°.
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6" + b"\0" * 6
#: Photos with something that a .tic file does not keep, and the kind of the note about it.
LOSING = {
    "frames.gif": (moving("GIF", NEXT), "frames"),
    "frames.webp": (moving("WEBP", NEXT), "frames"),
    "frames.png": (moving("PNG", NEXT), "frames"),
    "two.mpo": (moving("MPO", NEXT), "frames"),
    "pages.tif": (moving("TIFF", NEXT), "pages"),
    "wide.png": (saved("PNG", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)), "bits"),
    "wide.tif": (tiff(PIXELS.astype(np.uint16) * 257, photometric="rgb"), "bits"),
    "float.tif": (tiff(PIXELS[..., 0].astype(np.float32) / 255), "range"),
    "behind.jpg": (saved("JPEG", quality=95) + b"more" * 500, "trailing"),
    "moving.jpg": (saved("JPEG", quality=95) + b"\0\0\0\x18ftypmp42" + b"\0" * 500, "video"),
    "iptc.jpg": (segment(0xED, IPTC), "iptc"),
    "xmp.jpg": (segment(0xE1, EXTENDED), "xmp"),
    "comment.jpg": (saved("JPEG", quality=95, comment=b"mine"), "text"),
    "credentials.jpg": (segment(0xEB, b"JP\0\1\0\0\0\1" + b"\0" * 40), "credentials"),
    "text.png": (chunk(b"tEXt", b"Title\0mine"), "text"),
    "light.png": (chunk(b"cLLI", struct.pack(">II", 10**7, 10**6)), "metadata"),
    "inks.jpg": (saved("JPEG", PHOTO.convert("CMYK"), quality=95), "colour"),
    "cut.jpg": (saved("JPEG", quality=95)[:-800], "truncated"),
}
#: A photo that is so small that its .tic file is larger.
DOTS = Image.fromarray(np.random.default_rng(1).integers(0, 2, (8, 8), dtype=bool))
LOSING["dots.png"] = saved("PNG", DOTS), "larger"
#: Photos that lose nothing but the exact pixel values.
WHOLE = {
    "plain.jpg": saved("JPEG", quality=95),
    "plain.png": saved("PNG"),
    "dots.jpg": saved("JPEG", quality=95, dpi=(300, 300)),
    "gamma.png": chunk(b"gAMA", struct.pack(">I", 50000)),
    "alpha.png": saved("PNG", PHOTO.convert("RGBA")),
    "turned.jpg": saved(
        "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    ),
    "xmp.webp": saved("WEBP", lossless=True, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"),
}


def test_only_photos_that_lose_nothing_are_deleted(tmp_path: Path, run) -> None:
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    source.mkdir()
    photos = {name: data for name, (data, _) in LOSING.items()}
    for name, data in (photos | WHOLE).items():
        (source / name).write_bytes(data)
    words = ("--delete-source-after-verify", "--allow-truncated", "-m", "tiny", "-q", 8)
    done = run("batch", "encode", source, target, *words, "--report", report)
    assert done.code == 0, done.err
    assert f"{len(LOSING)} files of the source" in done.out

    found = rows(report)
    said = {name: {note["kind"]: note["text"] for note in found[name]["notes"]} for name in found}
    assert {name: kind in said[name] for name, (_, kind) in LOSING.items()} == dict.fromkeys(
        LOSING, True
    )
    for name, (_, kind) in LOSING.items():
        assert said[name][kind] in found[name]["kept"]
    assert {name: found[name]["kept"] for name in WHOLE} == dict.fromkeys(WHOLE, "")
    assert {name for name in found if found[name]["deleted"]} == set(WHOLE)
    assert tree(source) == photos
    assert summary(report)["kept"] == len(LOSING)
    assert summary(report)["notes"]["frames"] == 4

    # The next run keeps these photos too, and its CSV report gives the same reasons.
    table = tmp_path / "r.csv"
    done = run("batch", "encode", source, target, *words, "--report", table)
    assert done.code == 0, done.err
    assert tree(source) == photos
    again = rows(table)
    assert {name: again[name]["kept"] for name in again} == {
        name: found[name]["kept"] for name in LOSING
    }
    assert said["frames.gif"]["frames"] in again["frames.gif"]["notes"]


def _picture(**changes: object) -> Picture:
    return Picture(**{"pixels": PIXELS.copy()} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("photo", "source", "decoded", "why"),
    [
        (saved("PNG"), _picture(), _picture(metadata={"exif": b"x"}), "other metadata"),
        (saved("PNG"), _picture(), _picture(alpha=PIXELS[..., 0]), "transparent"),
        (saved("PNG"), _picture(), _picture(pixels=PIXELS[1:]), "another width"),
        (saved("PNG"), _picture(), _picture(pixels=255 - PIXELS), "far from the photo"),
        # The picture that was encoded and the decoded one agree, but the photo's file differs.
        (saved("PNG", NEXT), _picture(), _picture(), "far from the photo"),
        (
            saved("PNG", PHOTO.transpose(Image.Transpose.ROTATE_90)),
            _picture(),
            _picture(),
            "another width",
        ),
        (saved("JPEG", quality=95, xmp=b"<x/>"), _picture(), _picture(), "XMP"),
    ],
)
def test_a_photo_is_not_deleted_in_doubt(photo, source, decoded, why: str) -> None:
    assert why in verify(photo, source, decoded, PLAIN, 10**6).doubt


def test_metadata_may_be_lost_if_the_user_strips_it() -> None:
    photo = saved("JPEG", quality=95, xmp=b"<x/>")
    verdict = verify(photo, _picture(), _picture(), Reading(strip=True), 10**6)
    assert verdict.doubt == ""
    assert verdict.psnr > 30
