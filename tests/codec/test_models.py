"""The networks: the paper's parameter counts, any image size, the fast path against the modules."""

from __future__ import annotations

import pytest
import torch

from ticodec.models.attention import shift_regions
from ticodec.models.codec_network import Gains
from ticodec.models.config import PAPER_LAMBDAS, ModelConfig
from ticodec.models.families import preset
from ticodec.models.inference import Transform, fast_bf16
from ticodec.models.swin import pad_to_multiple, partition, relative_index, unpartition
from ticodec.models.tic import Network

PLAIN = {"activation": "none", "hyper_activation": "none"}


@pytest.mark.parametrize(
    ("name", "changes", "millions"),
    [
        # Published counts are without GDN and gains, but with compressai's factorized prior. It
        # has 61 numbers per channel, because it has quantiles and one layer more than ours.
        ("tic-low", PLAIN, 7.81),
        ("tic-low", {"N": 192, **PLAIN}, 14.79),
        ("tic-high", PLAIN, 18.55),
        ("tic-plus-low", PLAIN, 10.23),
        ("tic-plus-high", PLAIN, 23.92),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, changes: dict, millions: float) -> None:
    network = Network(preset(name, **changes))
    parts = (network.g_a, network.g_s, network.h_a, network.h_s, network.cam, network.head)
    count = 61 * network.config.N + sum(p.numel() for part in parts for p in part.parameters())
    assert round(count / 1e6, 2) == millions


def test_gdn_is_in_presets_as_in_the_paper_and_changes_the_count() -> None:
    plain = sum(p.numel() for p in Network(preset("tic-low", **PLAIN)).parameters())
    paper = sum(p.numel() for p in Network(preset("tic-low")).parameters())
    assert paper - plain == 6 * (128 * 128 + 128)


@pytest.mark.parametrize("fields", [{"N": 100}, {"activation": "tanh"}, {"lambdas": (0.0,)}])
def test_impossible_dimensions_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"channels|activation|lambdas"):
        ModelConfig("tic", **fields)


def test_config_survives_its_own_json() -> None:
    config = preset("tic-plus-low", N=192)
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown model dimensions"):
        ModelConfig.from_dict({**config.to_dict(), "surprise": 1})


def test_windows_round_trip_and_regions_match_the_roll() -> None:
    x = torch.arange(2 * 8 * 16 * 3).reshape(2, 8, 16, 3)
    assert torch.equal(unpartition(partition(x, 4), 4, 8, 16), x)
    # Two tokens of a rolled window may see each other if they were neighbours before.
    h = w = 8
    at = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1)[None]
    rolled = partition(at.roll((-2, -2), (1, 2)), 4)  # original positions, (nW, T, 2)
    near = (rolled[:, :, None] - rolled[:, None]).abs().amax(-1) < 4
    regions = shift_regions(h, w, 4)
    assert torch.equal(regions[:, :, None] == regions[:, None], near)


@pytest.mark.parametrize("name", ["tic", "tic-plus", "tic-lite"])
@pytest.mark.parametrize("size", [(64, 64), (128, 192)])
def test_strips_equal_the_modules(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    config = preset(name, N=16, M=16, heads=(2, 4, 8), hyper_heads=(4, 4))
    network = Network(config).eval()
    for block in network.modules():  # random biases, so that the shift mask matters
        if hasattr(block, "bias_table"):
            torch.nn.init.normal_(block.bias_table, std=2.0)
    x = torch.randn(1, *size, 3)
    with torch.inference_mode():
        y = network.g_a(x)
        checks = [(network.g_a, x), (network.h_a, y), (network.g_s, y)]
        for module, value in checks:
            expected = module(value)
            fast = Transform(module, torch.device("cpu"), torch.float32)
            torch.testing.assert_close(fast(value), expected, rtol=1e-5, atol=1e-5)


def test_a_network_on_the_meta_device_does_not_affect_others() -> None:
    """Tensors that networks share are on the CPU, even if the first network is not."""
    relative_index.cache_clear()
    shift_regions.cache_clear()
    with torch.device("meta"):
        Network(preset("tic-lite", N=16, M=16, cam_heads=4))
        assert shift_regions(16, 16, 8).device.type == "cpu"
    Network(preset("tic-lite", N=16, M=16, cam_heads=4)).to("cpu")


@pytest.mark.parametrize("instructions", [True, False])
@pytest.mark.parametrize("capability", ["AVX512", "AVX2", "NO AVX"])
def test_bf16_is_used_if_it_is_not_emulated(
    instructions: bool, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 is used on CPUs with its instructions, unless PyTorch is set not to use them."""
    monkeypatch.delenv("TICODEC_BF16")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    cpu = torch.device("cpu")
    assert fast_bf16(cpu) == (instructions and capability == "AVX512")
    for forced in (True, False):
        monkeypatch.setenv("TICODEC_BF16", str(int(forced)))
        assert fast_bf16(cpu) == forced


def test_transforms_do_not_change_their_input() -> None:
    network = Network(preset("tic-lite")).eval()
    fast = Transform(network.g_s, torch.device("cpu"), torch.float32)
    y = torch.randn(1, 4, 4, 128)
    before = y.clone()
    first = fast(y)
    assert torch.equal(y, before)
    assert torch.equal(fast(y), first)


def test_maps_are_padded_by_their_edge() -> None:
    x = torch.rand(1, 1, 65, 3)
    padded = pad_to_multiple(x, 64)
    assert padded.shape == (1, 64, 128, 3)
    assert torch.equal(padded[0, :, :65], x[0].expand(64, 65, 3))
    assert torch.equal(padded[0, 5, 100], x[0, 0, 64])
    assert pad_to_multiple(padded, 64) is padded


def test_gains_are_log_linear_between_levels_and_inverse_at_first() -> None:
    gains = Gains(PAPER_LAMBDAS, 128)
    up, down = gains(torch.tensor([2.0, 2.5, 3.0]))
    torch.testing.assert_close(up * down, torch.ones_like(up))
    torch.testing.assert_close(up[1] ** 2, up[0] * up[2])
    assert (up[2] > up[0]).all()


def test_one_fixed_lambda_has_no_gains() -> None:
    network = Network(preset("tic-lite", lambdas=(0.0067,)))
    assert network.gains is None
    up, down = network.scaling(torch.zeros(2))
    assert torch.equal(up * down, torch.ones(2, 1, 1, 1))


@pytest.mark.parametrize("name", ["tic", "tic-lite"])
def test_every_parameter_is_trained(name: str) -> None:
    torch.manual_seed(0)
    config = preset(name, N=16, M=16, heads=(2, 4, 8), hyper_heads=(4, 4), cam_heads=4)
    network = Network(config)
    output = network(torch.rand(2, 64, 64, 3), torch.tensor([0.5, 6.5]))
    (output.bits_y.sum() + output.bits_z.sum() + output.x_hat.square().sum()).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
