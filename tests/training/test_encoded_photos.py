"""Latents that are encoded once, before training.

They are exact, come from the right places of the photos, and depend on one random generator only.
"""

from __future__ import annotations

import pytest
import torch
from support import CPU, make_pixels

from ticodec.entropy.coder import EntropyCoder
from ticodec.errors import BadInputError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.families import build
from ticodec.training.data.photos import Photos
from ticodec.training.encoded_photos import (
    EncodedPhotos,
    code,
    encode_photos,
    shrunk,
    sizes,
    squares,
)
from ticodec.training.export.weights_file import calibration_latents, compile_entropy
from ticodec.training.pretrained import find_codec


@pytest.fixture(scope="module")
def network() -> CodecNetwork:
    """The tiny network with its trained weights."""
    tiny = find_codec("tiny")
    network = build(tiny.config)
    network.load_state_dict(tiny.floats)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def coder(network: CodecNetwork) -> EntropyCoder:
    """The integer coder of the tiny network."""
    latents = calibration_latents(network, torch.from_numpy(make_pixels(128, 128))[None])
    return EntropyCoder(network.config, compile_entropy(network, *latents), CPU)


def of_sizes(*sizes: tuple[int, int]) -> Photos:
    """Photos of these sizes, each (height, width)."""
    return Photos((make_pixels(*size, seed) for seed, size in enumerate(sizes)), 1, CPU)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def encode(network: CodecNetwork):
    """A function that encodes photos. It takes arguments that differ from the usual ones."""
    photos = of_sizes((150, 200), (130, 70))

    def call(**changes: object) -> EncodedPhotos:
        given = {
            "photos": photos,
            "side": 64,
            "shrink": 1.6,
            "generator": seeded(3),
            "tick": lambda: None,
            **changes,
        }
        return encode_photos(network, **given)

    return call


@pytest.fixture(scope="module")
def encoded(encode) -> EncodedPhotos:
    """Six pieces of the first photo, two of the shrunk first photo, and two of the second photo."""
    return encode()


@pytest.fixture(scope="module")
def coded(network: CodecNetwork, coder: EntropyCoder, encoded: EncodedPhotos):
    """Three pieces at three levels: y with the gain applied, and ŷ. Both are (3, 4, 4, M)."""
    up, _ = network.scaling(torch.tensor([0.0, 3.5, 7.0]))
    y = encoded.draw(3, seeded(1)) * up
    return y, code(network, coder, y)


def test_y_hat_equals_the_decoded_latents_of_a_file(network, coder: EntropyCoder, coded) -> None:
    for y, y_hat in zip(*coded, strict=True):
        z = network.h_a(y[None])[0]
        streams = coder.encode(y, z)
        decoded = coder.decode(streams.z_stream, streams.y_stream, *z.shape[:2])
        assert torch.equal(y_hat, decoded.y_hat.float())


def test_y_hat_is_within_half_a_step_of_y(coded) -> None:
    y, y_hat = coded
    assert y_hat.shape == y.shape
    errors = (y - y_hat).abs()
    assert errors.max() <= 0.5 + 1e-4
    assert errors.max() > 0.45  # otherwise the bound would show nothing


def test_y_is_of_the_photo_or_of_its_mirror_image(network: CodecNetwork, encode) -> None:
    photos = of_sizes(*[(70, 68)] * 12)
    mirrored = []
    for number, y in enumerate(encode(photos=photos, shrink=1.0).maps):
        x = photos.whole(number)[3:67, 2:66]  # the middle
        both = network.g_a(torch.stack([x, x.flip(1)]) - 0.5)
        errors = (both - y.float()).abs().amax((1, 2, 3))
        assert errors.min() < 2e-3 * both.abs().max() < errors.max()
        mirrored.append(int(errors.argmin()))
    assert set(mirrored) == {0, 1}


def test_pieces_depend_only_on_the_generator(encode, encoded: EncodedPhotos) -> None:
    torch.rand(10)
    before = torch.get_rng_state()
    again, other = encode(), encode(generator=seeded(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, encoded.maps, again.maps))
    assert not all(map(torch.equal, encoded.maps, other.maps))  # not all mirrored in the same way
    drawn = [encoded.draw(4, seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_each_photo_is_counted_at_each_size(encode) -> None:
    ticks: list[None] = []
    encode(tick=lambda: ticks.append(None))
    encode(tick=lambda: ticks.append(None), shrink=1.0)
    assert len(ticks) == 4 + 2


def test_photos_are_used_unchanged_and_once_more_shrunk() -> None:
    photos = of_sizes((200, 330), (640, 64))

    def taken(shrink: float) -> list[tuple[int, ...]]:
        return [tuple(x.shape[:2]) for x in sizes(photos, shrink, seeded(0))]

    assert taken(1.0) == [(200, 330), (640, 64)]
    assert taken(1.02) == [(200, 330), (196, 324), (640, 64), (627, 63)]


def test_photos_are_shrunk_by_a_factor_within_the_range() -> None:
    photos = of_sizes(*[(640, 64)] * 20)
    heights = [x.shape[0] for x in sizes(photos, 2.0, seeded(0))][1::2]
    assert 320 <= min(heights) < 350
    assert 450 < max(heights) <= 492  # shrunk by at least 1.3


def test_pixels_stay_in_range_when_photos_are_shrunk() -> None:
    """Bicubic filters overshoot at edges."""
    edges = torch.zeros(128, 128, 3)
    edges[:, 64:] = 1
    small = shrunk(edges, 1.5)
    assert small.shape == (85, 85, 3)
    assert (small.min(), small.max()) == (0, 1)


def test_pieces_are_squares_spread_evenly_over_the_image() -> None:
    """Each pixel of this image is its position: (row, column, 0)."""
    at = torch.meshgrid(torch.arange(200.0), torch.arange(330.0), indexing="ij")
    x = torch.stack([*at, torch.zeros(200, 330)], -1)
    found = list(squares(x, 64, seeded(0)))
    places = [(int(square[0, 0, 0]), int(square[0, :, 1].min())) for square in found]
    assert places == [(top, left) for top in (2, 68, 134) for left in (2, 67, 133, 199, 264)]
    mirrored = [bool(square[0, 0, 1] > square[0, -1, 1]) for square in found]
    assert set(mirrored) == {False, True}
    for (top, left), square, flipped in zip(places, found, mirrored, strict=True):
        square = square.flip(1) if flipped else square
        assert torch.equal(square, x[top : top + 64, left : left + 64])
    assert not list(squares(x, 256, seeded(0)))


def test_it_is_bad_input_if_all_photos_are_too_small(encode) -> None:
    with pytest.raises(BadInputError, match="every photo is smaller than a crop of 256×256"):
        encode(side=256)
