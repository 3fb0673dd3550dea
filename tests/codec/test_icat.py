"""The joint model: its dimensions, its exact path, and the parts that decode and classify run."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from support import make_pixels
from torch import nn

from ticodec.classifier import LONGEST, Classifier, PixelClassifier, interleaved
from ticodec.codec import Codec
from ticodec.entropy.icat_rows import mean_scale, run_rows
from ticodec.entropy.tic_context import MEAN_BITS
from ticodec.errors import BadInputError
from ticodec.models.config import HeadConfig, IcatConfig, ViTConfig
from ticodec.models.families import build, config_from, preset
from ticodec.models.icat import Icat
from ticodec.models.vit import ViT, tile_starts
from ticodec.picture import Picture


def count(*modules: nn.Module | None) -> int:
    return sum(p.numel() for m in modules if m is not None for p in m.parameters())


def test_parameter_counts_are_those_of_the_paper() -> None:
    """With 1000 classes: 25.6 M without the hyperprior (table 1), 29.67 M in all."""
    network = build(preset("icat", labels=("x",) * 1000))
    assert isinstance(network, Icat)
    hyperprior = count(network.h_a, network.h_s, network.prior, network.gains)
    assert count(network) - hyperprior == 25_626_539
    assert count(network) - count(network.gains) == pytest.approx(29.67e6, abs=0.01e6)


def test_presets_survive_json() -> None:
    config = preset("icat", labels=("cat", "dog"), aggregation=False)
    assert config_from(config.to_dict()) == config
    head = HeadConfig("latents", 128, ViTConfig(), ("cat", "dog"), "tic-lite", "01020304")
    assert HeadConfig.from_dict(head.to_dict()) == head


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"M": 0}, "M must be a positive"),
        ({"M": 33}, "even"),
        ({"lambdas": ()}, "lambdas"),
        ({"vit": ViTConfig(L=2)}, "at least 3 blocks"),
        ({"model": "tic"}, "unknown model"),
    ],
)
def test_impossible_dimensions(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IcatConfig(**fields)


@pytest.mark.parametrize("fields", [{"C": 10}, {"heads": 5}, {"drop_path": 1.0}, {"grid": "x"}])
def test_impossible_transformers(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"C must|drop_path|grid must"):
        ViTConfig(**fields)


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (33, 90), (70, 64)])
def test_images_of_any_size_are_decoded(joint: Codec, size: tuple[int, int]) -> None:
    picture = Picture(make_pixels(*size))
    data = joint.encode(picture, 2)
    decoded = joint.decode(data)
    assert decoded.pixels.shape == picture.pixels.shape
    labels = joint.classify(data)
    assert sorted(label.label for label in labels) == ["ant", "bee", "cow"]
    assert sum(label.probability for label in labels) == pytest.approx(1, abs=1e-4)


def test_files_hold_exactly_the_latents(joint: Codec) -> None:
    """Encoder and decoder agree on every latent. Quantisation changes none by more than half."""
    pixels = make_pixels(70, 90)
    y, z = joint.scaled(joint.features(pixels), joint.stored_quality(3))
    coded = joint.entropy.encode(y, z)
    decoded = joint.entropy.decode(coded.z_stream, coded.y_stream, *z.shape[:2])
    assert decoded.symbols == coded.symbols
    assert (decoded.y_hat - y).abs().max() <= 0.5


@torch.inference_mode()
def test_strips_give_the_same_integers_as_the_whole_map(joint: Codec) -> None:
    """A map of z that is high enough for several strips is coded by rows and in one pass."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randint(-40, 40, (37, 5, joint.config.N), generator=generator).double()
    means, scales = mean_scale(joint.entropy.ops, z[None])
    assert bool((means != means.round()).sum() == 0)
    assert len(means.unique()) > 100
    assert len(scales.unique()) > 100
    seen = []

    def coder(positions, mean, indexes):
        seen.append((positions, indexes))
        return torch.zeros_like(mean)

    y_hat = run_rows(joint.entropy.ops, z, joint.entropy.thresholds, coder)
    assert torch.equal(y_hat, means[0].flatten(0, 1))
    assert torch.equal(torch.cat([p for p, _ in seen]), torch.arange(74 * 10))
    indexes = torch.searchsorted(joint.entropy.thresholds, scales[0].flatten(0, 1), right=True)
    assert torch.equal(torch.cat([i for _, i in seen]), indexes)


