"""Latents that are encoded once: exact, at the right places, and decided by one generator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support import CPU, make_pixels
from torch import Tensor

from ticodec.entropy.coder import EntropyCoder
from ticodec.errors import BadInputError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.families import build
from ticodec.training.data.photos import Photos
from ticodec.training.encoded_photos import Coding, EncodedPhotos, encode_photos, pieces
from ticodec.training.export.weights_file import calibration_latents, compile_entropy
from ticodec.training.pretrained import find_codec


@pytest.fixture(scope="module")
def network() -> CodecNetwork:
    """The tiny network, trained."""
    tiny = find_codec("tiny")
    network = build(tiny.config)
    network.load_state_dict(tiny.floats)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def coder(network: CodecNetwork) -> EntropyCoder:
    """Its integer coder."""
    latents = calibration_latents(network, torch.from_numpy(make_pixels(128, 128))[None])
    return EntropyCoder(network.config, compile_entropy(network, *latents), CPU)


def of_sizes(*sizes: tuple[int, int]) -> Photos:
    """Photos of these heights and widths."""
    return Photos((make_pixels(*size, seed) for seed, size in enumerate(sizes)), 1, CPU)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def encode(network: CodecNetwork, coder: EntropyCoder):
    """Encode photos; any argument may be another one."""
    photos = of_sizes((150, 200), (130, 70))

    def call(**changes: object) -> EncodedPhotos:
        given = {
            "photos": photos,
            "side": 64,
            "shrink": 1.6,
            "qualities": (1.0, 8.0),
            "generator": seeded(3),
            "tick": lambda: None,
            **changes,
        }
        return encode_photos(network, coder, **given)

    return call


@pytest.fixture(scope="module")
def encoded(encode) -> EncodedPhotos:
    """The two photos, and the first one shrunk; the second one is too small for that."""
    return encode()


def latents(network: CodecNetwork, encoded: EncodedPhotos) -> Iterator[tuple[Coding, Tensor]]:
    """Each coding with the y that was coded, gain applied."""
    for coding in encoded.codings:
        up, _ = network.scaling(torch.tensor([coding.level]))
        yield coding, encoded.maps[coding.map].float() * up[0]


def test_y_hat_is_what_a_file_decodes_to(
    network: CodecNetwork, coder: EntropyCoder, encoded: EncodedPhotos
) -> None:
    for coding, y in latents(network, encoded):
        z = network.h_a(y[None])[0]
        streams = coder.encode(y, z)
        decoded = coder.decode(streams.z_stream, streams.y_stream, *z.shape[:2])
        assert torch.equal(coding.y_hat, decoded.y_hat.half())


def test_y_hat_is_within_half_a_step_of_y(network: CodecNetwork, encoded: EncodedPhotos) -> None:
    largest = 0.0
    for coding, y in latents(network, encoded):
        y_hat = coding.y_hat.float()
        rounding = y_hat.abs() * 2.0**-11  # of half precision
        assert ((y - y_hat).abs() <= 0.5 + rounding + 1e-5).all()
        largest = max(largest, float((y - y_hat).abs().max()))
    assert largest > 0.45  # or else the bound says nothing


def test_y_is_that_of_the_photo_or_of_its_mirror_image(network: CodecNetwork, encode) -> None:
    photos = of_sizes(*[(70, 136)] * 6)
    mirrored = []
    for number, y in enumerate(encode(photos=photos, shrink=1.0).maps):
        x = photos.whole(number)[3:67, 4:132]  # the middle
        both = network.g_a(torch.stack([x, x.flip(1)]) - 0.5)
        errors = (both - y.float()).abs().amax((1, 2, 3))
        assert errors.min() < 2e-3 * both.abs().max() < errors.max()
        mirrored.append(int(errors.argmin()))
    assert set(mirrored) == {0, 1}


def test_levels_are_of_all_parts_of_the_range(encode, encoded: EncodedPhotos) -> None:
    assert [coding.map for coding in encoded.codings] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for number, coding in enumerate(encoded.codings):
        part = number % 3
        assert part <= coding.level / 7 * 3 < part + 1
    some = encode(photos=of_sizes((64, 64)), qualities=(5.0, 6.0))
    assert all(4 <= coding.level <= 5 for coding in some.codings)


def test_no_level_is_above_those_of_the_network(encode, network: CodecNetwork) -> None:
    """One for a fixed λ has one level, whatever qualities the options say."""
    levels = network.config.levels
    high = encode(photos=of_sizes((64, 64)), qualities=(float(levels), levels + 3.0))
    assert [coding.level for coding in high.codings] == [levels - 1] * 3


def test_the_generator_alone_decides(encode, encoded: EncodedPhotos) -> None:
    torch.rand(10)
    before = torch.get_rng_state()
    again, other = encode(), encode(generator=seeded(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, encoded.maps, again.maps))
    for one, two in zip(encoded.codings, again.codings, strict=True):
        assert one[:2] == two[:2]
        assert torch.equal(one.y_hat, two.y_hat)
    levels = [[coding.level for coding in each.codings] for each in (encoded, other)]
    assert not set(levels[0]) & set(levels[1])
    drawn = [encoded.windows(4, 4, seeded(seed)) for seed in (1, 1, 2)]
    assert all(map(torch.equal, drawn[0], drawn[1]))
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_each_piece_is_counted(encode) -> None:
    ticks: list[None] = []
    encoded = encode(tick=lambda: ticks.append(None))
    assert len(ticks) == len(encoded.maps) == 3


def test_pieces_are_as_large_as_photos_and_once_more_shrunk() -> None:
    photos = of_sizes((200, 330), (64, 64), (63, 200))

    def sizes(shrink: float, side: int = 64) -> list[tuple[int, ...]]:
        return [tuple(x.shape[:2]) for x in pieces(photos, side, shrink, seeded(0))]

    assert sizes(1.0) == [(192, 320), (64, 64)]
    assert sizes(1.0, 128) == [(192, 320)]
    assert sizes(1.02) == [(192, 320), (192, 320), (64, 64)]  # 196 × 324
    whole, shrunk, small = sizes(2.0)
    assert (whole, small) == ((192, 320), (64, 64))
    assert (64, 128) <= shrunk <= (128, 192)  # at least 1.3 times, at most twice as small


def test_pieces_are_shrunk_by_a_factor_within_the_range() -> None:
    photos = of_sizes(*[(640, 64)] * 20)
    heights = {x.shape[0] for x in pieces(photos, 0, 2.0, seeded(0))} - {640}
    assert heights <= {320, 384, 448}  # of 320 to 492
    assert len(heights) == 3


def test_pixels_of_pieces_stay_in_their_range() -> None:
    """Bicubic filters swing over."""
    edges = np.zeros((128, 128, 3), np.uint8)
    edges[:, 64:] = 255
    whole, shrunk = pieces(Photos([edges], 1, CPU), 64, 1.5, seeded(0))
    for x in (whole, shrunk):
        assert (x.min(), x.max()) == (0, 1)


def test_photos_that_are_all_too_small_are_bad_input(encode) -> None:
    with pytest.raises(BadInputError, match="no photo is as large as a crop: 256×256 pixels"):
        encode(side=256)


# -- windows, of maps that say what is where -------------------------------------------


def marked(*sizes: tuple[int, int]) -> EncodedPhotos:
    """Maps whose latents are (number of the map, row, column); ŷ of two levels, also with these."""
    maps, codings = [], []
    for number, (height, width) in enumerate(sizes):
        at = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        y = torch.stack([torch.full((height, width), number), *at], -1).half()
        maps.append(y)
        codings += [Coding(number, level, y + 100 * (level + 1)) for level in (0.5, 6.0)]
    return EncodedPhotos(maps, codings, CPU)


def test_windows_of_y_and_y_hat_are_from_the_same_place() -> None:
    encoded = marked((8, 12), (20, 16))
    y, levels, y_hat = encoded.windows(200, 8, seeded(0))
    assert (y.shape, levels.shape, y_hat.shape) == ((200, 8, 8, 3), (200,), (200, 8, 8, 3))
    assert {part.dtype for part in (y, levels, y_hat)} == {torch.float32}
    assert torch.equal(y_hat, y + 100 * (levels[:, None, None, None] + 1))
    assert set(levels.tolist()) == {0.5, 6.0}
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    for window in y:
        number, top, left = window[0, 0].tolist()
        assert (window[..., 0] == number).all()
        assert torch.equal(window[..., 1], top + rows)
        assert torch.equal(window[..., 2], left + columns)


def test_windows_begin_at_every_place_where_z_does() -> None:
    encoded = marked((8, 12), (20, 16))
    y, _, _ = encoded.windows(600, 8, seeded(0))
    places = {tuple(map(int, window[0, 0].tolist())) for window in y}
    small = {(0, 0, left) for left in (0, 4)}
    large = {(1, top, left) for top in (0, 4, 8, 12) for left in (0, 4, 8)}
    assert places == small | large


def test_large_maps_have_more_windows() -> None:
    y, _, _ = marked((8, 8), (24, 24)).windows(2000, 8, seeded(0))
    assert float(y[:, 0, 0, 0].mean()) == pytest.approx(0.9, abs=0.03)
