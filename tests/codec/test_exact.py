"""Compares integer layers with float layers, and checks the bound that makes them exact."""

from __future__ import annotations

import pytest
import torch

from ticodec.entropy.exact import GELU_BITS, NORM_BITS, PROBABILITY_BITS, SCORE_BITS, Fixed
from ticodec.entropy.tic_hyper import gather, hyper_synthesis, insert_zeros
from ticodec.errors import TicodecError
from ticodec.models.conv import Conv
from ticodec.models.families import preset
from ticodec.models.tic import Network
from ticodec.training.export import tables
from ticodec.training.export.compile import CompilingOps
from ticodec.training.export.compile_tic import float_layers


@pytest.fixture
def ops() -> CompilingOps:
    return CompilingOps({}, {"exp": tables.exp_table(), "gelu": tables.gelu_table()})


def real(x: Fixed) -> torch.Tensor:
    return x.ints * 2.0**-x.frac


def test_linear_is_close_and_on_its_grid(ops: CompilingOps) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 40, dtype=torch.float64) / 5, torch.randn(24).double()
    ops.floats["layer"] = (weight, bias)
    x = Fixed(torch.randint(-30_000, 30_000, (5, 7, 40)).double(), 12)
    y = ops.linear("layer", x)
    assert torch.equal(y.ints, y.ints.round())
    assert y.ints.abs().max() <= 2**15 - 1
    expected = real(x) @ weight.t() + bias
    assert (real(y) - expected).abs().max() < 3 * 2.0**-y.frac
    y2 = ops.linear("layer", Fixed(x.ints * 8, 12))
    assert y2.ints.abs().max() == 2**15 - 1, "values beyond the calibration are clamped"


def test_norm_is_layer_norm(ops: CompilingOps) -> None:
    x = Fixed((torch.randn(50, 96) * 40_000).round().double(), 13)
    expected = torch.nn.functional.layer_norm(real(x), (96,))
    got = ops.norm(x)
    assert got.frac == NORM_BITS
    assert (real(got) - expected).abs().max() <= 2.0 ** -(NORM_BITS + 1) + 1e-9


def test_norm_of_equal_tokens_is_zero(ops: CompilingOps) -> None:
    for value in (0.0, 5.0, -(2.0**18) + 1):
        assert not ops.norm(Fixed(torch.full((1, 320), value).double(), 8)).ints.any()


def test_norm_is_exact_at_its_largest_input(ops: CompilingOps) -> None:
    """C·Σx² - (Σx)² at 19 bits and 320 channels stays below 2⁵³. It equals that of big integers."""
    torch.manual_seed(1)
    x = torch.where(torch.rand(320) < 0.5, 2.0**18 - 1, 1 - 2.0**18).double()
    numbers = [int(v) for v in x]
    variance = 320 * sum(v * v for v in numbers) - sum(numbers) ** 2
    assert variance < 2**53
    got = 320 * (x * x).sum() - x.sum() ** 2
    assert int(got) == variance


def test_norm_refuses_too_many_channels_to_be_exact(ops: CompilingOps) -> None:
    ops.norm(Fixed(torch.ones(1, 320).double(), 8))
    with pytest.raises(ValueError, match="512 channels are too many"):
        ops.norm(Fixed(torch.ones(1, 512).double(), 8))


def test_softmax_is_softmax(ops: CompilingOps) -> None:
    scores = (torch.randn(200, 25) * 3 * 2**SCORE_BITS).round().double()
    got = ops.softmax(scores) * 2.0**-PROBABILITY_BITS
    expected = (scores * 2.0**-SCORE_BITS).softmax(-1)
    assert (got - expected).abs().max() < 1e-4


@pytest.mark.parametrize("frac", [5, 9, GELU_BITS])
def test_gelu_is_gelu(ops: CompilingOps, frac: int) -> None:
    x = Fixed(torch.arange(-20 * 2**frac, 20 * 2**frac).double(), frac)
    expected = torch.nn.functional.gelu(real(x))
    assert (real(ops.gelu(x)) - expected).abs().max() <= 2.0 ** -(frac + 1) + 2.0**-15


def test_leaky_relu(ops: CompilingOps) -> None:
    x = Fixed(torch.arange(-5000.0, 5000.0).double(), 10)
    expected = torch.nn.functional.leaky_relu(x.ints, 0.01)
    assert (ops.leaky_relu(x).ints - expected).abs().max() <= 0.55


@pytest.mark.parametrize("up", [False, True])
def test_gathered_convolution_is_the_convolution(up: bool) -> None:
    from ticodec.training.export.compile import conv_affine

    conv = Conv(5, 7, 3, 2 if up else 1, up=up).double()
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    weight, bias = conv_affine(conv)
    gathered = gather(insert_zeros(x) if up else x, 3) @ weight.t() + bias
    torch.testing.assert_close(gathered, conv(x))


@pytest.mark.parametrize("activation", ["none", "leaky_relu"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 6)])
def test_hyper_synthesis_is_h_s(activation: str, size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    config = preset("tic-lite", N=32, M=32, hyper_activation=activation)
    network = Network(config).eval()
    for parameter in network.h_s.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    z = (torch.randn(1, *size, 32) * 4).round()
    layers, biases = float_layers(network)
    shared = {"exp": tables.exp_table(), "gelu": tables.gelu_table()}
    with torch.no_grad():
        got = real(hyper_synthesis(CompilingOps(layers, {**shared, **biases}), config, z))
        expected = network.h_s(z).double()
    # Rounding to 16 bits at every layer changes about a thousandth of the signal.
    assert (got - expected).pow(2).mean().sqrt() < 2e-3 * expected.pow(2).mean().sqrt()


def test_export_refuses_if_a_sum_could_reach_2_to_53(ops: CompilingOps) -> None:
    ops.floats["wide"] = (torch.ones(1, 2**22).double(), torch.zeros(1).double())
    with pytest.raises(TicodecError, match=r"reach 2\^53"):
        ops.linear("wide", Fixed(torch.ones(1, 2**22).double(), 0), frac=0)


def test_frequencies_are_positive_and_have_the_right_sum() -> None:
    made = tables.gaussian_tables()
    halves, frequencies = made["halves"].tolist(), made["frequencies"]
    assert len(halves) == len(tables.scale_grid()) == 92
    start = 0
    for half in halves:
        part = frequencies[start : start + 2 * half + 1]
        start += len(part)
        assert part.min() >= 1
        assert part.sum() == 65536
        assert (part - part.flip(0)).abs().max() <= 1, "a gaussian is symmetric"
    assert start == len(frequencies)
