"""BPG and VTM with fake programs, because the real ones are not packaged anywhere.

The fake programs accept exactly the options that the coders pass, and fail with any other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support import make_pixels

from ticodec.errors import TicodecError, UsageError
from ticodec.evaluation.peers import make_peer
from ticodec.evaluation.peers.programs import to_rgb, to_ycbcr
from ticodec.psnr import psnr

HEAD = f"""#!{sys.executable}
import sys
import numpy as np
from PIL import Image
words = sys.argv[1:]
if words == ["-h"]:
    print("usage:"); print("Stand-in version 1.2"); sys.exit(1)
def take(*names):
    values = []
    for name in names:
        at = words.index(name)
        values.append(words[at + 1])
        del words[at : at + 2]
    return values
"""
BPGENC = """
q, f, c, b, o = take("-q", "-f", "-c", "-b", "-o")
assert (f, c, b) == ("444", "ycbcr", "8") and 0 <= int(q) <= 51 and len(words) == 1, words
Image.open(words[0]).save(o, "JPEG", quality=100 - int(q))
"""
BPGDEC = """
(o,) = take("-o")
assert len(words) == 1, words
Image.open(words[0]).save(o, "PNG")
"""
VTMENC = """
c, i, b, o, q, w, h, f, fr = take("-c", "-i", "-b", "-o", "-q", "-wdt", "-hgt", "-f", "-fr")
assert sorted(words) == ["--InputBitDepth=8", "--InputChromaFormat=444"], words
assert (f, fr) == ("1", "1") and 0 <= int(q) <= 63 and int(w) % 8 == int(h) % 8 == 0
planes = np.fromfile(i, np.uint8).reshape(3, int(h), int(w))
step = 1 + int(q) // 4
np.savez_compressed(open(b, "wb"), planes=planes // step, step=step)
"""
VTMDEC = """
b, o, d = take("-b", "-o", "-d")
assert not words and d == "8"
file = np.load(b)
(file["planes"] * file["step"]).astype(np.uint8).tofile(o)
"""


@pytest.fixture
def bin(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder that is the only one in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("VTM_CFG", raising=False)
    return folder


def install(folder: Path, **programs: str) -> None:
    for name, text in programs.items():
        (folder / name).write_text(HEAD + text)
        (folder / name).chmod(0o755)


def check(name: str) -> None:
    coder, pixels = make_peer(name), make_pixels(41, 59)
    assert coder.version == "Stand-in version 1.2"
    assert coder.knob == "QP"
    files = [coder.encode(pixels, setting) for setting in coder.ladder]
    quality = [psnr(pixels, coder.decode(file)) for file in files]
    assert quality[0] < 34 < quality[-1]
    sizes = [len(file) for file in files]
    assert sizes == sorted(sizes)


def test_bpg(bin: Path) -> None:
    install(bin, bpgenc=BPGENC, bpgdec=BPGDEC)
    check("bpg")


def test_vtm(bin: Path, tmp_path: Path) -> None:
    install(bin, EncoderAppStatic=VTMENC, DecoderAppStatic=VTMDEC)
    with pytest.raises(UsageError, match="set VTM_CFG"):
        make_peer("vtm")
    (tmp_path / "cfg").mkdir()  # beside bin/, as in the tree of VTM
    (tmp_path / "cfg" / "encoder_intra_vtm.cfg").write_text("# all intra\n")
    check("vtm")


def test_missing_programs_are_named(bin: Path) -> None:
    with pytest.raises(UsageError, match="bpgenc is not on the PATH"):
        make_peer("bpg")
    with pytest.raises(UsageError, match="EncoderAppStatic or EncoderApp is not on the PATH"):
        make_peer("vtm")


def test_failing_programs_are_reported(bin: Path) -> None:
    install(bin, bpgenc="print('first'); print('out of luck'); sys.exit(3)", bpgdec=BPGDEC)
    with pytest.raises(TicodecError, match="bpgenc failed with exit code 3: out of luck"):
        make_peer("bpg").encode(make_pixels(8, 8), 30)
    install(bin, EncoderApp=VTMENC, DecoderApp="open(sys.argv[4], 'wb').write(b'short')")
    (bin / "it.cfg").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTM_CFG", str(bin / "it.cfg"))
        coder = make_peer("vtm")
        with pytest.raises(TicodecError, match="wrote 5 samples"):
            coder.decode(coder.encode(make_pixels(8, 8), 30))


def test_colours_survive_the_change_of_colour_space() -> None:
    pixels = make_pixels(64, 64)
    back = to_rgb(to_ycbcr(pixels))
    assert np.abs(back.astype(int) - pixels).max() <= 2
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    assert np.array_equal(to_ycbcr(greys)[..., 0], greys[..., 0])
    assert (to_ycbcr(greys)[..., 1:] == 128).all()
    assert np.array_equal(to_rgb(to_ycbcr(greys)), greys)
