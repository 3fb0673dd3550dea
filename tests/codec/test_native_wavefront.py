"""The wavefront in C equals the torch path bit for bit, and any bytes are safe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import INSTRUCTIONS, output_after_ctrl_c

from ticodec import weights
from ticodec.codec import Codec
from ticodec.entropy import native
from ticodec.entropy.coder import SYMBOL_MAX, Coded, Encoding, EntropyCoder, Streams, Symbols
from ticodec.entropy.exact import WIDE
from ticodec.entropy.native.wavefront import NativeWavefront, head_lanes
from ticodec.entropy.rounding import MAGNITUDES, Rounding, savings_of
from ticodec.entropy.tic_context import MEAN_BITS
from ticodec.errors import BadInputError
from ticodec.models.families import build, config_from, preset
from ticodec.training.export.weights_file import compile_entropy

pytestmark = pytest.mark.skipif(not native.active(), reason="the C extension is not built here")

#: Widths and heads that do or do not fill blocks of 16, an odd width, and more heads than lanes.
SHAPES = {
    "lite": None,
    "15 by 5": (15, 5),
    "24 by 3": (24, 3),
    "40 by 20": (40, 20),
    "48 by 16": (48, 16),
}


@cache
def coder(shape: str) -> EntropyCoder:
    """An entropy coder with random weights of this shape, or with those of tic-lite."""
    if shape == "lite":
        return Codec(weights.find("tic-lite"), "cpu", bf16=False).entropy
    m, heads = SHAPES[shape]
    torch.manual_seed(m)
    config = preset("tic-lite", N=32, M=m, cam_heads=heads)
    network = build(config).eval()
    with torch.no_grad():
        torch.nn.init.normal_(network.cam.bias_table)
        torch.nn.init.normal_(network.cam.qkv.weight, std=0.3)
    y, z = latents(config, 2, 3, 9, 4.0)
    parameters = compile_entropy(network, y[None].float(), z[None].float())
    return EntropyCoder(config, parameters, torch.device("cpu"))


def latents(config, height: int, width: int, seed: int, spread: float):
    """Random y (4·height, 4·width, M) and z (height, width, N). Some values are far outside the
    usual range."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(4 * height, 4 * width, config.M, generator=generator) * spread
    far = torch.rand(y.shape, generator=generator) < 0.002
    y = torch.where(far, y * 5000, y)
    return y, torch.randn(height, width, config.N, generator=generator) * 2


@contextmanager
def path(of: EntropyCoder, instructions: str | None, threads: int = 1) -> Iterator[EntropyCoder]:
    """Let a coder run in C with these instructions, or in torch if they are None."""
    kept, count = of.latents.native, torch.get_num_threads()
    of.latents.native = None
    if instructions:
        context = of.latents.context
        of.latents.native = NativeWavefront(native.module(), context, of.thresholds, instructions)
    torch.set_num_threads(threads)
    try:
        yield of
    finally:
        of.latents.native = kept
        torch.set_num_threads(count)


sizes = st.tuples(st.integers(1, 4), st.integers(1, 5))


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=6, deadline=None)
@given(
    shapes=st.lists(sizes, min_size=1, max_size=3),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.1, 3.0, 200.0]),
    threads=st.integers(1, 3),
)
def test_streams_and_latents_equal_those_of_torch(
    shape: str, instructions: str, shapes: list[tuple[int, int]], seed: int, spread: float,
    threads: int,
) -> None:  # fmt: skip
    of = coder(shape)
    images = [latents(of.config, *size, seed + i, spread) for i, size in enumerate(shapes)]
    with path(of, None):
        expected = of.encode_many(images)
    streams = [
        Streams(coded.z_stream, coded.y_stream, *size)
        for coded, size in zip(expected, shapes, strict=True)
    ]
    with path(of, None):
        decoded = of.decode_many(streams)
    with path(of, instructions, threads):
        assert of.encode_many(images) == expected
        for ours, theirs in zip(of.decode_many(streams), decoded, strict=True):
            assert ours.symbols == theirs.symbols
            assert torch.equal(ours.y_hat, theirs.y_hat)


