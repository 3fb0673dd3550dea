"""Compares fused window attention with plain attention in float64.

Triton decides on import whether it interprets kernels. So for each device a process of its own,
which runs this file as a script, does the work, and the tests check its report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from torch import Tensor, library

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

# (window, shift, heads, d, windows down, windows across, most programs or None)
SHAPES = [
    (8, 0, 2, 32, 1, 2, None),
    (8, 4, 1, 32, 2, 3, None),
    (8, 4, 3, 6, 2, 1, None),
    (8, 0, 2, 12, 1, 1, None),
    (8, 4, 1, 24, 1, 1, None),  # the map is one window
    (8, 4, 3, 16, 1, 1, None),
    (4, 2, 1, 12, 3, 2, None),
    (4, 0, 2, 6, 1, 3, None),
    (4, 2, 2, 8, 1, 2, None),
    (4, 2, 2, 6, 2, 3, 5),  # runs of 5 of 12 windows
    (8, 4, 1, 12, 1, 5, 3),  # runs of 4 of 10 windows
]
REFUSED = {
    "dtype": TypeError,
    "map": ValueError,
    "shift": ValueError,
    "window": ValueError,
    "bias": ValueError,
    "heads": ValueError,
}


def plain_attention(qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
    """Window attention in plain operations: roll, partition, masked softmax, and back."""
    b, h, w, c3 = qkv.shape
    t, heads = window**2, bias.shape[0]

    def partition(x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], h // window, window, w // window, window, -1)
        return x.transpose(2, 3).reshape(x.shape[0], -1, t, x.shape[-1])

    tokens = partition(qkv.roll((-shift, -shift), (1, 2)))
    q, k, v = tokens.reshape(b, -1, t, 3, heads, c3 // 3 // heads).permute(3, 0, 1, 4, 2, 5)
    scores = q @ k.mT * q.shape[-1] ** -0.5 + bias  # (B, nW, heads, T, T)
    # Two tokens of a window of the rolled map must not see each other if only one wrapped around.
    down, across = torch.arange(h) + shift >= h, torch.arange(w) + shift >= w
    side = partition((down[:, None] * 2 + across * 1).reshape(1, h, w, 1))[..., 0]
    apart = side[..., :, None] != side[..., None, :]
    out = scores.masked_fill(apart[:, :, None], float("-inf")).softmax(-1) @ v
    out = out.transpose(2, 3).reshape(b, h // window, w // window, window, window, c3 // 3)
    return out.transpose(2, 3).reshape(b, h, w, c3 // 3).roll((shift, shift), (1, 2))


@pytest.fixture(scope="module", params=DEVICES)
def report(request: pytest.FixtureRequest) -> dict:
    """The worker's report for one device: a result for each check. It is a string if it failed."""
    pytest.importorskip("triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    if request.param == "cpu":
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, str(Path(__file__).resolve()), request.param]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_is_exact_up_to_rounding(report: dict, shape: tuple):
    assert isinstance(report[f"float32 {shape}"], dict), report[f"float32 {shape}"]
    for name, error in report[f"float32 {shape}"].items():
        assert error < 5e-6, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_16_bits_are_close(report: dict, shape: tuple):
    """bfloat16 on a GPU, float16 in the interpreter, which multiplies bfloat16 as integers."""
    assert isinstance(report[f"16 bits {shape}"], dict), report[f"16 bits {shape}"]
    for name, error in report[f"16 bits {shape}"].items():
        assert error < 1e-2, name


def test_operators_are_well_formed(report: dict):
    assert report["opcheck"] == "passed", report["opcheck"]


def test_compiles_without_a_break(report: dict):
    assert isinstance(report["compile"], dict), report["compile"]
    for name, error in report["compile"].items():
        assert error < 1e-6, name


@pytest.mark.parametrize("what", REFUSED)
def test_refuses_what_does_not_fit(report: dict, what: str):
    assert report["refused"][what] == REFUSED[what].__name__


