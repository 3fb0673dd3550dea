"""h_s in C equals the torch path bit for bit, and any weights are safe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import INSTRUCTIONS, output_after_ctrl_c

from ticodec import weights
from ticodec.codec import Codec
from ticodec.entropy import native
from ticodec.entropy.coder import EntropyCoder
from ticodec.entropy.exact import WIDE, Ops
from ticodec.entropy.native.hyper import MASKED, NativeHyper, _biases
from ticodec.entropy.tic_hyper import hidden
from ticodec.models.config import ModelConfig
from ticodec.models.families import build, preset
from ticodec.training.export.weights_file import compile_entropy

pytestmark = pytest.mark.skipif(not native.active(), reason="the C extension is not built here")

#: Networks whose sizes do or do not fill blocks of 16. Windows of one token and of the most tokens.
TOYS: dict[str, dict[str, Any]] = {
    "narrow": {"N": 24, "hyper_heads": (3, 4), "hyper_activation": "leaky_relu"},
    "odd": {"N": 25, "hyper_heads": (5, 1)},
    "many heads": {"N": 40, "hyper_heads": (20, 40), "hyper_depths": (3, 1)},
    "odd window": {"N": 16, "hyper_window": 3, "hyper_heads": (4, 2), "mlp_ratio": 3},
    "largest window": {"N": 16, "hyper_window": 8, "hyper_heads": (16, 2)},
    "no window": {"N": 16, "hyper_window": 1, "hyper_heads": (2, 4)},
    "no layers": {"N": 16, "hyper_depths": (0, 2), "hyper_heads": (16, 16)},
}


@cache
def network(name: str) -> tuple[Ops, ModelConfig]:
    """Integer layers of one of TOYS with random weights, or of a shipped or trained network."""
    if name not in TOYS:
        coder = Codec(weights.find(name), "cpu", bf16=False).entropy
        return coder.ops, coder.config
    config = preset("tic-lite", M=16, cam_heads=4, heads=(1, 1, 1), **TOYS[name])
    torch.manual_seed(len(name))
    random = build(config).eval()
    with torch.no_grad():
        for key, value in random.h_s.named_parameters():
            if "bias_table" in key or "qkv.weight" in key:
                torch.nn.init.normal_(value, std=0.5)
            elif "norm" in key or "bias" in key:
                value += 0.2 * torch.randn_like(value)
    z = torch.randn(1, 3, 5, config.N) * 4
    parameters = compile_entropy(random, torch.randn(1, 12, 20, config.M), z)
    return Ops(parameters, torch.device("cpu")), config


@contextmanager
def threads(count: int) -> Iterator[None]:
    kept = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(kept)


def extension() -> ModuleType:
    module = native.module()
    assert module is not None
    return module


@cache
def in_c(name: str, instructions: str) -> NativeHyper:
    return NativeHyper(extension(), *network(name), instructions)


def symbols(size: tuple[int, int], channels: int, seed: int, spread: float) -> torch.Tensor:
    """Random ẑ of this size. Some values are far outside the usual range."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(*size, channels, generator=generator) * spread
    far = torch.rand(z.shape, generator=generator) < 0.002
    return torch.where(far, z * 50000, z).round().long()


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("name", ["tic-lite", "tiny", *TOYS])
@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.0, 1.0, 10.0, 3000.0]),
    count=st.integers(1, 3),
)
def test_numbers_equal_those_of_torch(
    name: str, instructions: str, size: tuple[int, int], seed: int, spread: float, count: int
) -> None:
    ours, (ops, config) = in_c(name, instructions), network(name)
    z = symbols(size, config.N, seed, spread)
    expected = hidden(ops, config, z[None]).ints.flatten(0, 2)
    with threads(count):
        found = ours.run(z)
    assert found.dtype == torch.float32
    assert torch.equal(found.double(), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (23, 31)])
def test_numbers_of_longer_maps_equal_those_of_torch(size: tuple[int, int]) -> None:
    ops, config = network("narrow")
    z = symbols(size, config.N, 1, 5.0)
    with threads(2):
        found = NativeHyper(extension(), ops, config).run(z)
    assert torch.equal(found.double(), hidden(ops, config, z[None]).ints.flatten(0, 2))


def test_the_coder_uses_the_extension() -> None:
    config = network("tic-lite")[1]
    latents = Codec(weights.find("tic-lite"), "cpu", bf16=False).entropy.latents
    assert isinstance(latents.native_hyper, NativeHyper)
    z = symbols((2, 3), config.N, 3, 3.0)
    found = latents.hidden(z)
    latents.native_hyper = None
    assert torch.equal(found, latents.hidden(z))