@settings(max_examples=6, deadline=None)
@given(
    shapes=st.lists(st.tuples(sizes, st.booleans()), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    spread=st.sampled_from([3.0, 30.0]),
    threads=st.integers(1, 3),
)
def test_rounding_equals_that_of_torch(
    shapes: list[tuple[tuple[int, int], bool]], seed: int, spread: float, threads: int
) -> None:
    """Several maps are coded together, some with rounding that counts bits."""
    of = coder("15 by 5")
    images = [latents(of.config, *size, seed + i, spread) for i, (size, _) in enumerate(shapes)]
    errors = np.random.default_rng(seed).uniform(0, 20, of.config.M).astype(np.float32)
    rounding = Rounding(errors, savings_of(of.y_tables))
    roundings = [rounding if counts else None for _, counts in shapes]

    def encodings() -> list[Encoding]:
        pairs = zip(images, roundings, strict=True)
        return [Encoding(of, *image, how) for image, how in pairs]

    with path(of, None):
        expected = encodings()
        y_hats = [of.run([encoding])[0] for encoding in expected]
    with path(of, "plain", threads):
        found = encodings()
        for ours, theirs in zip(of.run(found), y_hats, strict=True):
            assert torch.equal(ours, theirs)
    coded = [encoding.finish() for encoding in expected]
    assert [encoding.finish() for encoding in found] == coded
    for one, nearest, how in zip(coded, of.encode_many(images), roundings, strict=True):
        assert (one == nearest) == (how is None), "some steps are taken"


def outcome(of: EntropyCoder, streams: Streams) -> Symbols | str:
    """The symbols of streams, or the error with which they are refused."""
    try:
        return of.decode(*streams).symbols
    except BadInputError as error:
        return str(error)


@settings(max_examples=25, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4),
    keep=st.floats(0, 1),
)
def test_damaged_streams_end_the_same_way(damage: list[tuple[int, int]], keep: float) -> None:
    of = coder("24 by 3")
    coded = whole()
    data = bytearray(coded.y_stream[: int(keep * len(coded.y_stream))] or b"\0")
    for place, change in damage:
        data[place % len(data)] ^= change
    streams = Streams(coded.z_stream, bytes(data), 2, 3)
    with path(of, None):
        expected = outcome(of, streams)
    with path(of, "plain", 2):
        assert outcome(of, streams) == expected


@cache
def whole() -> Coded:
    """Undamaged streams of a map of 8 × 12 with many outliers."""
    of = coder("24 by 3")
    return of.encode(*latents(of.config, 2, 3, 1, 300.0))


def test_an_impossible_escape_is_refused_by_both() -> None:
    """In a stream of nothing but ones all digits are 15, so an escape announces 15 digits."""
    of = coder("24 by 3")
    seen = set()
    for instructions in (None, "plain"):
        for fill in range(1, 256, 23):
            streams = Streams(whole().z_stream, bytes([fill]) * 3000, 2, 3)
            with path(of, instructions):
                if isinstance(result := outcome(of, streams), str):
                    seen.add((instructions, result))
    message = "damaged file: impossible symbol in an entropy stream"
    assert seen == {(None, message), ("plain", message)}


def test_latents_that_are_nan_do_no_harm() -> None:
    of = coder("24 by 3")
    y, z = latents(of.config, 1, 1, 1, 3.0)
    with path(of, "plain"):
        encoding = Encoding(of, y, z)
        for position, value in [(0, "nan"), (5, "inf"), (10, "-inf")]:
            encoding.flat[position] = float(value)
        of.run([encoding])
        coded = encoding.finish()
        assert of.decode(coded.z_stream, coded.y_stream, 1, 1).symbols == coded.symbols