def worker(device: str) -> dict:
    """Run every check on one device. Results are relative errors, or the traceback of a failure."""
    from ticodec.models import attention_gpu
    from ticodec.models.attention_gpu import window_attention

    # This also fills new memory with NaN, which shows values that a kernel does not write.
    torch.use_deterministic_algorithms(True, warn_only=True)
    random = torch.Generator().manual_seed(0)

    def make(shape: tuple, dtype: torch.dtype) -> list[Tensor]:
        """qkv and grad_out of one of SHAPES, and a bias that is not contiguous, like a table's."""
        window, _, heads, d, down, across, _ = shape
        size = (2, down * window, across * window)
        qkv = torch.randn(*size, 3 * heads * d, generator=random).to(device, dtype)
        grad = torch.randn(*size, heads * d, generator=random).to(device, dtype)
        bias = torch.randn(window**2, window**2, heads, generator=random).to(device)
        return [qkv.requires_grad_(), bias.permute(2, 0, 1).requires_grad_(), grad]

    def error(got: Tensor, wanted: Tensor) -> float:
        got, wanted = got.detach().cpu().double(), wanted.detach().cpu().double()
        return ((got - wanted).norm() / wanted.norm()).item()

    def compare(shape: tuple, dtype: torch.dtype) -> dict:
        window, shift, programs = shape[0], shape[1], shape[-1]
        if programs is not None:
            attention_gpu.FORWARD_PROGRAMS = attention_gpu.BACKWARD_PROGRAMS = programs
        qkv, bias, grad = make(shape, dtype)
        out = window_attention(qkv, bias, window, shift)
        grads = torch.autograd.grad(out, (qkv, bias), grad)
        assert (out.dtype, *(x.dtype for x in grads)) == (dtype, dtype, bias.dtype)
        exact = [x.detach().cpu().double().requires_grad_() for x in (qkv, bias)]
        wanted = plain_attention(*exact, window, shift)
        wanted_grads = torch.autograd.grad(wanted, exact, grad.cpu().double())
        pairs = zip((out, *grads), (wanted, *wanted_grads), strict=True)
        names = ("out", "grad_qkv", "grad_bias")
        return {name: error(*pair) for name, pair in zip(names, pairs, strict=True)}

    def operators() -> str:
        qkv, bias, grad = make((4, 2, 1, 6, 1, 1, None), torch.float32)
        library.opcheck(attention_gpu.forward_op, (qkv, bias, 4, 2))
        with torch.no_grad():
            _, lse = attention_gpu.forward_op(qkv, bias, 4, 2)
        plain = (grad, qkv.detach(), bias.detach(), lse, 4, 2)
        library.opcheck(attention_gpu.backward_op, plain)
        return "passed"

    def compiled() -> dict:
        qkv, bias, grad = make((4, 2, 2, 6, 1, 2, None), torch.float32)
        weight = torch.randn(36, 36, generator=random).to(device).requires_grad_()

        def layer(qkv: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return window_attention(qkv @ weight, bias * 2, 4, 2).sin()

        def run(function) -> tuple[Tensor, ...]:
            out = function(qkv, weight, bias)
            return out, *torch.autograd.grad(out, (qkv, weight, bias), grad)

        results = run(torch.compile(layer, fullgraph=True, backend="aot_eager"))
        names = ("out", "grad_qkv", "grad_weight", "grad_bias")
        pairs = zip(results, run(layer), strict=True)
        return {name: error(*pair) for name, pair in zip(names, pairs, strict=True)}

    def refused() -> dict:
        qkv, bias, _ = make((4, 0, 2, 6, 1, 2, None), torch.float32)
        wrong = {
            "dtype": (qkv.double(), bias, 4, 0),
            "map": (qkv[:, :, :6], bias, 4, 0),
            "shift": (qkv, bias, 4, 1),
            "window": (qkv, bias, 2, 0),
            "bias": (qkv, bias[:, :8], 4, 0),
            "heads": (qkv[..., :35], bias, 4, 0),
        }
        outcomes = {}
        for name, arguments in wrong.items():
            try:
                window_attention(*arguments)
            except (TypeError, ValueError) as refusal:
                outcomes[name] = type(refusal).__name__
        return outcomes

    checks = {"opcheck": operators, "compile": compiled, "refused": refused}
    low = torch.float16 if device == "cpu" else torch.bfloat16
    for shape in SHAPES:
        checks[f"float32 {shape}"] = lambda shape=shape: compare(shape, torch.float32)
        checks[f"16 bits {shape}"] = lambda shape=shape: compare(shape, low)
    results = {}
    for name, check in checks.items():
        programs = attention_gpu.FORWARD_PROGRAMS, attention_gpu.BACKWARD_PROGRAMS
        try:
            results[name] = check()
        except Exception:
            results[name] = traceback.format_exc()
        attention_gpu.FORWARD_PROGRAMS, attention_gpu.BACKWARD_PROGRAMS = programs
    return results


if __name__ == "__main__":
    print(json.dumps(worker(sys.argv[1])))