@torch.inference_mode()
def test_integers_follow_the_float_network(joint: Codec) -> None:
    network, z = joint.network, torch.zeros(1, 3, 4, joint.config.N)
    z += torch.randint(-5, 5, z.shape, generator=torch.Generator().manual_seed(2))
    scales, means = network.h_s(z).chunk(2, -1)
    exact_means, exact_scales = mean_scale(joint.entropy.ops, z)
    assert (exact_means * 2.0**-MEAN_BITS - means).abs().max() < 2.0**-MEAN_BITS
    assert (exact_scales * 2.0**-12 - scales).abs().max() < 0.01


def test_decoding_and_classifying_run_only_their_own_parts(
    joint: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = joint.encode(Picture(make_pixels(64, 64)), 2)
    network, ran = joint.network, Counter()
    parts = {f"block {i}": block for i, block in enumerate(network.vit.blocks, 1)}
    parts |= {"labels": network.vit.head, "fuse": network.aggregation}
    hooks = [
        part.register_forward_hook(lambda *_, name=name: ran.update([name]))
        for name, part in parts.items()
    ]
    run = joint.g_s.run
    monkeypatch.setattr(joint.g_s, "run", lambda *of: (ran.update(["g_s"]), run(*of)))
    joint.decode(data)
    assert ran == {"block 1": 1, "block 2": 1, "block 3": 1, "fuse": 1, "g_s": 1}
    ran.clear()
    joint.classify(data)
    assert ran == {"block 1": 1, "block 2": 1, "block 3": 1, "block 4": 1, "labels": 1}
    for hook in hooks:
        hook.remove()


def test_without_aggregation_no_block_is_run() -> None:
    c = preset("icat-lite", N=8, M=8, vit=ViTConfig(C=16, L=3, heads=2), labels=("a", "b"))
    with_it, without = build(c), build(IcatConfig(**{**c.__dict__, "aggregation": False}))
    y = torch.randn(1, 4, 4, 8)
    assert count(with_it) > count(without)
    assert torch.equal(without.fused(y), without.vit.embed(y))
    logits, fused = without.both(y)
    assert torch.equal(fused, without.vit.embed(y))
    assert logits.shape == (1, 2)


@torch.inference_mode()
def test_a_training_pass_equals_coding() -> None:
    """One training pass gives the logits and the picture that classifying and decoding give."""
    torch.manual_seed(0)
    vit = ViTConfig(C=16, L=4, heads=2, grid=4)
    network = build(preset("icat-lite", N=8, M=8, vit=vit, labels=("a", "b"))).eval()
    y = torch.randn(2, 4, 4, 8)
    logits, fused = network.both(y)
    torch.testing.assert_close(logits, network.vit(y))
    torch.testing.assert_close(fused, network.fused(y))


@torch.inference_mode()
def test_large_maps_go_through_in_tiles_of_the_learned_grid() -> None:
    torch.manual_seed(0)
    vit = ViT(8, ViTConfig(C=16, L=3, heads=2, grid=4), 2).eval()
    z0 = torch.randn(1, 4, 8, 16)
    left, right = (vit.features(part, 2) for part in (z0[:, :, :4], z0[:, :, 4:]))
    for both, one, other in zip(vit.features(z0, 2), left, right, strict=True):
        torch.testing.assert_close(both, torch.cat([one, other], 2))
    longest: list[int] = []
    hook = vit.blocks[0].register_forward_hook(lambda m, x, y: longest.append(y.shape[1]))
    maps = vit.features(torch.randn(1, 37, 50, 16), 3)
    hook.remove()
    assert max(longest) == 1 + 16
    assert [m.shape for m in maps] == [(1, 37, 50, 16)] * 3
    assert all(bool(m.isfinite().all()) for m in maps)


@pytest.mark.parametrize(("size", "tile"), [(4, 4), (5, 4), (37, 4), (8, 4), (3, 4)])
def test_tiles_cover_a_side(size: int, tile: int) -> None:
    starts = tile_starts(size, min(size, tile))
    covered = {i for s in starts for i in range(s, s + min(size, tile))}
    assert covered == set(range(size))


def test_positions_are_learned_at_the_grid_and_interpolated_elsewhere() -> None:
    vit = ViT(8, ViTConfig(C=16, L=1, heads=2, grid=4), 2)
    assert vit.positions(4, 4) is vit.position
    larger = vit.positions(8, 6)
    assert larger.shape == (1, 8, 6, 16)
    assert float(larger.detach().mean()) == pytest.approx(
        float(vit.position.detach().mean()), abs=0.01
    )


def test_damaged_files_are_reported(joint: Codec) -> None:
    data = bytearray(joint.encode(Picture(make_pixels(40, 40)), 1))
    data[-3] ^= 1
    with pytest.raises(BadInputError, match="damaged"):
        joint.classify(bytes(data))


def test_the_quality_changes_the_size(joint: Codec) -> None:
    picture = Picture(make_pixels(96, 96))
    sizes = [len(joint.encode(picture, q)) for q in (1, 2.5, 3)]
    assert len(set(sizes)) == 3
    with pytest.raises(Exception, match="quality must be from 1 to 3"):
        joint.encode(picture, 4)
    assert isinstance(np.asarray(joint.decode(joint.encode(picture)).pixels), np.ndarray)


@pytest.mark.parametrize(
    ("size", "k", "count"),
    [((14, 14), 1, 1), ((28, 28), 1, 1), ((32, 48), 2, 4), ((43, 57), 3, 4), ((56, 100), 4, 4),
     ((1, 1500), 1, 1), ((1, 1), 1, 1)],
)  # fmt: skip
def test_large_maps_are_read_in_interleaved_parts(
    size: tuple[int, int], k: int, count: int
) -> None:
    """Each part has every k-th latent, and no latent is in two parts."""
    numbers = torch.arange(size[0] * size[1]).reshape(1, *size, 1)
    parts = interleaved(numbers, 14)
    assert len(parts) == count
    for part in parts:
        rows, columns = part[0, :, 0, 0] // size[1], part[0, 0, :, 0] % size[1]
        for places, length in ((rows, size[0]), (columns, size[1])):
            assert bool((places.diff() == min(k, length)).all())
            assert len(places) >= length // min(k, length)
    seen = torch.cat([part.flatten() for part in parts])
    assert len(seen.unique()) == len(seen)


@pytest.mark.parametrize("size", [(1, 4096), (5, 60000), (62500, 1), (250, 250), (99, 1000)])
def test_the_work_of_classifying_is_bounded(size: tuple[int, int]) -> None:
    for part in interleaved(torch.zeros(1, *size, 1), 14):
        assert 100 <= part.numel() <= 1.1 * LONGEST * 14 * 14


def test_probabilities_are_the_mean_over_the_parts() -> None:
    torch.manual_seed(0)
    vit = ViT(8, ViTConfig(C=16, L=1, heads=2, grid=4), 3).eval()
    torch.nn.init.normal_(vit.head.weight)
    y = torch.randn(16, 16, 8)
    parts = torch.stack([y[i::4, j::4] for i in (1, 3) for j in (1, 3)])
    expected = vit(parts).softmax(1).mean(0)
    torch.testing.assert_close(Classifier(vit, ("a", "b", "c")).probabilities(y), expected)


def test_no_patches_of_long_images_are_left_out() -> None:
    """The image is shrunk before it is cut into patches, so that all patches can be read."""
    vit = ViT(768, ViTConfig(C=16, L=1, heads=2, grid=14), 2).eval()
    read: list[tuple[int, ...]] = []
    vit.embed.register_forward_hook(lambda m, x, y: read.append(tuple(x[0].shape)))
    for size in ((500, 4100), (60, 1000), (224, 224), (1, 30)):
        PixelClassifier(vit, ("a", "b")).of_pixels(make_pixels(*size), 1)
    assert read[0][1:3] == (14, 113)
    assert read[2][1:3] == (14, 14)
    assert all(h * w <= 1.2 * LONGEST * 14 * 14 for _, h, w, _ in read)


def test_a_classifier_whose_weights_are_nan_gives_an_error() -> None:
    vit = ViT(8, ViTConfig(C=16, L=1, heads=2, grid=4), 2).eval()
    torch.nn.init.constant_(vit.head.weight, float("nan"))
    with pytest.raises(BadInputError, match="not finite"):
        Classifier(vit, ("a", "b"))(torch.zeros(4, 4, 8), 1)


@pytest.mark.parametrize("labels", [[1, 2], "abc", None])
def test_labels_are_names(labels: object) -> None:
    with pytest.raises(ValueError, match="labels must be a list of names"):
        HeadConfig.from_dict({"stem": "pixels", "channels": 768, "vit": {}, "labels": labels})