def test_pairs_that_the_roll_made_adjacent_are_masked() -> None:
    """In all windows at an edge, a pair that is adjacent only because of the roll is masked."""
    bias = np.arange(2 * 16 * 16).reshape(2, 16, 16)
    plain, shifted = (_biases(bias, 4, shifted) for shifted in (False, True))
    assert plain.shape == (1, 1, 16, 16, 16)
    assert shifted.shape == (4, 1, 16, 16, 16)
    assert np.array_equal(plain[0], shifted[0])
    assert [int((pattern == MASKED).any()) for pattern in shifted] == [0, 1, 1, 1]
    kept = shifted != MASKED
    assert np.array_equal(shifted[kept], np.broadcast_to(plain, shifted.shape)[kept])


def test_weights_with_large_scores_run_in_torch() -> None:
    ops, config = network("narrow")
    changed = {**ops.parameters, "h_s.stb0.1.qkv.frac": torch.tensor(2, dtype=torch.int16)}
    assert NativeHyper.of(extension(), Ops(changed, ops.device), config) is None


@pytest.mark.parametrize("layer", ["stb0.0.proj", "stb1.1.mlp2"])
def test_weights_with_residuals_on_other_grids_are_refused(layer: str) -> None:
    ops, config = network("narrow")
    changed = {**ops.parameters, f"h_s.{layer}.frac": torch.tensor(3, dtype=torch.int16)}
    with pytest.raises(ValueError, match="another grid"):
        NativeHyper(extension(), Ops(changed, ops.device), config)


@pytest.mark.parametrize("changes", [{"hyper_window": 9}, {"N": 368, "hyper_heads": (16, 16)}])
def test_sizes_that_the_extension_does_not_support_run_in_torch(changes: dict[str, Any]) -> None:
    ops, config = network("narrow")
    assert NativeHyper.of(extension(), ops, replace(config, **changes)) is None


def test_random_weights_do_no_harm() -> None:
    """With any weights the extension stays within its arrays, and returns."""
    ops, config = network("narrow")
    z = symbols((2, 3), config.N, 1, 3.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        parameters = dict(ops.parameters)
        for name, tensor in parameters.items():
            if name.startswith("h_s.") and not name.endswith("frac"):
                most = 40 if name.endswith("exponent") else 2**15
                chance = torch.randint(-most, most, tensor.shape, generator=generator)
                parameters[name] = chance.to(tensor.dtype)
        ours = NativeHyper.of(extension(), Ops(parameters, ops.device), config)
        assert ours is not None
        assert ours.run(z).abs().max() <= WIDE


def test_arrays_that_do_not_fit_are_refused() -> None:
    ours = in_c("narrow", "plain")
    n = ours.config.N
    z, out = np.zeros(6 * n, np.int16), np.zeros(96 * n, np.float32)
    job = extension().synthesis
    job(ours.weights, (2, 3), z, out, 1)
    for size in [(2, 2), (3, 3)]:
        with pytest.raises(BufferError):
            job(ours.weights, size, z, out, 1)
    for size in [(0, 3), (-2, -3), (2**62, 2)]:
        with pytest.raises(TypeError):
            job(ours.weights, size, z, out, 1)
    with pytest.raises(BufferError):
        job(ours.weights, (2, 3), z.astype(np.int32), out, 1)
    with pytest.raises(BufferError):
        job(ours.weights, (2, 3), z, out[1:], 1)
    for count in (0, 2000):
        with pytest.raises(TypeError):
            job(ours.weights, (2, 3), z, out, count)
    with pytest.raises(ValueError, match="PyCapsule"):
        job(job, (2, 3), z, out, 1)


def test_threads_may_run_h_s_at_the_same_time() -> None:
    ours = in_c("narrow", "plain")
    maps = [symbols((3, 4), ours.config.N, seed, 3.0) for seed in range(4)]
    expected = [ours.run(z) for z in maps]
    found: list[torch.Tensor | None] = [None] * 4

    def work(number: int) -> None:
        found[number] = ours.run(maps[number])

    with threads(2):
        workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert torch.equal(one, other)


def test_ctrl_c_ends_a_long_run() -> None:
    """A map that takes seconds ends at once, and no thread is left."""
    program = """
        import threading, time, torch
        from ticodec import weights
        from ticodec.codec import Codec
        hyper = Codec(weights.find("tic-lite"), "cpu", bf16=False).entropy.latents.native_hyper
        torch.set_num_threads(2)
        z = torch.zeros(150, 150, 96)
        print("ready", flush=True)
        try:
            hyper.run(z)
        except KeyboardInterrupt:
            print("interrupted", threading.active_count(), flush=True)
    """
    assert output_after_ctrl_c(program) == "interrupted 1\n"


def test_a_coder_of_damaged_weights_runs_in_torch() -> None:
    """If the extension refuses the weights, the coder does not use it."""
    ops, config = network("tic-lite")
    parameters = {**ops.parameters, "h_s.stb0.1.qkv.frac": torch.tensor(0, dtype=torch.int16)}
    assert EntropyCoder(config, parameters, ops.device).latents.native_hyper is None
