"""The container: round trips, every kind of damage, its size, and its format document."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticodec import container as tic
from ticodec.errors import BadInputError
from ticodec.sections import numbers

FORMAT = Path(__file__).parents[2] / "docs" / "format.md"

headers = st.builds(
    tic.Header,
    model=st.integers(0, 255),
    fingerprint=st.binary(min_size=4, max_size=4),
    quality=st.just(0) | st.integers(4096, 8 * 4096),
    mode=st.integers(0, len(tic.MODES) - 1),
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    symbols=st.integers(0, 65535),
)
sections = st.dictionaries(st.integers(3, 0x7F), st.binary(max_size=300), max_size=4).map(
    lambda extra: {1: b"z" * 30, 2: b"y" * 300, **extra}
)
containers = st.builds(tic.Container, headers, sections)


def example() -> tic.Container:
    header = tic.Header(3, bytes.fromhex("0badcafe"), 5 * 4096, 0, 768, 512, 0xBEEF)
    return tic.Container(header, {1: b"\x01\x02\x03\x04", 2: b"\x05\x06\x07\x08"})


@given(containers)
def test_round_trip(container: tic.Container) -> None:
    data = tic.write(container)
    assert tic.read(data, 10**9) == container
    assert container.size == len(data)


@given(containers, st.data())
def test_any_single_damaged_byte_is_noticed(container: tic.Container, data: st.DataObject) -> None:
    good = tic.write(container)
    at = data.draw(st.integers(0, len(good) - 1))
    flip = data.draw(st.integers(1, 255))
    bad = good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
    with pytest.raises(BadInputError):
        tic.read(bad, 10**9)


@given(containers, st.data())
def test_any_cut_is_noticed(container: tic.Container, data: st.DataObject) -> None:
    good = tic.write(container)
    with pytest.raises(BadInputError):
        tic.read(good[: data.draw(st.integers(0, len(good) - 1))], 10**9)


@given(st.binary(max_size=200))
def test_random_bytes_after_the_magic_are_refused(noise: bytes) -> None:
    with pytest.raises(BadInputError):
        tic.read(tic.MAGIC + noise)


def test_cut_at_a_section_is_noticed() -> None:
    data = tic.write(tic.Container(example().header, {1: b"z", 2: b"y", 3: b"icc"}))
    without_icc = data[: -(1 + 1 + 3 + 4)]
    with pytest.raises(BadInputError, match="ends too early"):
        tic.read(without_icc)


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(BadInputError, match="after its end"):
        tic.read(tic.write(example()) + b"\0")


def test_unknown_sections_are_skipped() -> None:
    container = example()
    container.sections[0x55] = b"from the future"
    assert tic.read(tic.write(container)).section("z") == b"\x01\x02\x03\x04"


def test_line_ending_damage_is_named() -> None:
    data = tic.write(example())
    for damaged in (data.replace(b"\r\n", b"\n"), data.replace(b"\n", b"\r\n")):
        with pytest.raises(BadInputError, match="line endings"):
            tic.read(damaged)


def test_another_version_is_reported_before_a_wrong_checksum() -> None:
    data = bytearray(tic.write(example()))
    data[6] = 2
    with pytest.raises(BadInputError, match=r"format version 2, .* newer ticodec"):
        tic.read(bytes(data))


def test_too_many_pixels_are_refused_unless_allowed() -> None:
    container = example()
    container.header.width = container.header.height = 30_000
    data = tic.write(container)
    with pytest.raises(BadInputError, match=r"30000×30000 pixels.*`max_pixels`"):
        tic.read(data)
    assert tic.read(data, 10**9).header.width == 30_000


@pytest.mark.parametrize(("width", "height", "mode"), [(0, 5, 0), (5, 0, 0), (5, 5, 9)])
def test_impossible_headers(width: int, height: int, mode: int) -> None:
    container = example()
    container.header.width, container.header.height, container.header.mode = width, height, mode
    with pytest.raises(BadInputError, match="impossible"):
        tic.read(tic.write(container))


@pytest.mark.parametrize("quality", [1, 4095, 32769, 65535])
def test_impossible_qualities(quality: int) -> None:
    container = example()
    container.header.quality = quality
    with pytest.raises(BadInputError, match="impossible quality"):
        tic.read(tic.write(container))


def test_overhead_of_a_plain_photo() -> None:
    container = example()
    container.sections = {1: bytes(2000), 2: bytes(60_000)}
    assert len(tic.write(container)) - 62_000 <= 40


@given(st.integers(0, 2**35 - 1))
def test_varints_round_trip_and_have_one_form(value: int) -> None:
    data = tic.varint(value)
    assert tic._Cursor(data).varint() == value
    longer = data[:-1] + bytes([data[-1] | 0x80, 0])
    with pytest.raises(BadInputError):
        tic._Cursor(longer).varint()


def test_the_documented_hex_dump_is_this_format() -> None:
    dump = re.search(r"```hexdump\n(.*?)```", FORMAT.read_text(), re.S)
    assert dump
    digits = "".join(line[6:].split("|")[0] for line in dump[1].splitlines())
    assert bytes.fromhex(digits) == tic.write(example())


def test_the_document_lists_exactly_the_existing_sections_and_modes() -> None:
    text = FORMAT.read_text()
    table = re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", text, re.M)
    assert {name: int(number) for number, name in table} == numbers()
    assert len(table) == len(numbers())
    for number, name in enumerate(tic.MODES):
        assert re.search(rf"{number} `{name}`", text)


def test_checksums_are_plain_crc32() -> None:
    data = tic.write(example())
    assert data[21:25] == zlib.crc32(data[:21]).to_bytes(4, "little")
