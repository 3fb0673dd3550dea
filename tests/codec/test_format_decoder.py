"""`docs/format.md` is complete: a decoder that follows it finds the latents that ticodec finds."""

from __future__ import annotations

import hashlib
import re
import zlib
from functools import cache
from pathlib import Path

import format_decoder
import numpy as np
import pytest
import torch
from support import GOLDEN, ROOT

from ticodec import container, sections, weights
from ticodec.codec import Codec
from ticodec.entropy.coder import SYMBOL_MAX, Decoded
from ticodec.weights.store import SHIPPED

DOCUMENT = ROOT / "docs/format.md"
FILES = sorted(GOLDEN.glob("v1/*.tic"))
WEIGHTS = {
    hashlib.sha256(path.read_bytes()).digest()[:4]: path
    for folder in (GOLDEN / "weights", SHIPPED)
    for path in folder.glob("*.safetensors")
}
#: How far latents are spread, and the rows and columns of z. The last spread is so large that most
#: values are outside their tables, and some outside the range of symbols.
SPREADS = [(3.0, (1, 5)), (300.0, (3, 2)), (20_000.0, (2, 1))]


@cache
def load(fingerprint: bytes) -> Codec:
    return Codec(weights.find_fingerprint(fingerprint, "?"), "cpu", bf16=False)


def by_ticodec(data: bytes) -> tuple[Codec, Decoded]:
    """The codec that wrote a file, and its latents by ticodec's own entropy coder."""
    file = container.read(data)
    codec = load(file.header.fingerprint)
    stride = codec.config.stride_z
    height, width = (-(-side // stride) for side in (file.header.height, file.header.width))
    return codec, codec.entropy.decode(file.sections[1], file.sections[2], height, width)


def decoded_alike(data: bytes) -> format_decoder.Latents:
    """The latents of a file by the document's decoder, which ticodec decodes alike."""
    codec, expected = by_ticodec(data)
    fingerprint = container.read(data).header.fingerprint
    header, found = format_decoder.decode(data, WEIGHTS[fingerprint].read_bytes())
    assert found.z.astype("<i2").tobytes() == expected.symbols.z
    assert found.y.astype("<i2").tobytes() == expected.symbols.y
    assert (found.y_hat * 2.0**-8 == expected.y_hat.double().numpy()).all()
    assert header["model"] == codec.config.model
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_files_decode_to_the_same_latents(path: Path) -> None:
    found = decoded_alike(path.read_bytes())
    crc = zlib.crc32(found.y_hat.astype("<i4").tobytes())
    (row,) = re.findall(rf"\| `{path.name}` \|.*", DOCUMENT.read_text(encoding="utf-8"))
    assert row.endswith(f"| `{crc:08x}` |"), "the document's CRC of ŷ is wrong"
    if path.stem.startswith("photo"):
        assert found.outliers, "no escape was tried"


@pytest.mark.parametrize("name", ["tiny", "tiny-icat"])
@pytest.mark.parametrize(("spread", "size"), SPREADS)
def test_latents_of_any_size_decode_alike(name: str, spread: float, size: tuple[int, int]) -> None:
    """Escapes of one to four digits, in z and y, and maps of several windows."""
    codec = load(weights.find(name).fingerprint)
    ratio, stride, config = codec.entropy.z_to_y, codec.config.stride_z, codec.config
    random = np.random.default_rng(0)
    z = random.laplace(0, spread, (*size, config.N))
    y = random.laplace(0, spread, (ratio * size[0], ratio * size[1], config.M))
    coded = codec.entropy.encode(torch.from_numpy(y), torch.from_numpy(z))
    crc = container.symbol_crc(*coded.symbols)
    height, width = stride * size[0], stride * size[1] - 1
    number = container.MODEL_IDS[config.model]
    header = container.Header(number, codec.entry.fingerprint, 4096, 0, width, height, crc)
    streams = {1: coded.z_stream, 2: coded.y_stream}
    found = decoded_alike(container.write(container.Container(header, streams)))
    assert found.outliers
    assert (np.abs(found.y).max() == SYMBOL_MAX) == (spread > 1000)


def test_what_the_document_says_after_the_latents() -> None:
    """The gains and the alpha plane."""
    data = (GOLDEN / "v1" / "everything.tic").read_bytes()
    header, payloads = format_decoder.read_container(data)
    file = format_decoder.read_weights(WEIGHTS[header["fingerprint"]].read_bytes())
    for quality in (4096, header["quality"], 30_001, 32_768):
        _, down = load(header["fingerprint"]).gains(quality)
        assert np.allclose(format_decoder.gain(file, quality), down.flatten(), rtol=1e-5)
    width, height = header["width"], header["height"]
    alpha = format_decoder.alpha_plane(payloads[6], width, height)
    assert (alpha == sections.unpack_alpha(payloads[6], height, width)).all()


def test_wrong_symbols_are_noticed() -> None:
    data = (GOLDEN / "v1" / "pixel.tic").read_bytes()
    file = container.read(data)
    file.header.symbols ^= 1
    path = WEIGHTS[file.header.fingerprint]
    with pytest.raises(format_decoder.DamagedError, match="symbols"):
        format_decoder.decode(container.write(file), path.read_bytes())


def test_the_decoder_stands_alone() -> None:
    """It uses neither ticodec nor torch, so the document and the weights are all it has."""
    for name in ("format_decoder", "format_networks"):
        text = (ROOT / "tests" / f"{name}.py").read_text(encoding="utf-8")
        imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
        assert imported & {"ticodec", "torch", "support"} == set()
        assert {"numpy", "typing"} <= imported