def test_random_weights_do_no_harm() -> None:
    """With any weights the extension stays within its arrays, and returns."""
    of = coder("24 by 3")
    y, z = latents(of.config, 2, 3, 1, 3.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        parameters = dict(of.ops.parameters)
        for name, tensor in parameters.items():
            if name.startswith(("cam.", "head.")) and not name.endswith("frac"):
                most = 40 if name.endswith("exponent") else 2**15
                chance = torch.randint(-most, most, tensor.shape, generator=generator)
                parameters[name] = chance.to(tensor.dtype)
        parameters["head.context.bias"].zero_()
        other = EntropyCoder(of.config, parameters, torch.device("cpu"))
        assert other.latents.native is not None
        other.encode(y, z)


def test_weights_with_a_bias_that_torch_leaves_out_run_in_torch() -> None:
    of = coder("24 by 3")
    bias = torch.ones_like(of.ops.parameters["head.context.bias"])
    parameters = {**of.ops.parameters, "head.context.bias": bias}
    assert EntropyCoder(of.config, parameters, torch.device("cpu")).latents.native is None


def test_layers_that_do_not_fit_are_refused_when_weights_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every array of the exact path is tried with a row more, with a row less, and missing."""
    entry = weights.find("tiny")
    fields, tensors = weights.read(entry)
    exact = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("exact.")}
    names = [
        name
        for name, tensor in exact.items()
        if name.startswith(("cam", "head", "h_s", "exp", "gelu")) and tensor.ndim
    ]
    assert len(names) > 20
    refused = (BadInputError, ValueError, LookupError, RuntimeError, BufferError)
    config = config_from(fields)
    for name in names:
        whole = exact[name]
        without = {key: value for key, value in exact.items() if key != name}
        longer, shorter = torch.cat([whole, whole[:1]]), whole[:-1]
        for damaged in ({**exact, name: longer}, {**exact, name: shorter}, without):
            with pytest.raises(refused):
                EntropyCoder(config, damaged, torch.device("cpu"))
    damaged = {**tensors, "exact.cam.mlp1.weight": tensors["exact.cam.mlp1.weight"][:-1]}
    monkeypatch.setattr(weights, "read", lambda _: (fields, damaged))
    with pytest.raises(BadInputError, match="not weights of this ticodec"):
        Codec(entry, "cpu", bf16=False)


def test_stored_numbers_fit_float32() -> None:
    """Numbers of h_s, latents and ŷ are stored as float32, which holds integers up to 2^24."""
    assert WIDE <= 2**24
    assert (SYMBOL_MAX << MEAN_BITS) + WIDE <= 2**24


@pytest.mark.parametrize("native", [None, "plain"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_latents_are_decoded(native: str | None, sign: int) -> None:
    """Symbols are at their limit, and means have eight bits after the point."""
    of = coder("24 by 3")
    y, z = torch.full((4, 4, 24), sign * 3e9), torch.zeros(1, 1, of.config.N)
    with path(of, native):
        encoding = Encoding(of, y, z)
        (y_hat,) = of.run([encoding])
        coded = encoding.finish()
        decoded = of.decode(coded.z_stream, coded.y_stream, 1, 1)
    assert torch.equal(decoded.y_hat.flatten(0, 1), y_hat)
    symbols = torch.frombuffer(bytearray(coded.symbols.y), dtype=torch.int16)
    assert (symbols == sign * SYMBOL_MAX).all()
    means = y_hat.double() - sign * SYMBOL_MAX
    assert torch.equal(means * 2**MEAN_BITS, (means * 2**MEAN_BITS).round())
    assert len(means.unique()) > 8


def test_every_output_of_qkv_has_one_lane() -> None:
    for channels, heads in [(128, 16), (24, 3), (40, 20)]:
        order = head_lanes(channels, heads)
        assert len(order) % (3 * 16) == 0
        assert sorted(order[order >= 0]) == list(range(3 * channels))


def test_threads_may_code_at_the_same_time() -> None:
    of = coder("48 by 16")
    images = [latents(of.config, 2, 3, seed, 3.0) for seed in range(4)]
    with path(of, None):
        expected = [of.encode(*image) for image in images]
    coded: list[Coded | None] = [None] * 4

    def work(number: int) -> None:
        coded[number] = of.encode(*images[number])

    with path(of, "plain", 2):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert coded == expected


def test_ctrl_c_ends_a_long_run() -> None:
    """A map that takes minutes ends within a second by KeyboardInterrupt. No thread is left."""
    program = """
        import threading, sys, torch
        from ticodec import weights
        from ticodec.codec import Codec
        coder = Codec(weights.find("tic-lite"), "cpu", bf16=False).entropy
        wavefront, config = coder.latents.native, coder.config
        from ticodec.entropy.coder import Encoding
        from ticodec.entropy.native.wavefront import NativeMap
        torch.set_num_threads(2)
        encoding = Encoding(coder, torch.zeros(400, 600, config.M), torch.zeros(100, 150, config.N))
        hidden = torch.zeros(400 * 600, config.N)
        print("ready", flush=True)
        try:
            wavefront.run([NativeMap(hidden, 400, 600, encoding.native(), None)])
        except KeyboardInterrupt:
            print("interrupted", threading.active_count(), flush=True)
    """
    assert output_after_ctrl_c(program) == "interrupted 1\n"


def test_coding_works_if_threads_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    of = coder("24 by 3")
    image = latents(of.config, 2, 3, 1, 3.0)
    start, started = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with path(of, "plain", 4):
        expected = of.encode(*image)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert of.encode(*image) == expected


def test_a_disbanded_team_does_not_wait_for_ever() -> None:
    module, of = native.module(), coder("24 by 3")
    job = module.wavefront(of.latents.native.network, (), 2)
    waiting = threading.Thread(target=module.run, args=(job, 1))
    waiting.start()
    module.disband(job)
    waiting.join(10)
    assert not waiting.is_alive()


def test_arguments_are_checked() -> None:
    module, of = native.module(), coder("24 by 3")
    network = of.latents.native.network
    m, n = of.config.M, of.config.N
    good = {
        "height": 2, "width": 3, "hidden": np.zeros((6, n), np.float32), "y": None,
        "rounding": None, "coder": module.reader(b"", 6 * m), "tables": of.y_tables.native,
        "symbols": np.zeros((6, m), np.int16), "y_hat": np.zeros((6, m), np.float32),
    }  # fmt: skip
    module.run(module.wavefront(network, (tuple(good.values()),), 1), 0)
    bad = {
        "height": 0, "width": 2**40, "hidden": np.zeros((6, n)), "y": np.zeros(5, np.float32),
        "rounding": 1, "coder": of.y_tables.native, "tables": of.z_tables.native,
        "symbols": np.zeros((6, m), np.int32), "y_hat": np.zeros((5, m), np.float32),
    }  # fmt: skip
    for name, value in bad.items():
        with pytest.raises((TypeError, ValueError, BufferError)):
            module.wavefront(network, (tuple({**good, name: value}.values()),), 1)
    tables = len(of.y_tables.halves)
    errors, savings = np.zeros(m, np.float32), np.zeros((tables, MAGNITUDES), np.float32)
    module.wavefront(network, (tuple({**good, "rounding": (errors, savings)}.values()),), 1)
    for rounding in (
        (errors, savings, savings), (errors,), (errors, None), (None, savings),
        (errors.astype(float), savings), (errors, savings.astype(float)),
        (errors[1:], savings), (errors, savings[1:]), (errors, np.tile(savings, 2)),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError, BufferError)):
            module.wavefront(network, (tuple({**good, "rounding": rounding}.values()),), 1)
    job = module.wavefront(network, (), 1)
    with pytest.raises(TypeError):
        module.run(job, 1)
    module.run(job, 0)
    with pytest.raises(TypeError):
        module.run(job, 0)  # each thread may run a job only once
