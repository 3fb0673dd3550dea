"""Inference engines that run g_a or g_s, each in a process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from ticodec import weights
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.conv import Conv
from ticodec.models.families import build, config_from
from ticodec.models.inference import Transform

from .clock import timed

TYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
#: The multiprocessing context that makes the engines' processes.
PROCESSES: Any = multiprocessing.get_context("spawn")


class Job(NamedTuple):
    """A transform ("g_a" or "g_s") of a model, the type of its maps (of `TYPES`), and threads."""

    model: str
    part: str
    type: str
    threads: int
    folder: Path  # for exported graphs and compiled code

    def graph(self, type: str) -> Path:
        """Path of the transform exported with maps of this type."""
        return self.folder / f"{type}.onnx"


Run = Callable[[Tensor], Any]

# -- the transform ------------------------------------------------------------------


def network(model: str) -> CodecNetwork:
    """A network with its installed weights."""
    fields, tensors = weights.store.read(weights.store.find(model))
    made = build(config_from(fields))
    made.load_state_dict(weights.floats(tensors), assign=True)
    return made.eval().requires_grad_(False)


def transform(job: Job) -> nn.Sequential:
    """The job's modules, in float32."""
    return getattr(network(job.model), job.part)


class Plain(nn.Module):
    """A transform whose last convolution stays in float32, as in `Transform`."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.parts = transform(job)
        last = max(i for i, module in enumerate(self.parts) if isinstance(module, Conv))
        self.types = [TYPES[job.type] if i < last else torch.float for i in range(len(self.parts))]
        for module, dtype in zip(self.parts, self.types, strict=True):
            module.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Run the transform on a map (1, H, W, C) float32. The result is float32."""
        for module, dtype in zip(self.parts, self.types, strict=True):
            x = module(x.to(dtype))
        return x


def window_attention(qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
    """`attention.window_attention`, written in operations that can be exported for any map size."""
    (b, h, w, c), heads = qkv.shape, len(bias)
    down, across, d = h // window, w // window, c // 3 // heads
    qkv = qkv.roll((-shift, -shift), (1, 2))
    qkv = qkv.reshape(b, down, window, across, window, 3, heads, d).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = qkv.reshape(3, b * down * across, heads, window * window, d).unbind(0)
    scores = (q * d**-0.5) @ k.mT + bias.to(q.dtype)
    if shift:
        rows, columns = (torch.arange(n) for n in (h, w))
        regions = (rows >= h - shift).int()[:, None] * 2 + (columns >= w - shift).int()
        regions = regions.reshape(down, window, across, window)
        regions = regions.transpose(1, 2).reshape(-1, 1, window * window)
        scores = scores - 1e9 * (regions[:, :, :, None] != regions[:, :, None]).to(scores.dtype)
    out = (scores.softmax(-1) @ v).reshape(b, down, across, heads, window, window, d)
    return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, h, w, c // 3).roll((shift, shift), (1, 2))


@contextmanager
def exportable() -> Any:
    """Let networks use the attention above."""
    with torch.inference_mode(), patch("ticodec.models.swin.window_attention", window_attention):
        yield


def export(job: Job, x: Tensor) -> None:
    """Write the ONNX graph of a transform for inputs (1, H, W, C) of any valid size."""
    step = 64 if job.part == "g_a" else 4
    sides = {i: step * torch.export.Dim(f"side{i}", max=4096) for i in (1, 2)}
    with exportable():
        torch.onnx.export(
            *(Plain(job), (x,), job.graph(job.type)),
            input_names=["x"],
            dynamic_shapes=(sides,),
            external_data=False,
            verbose=False,
        )


# -- engines: each takes a job and an example of the input, and returns a function ---


def ticodec(job: Job, x: Tensor) -> Run:
    """ticodec's own runner."""
    return Transform(transform(job), torch.device("cpu"), TYPES[job.type])


def openvino(job: Job, x: Tensor, fixed: bool = False) -> Run:
    """OpenVINO, which itself chooses what runs in bf16. `fixed`: compile for this size only."""
    import openvino as ov  # type: ignore

    core = ov.Core()
    graph = core.read_model(job.graph("float32"))
    if fixed:
        graph.reshape(list(x.shape))
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if job.type == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(graph, "CPU", options)
    return lambda x: compiled([x.numpy()])[0]


def onnxruntime(job: Job, x: Tensor) -> Run:
    """ONNX Runtime."""
    import onnxruntime as ort  # type: ignore

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = ort.InferenceSession(job.graph(job.type), options, ["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x.numpy()})[0]


def compile(job: Job, x: Tensor, again: bool = False) -> Run:
    """torch.compile with an empty cache. `again`: with the cache of an earlier run, from a file."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = mkdtemp(dir=job.folder)
    kept = job.folder / f"{job.type}.compiled"
    if again:
        torch.compiler.load_cache_artifacts(kept.read_bytes())
    run = exportable()(torch.compile(Plain(job)))
    run(x)
    if not again and (artifacts := torch.compiler.save_cache_artifacts()):
        kept.write_bytes(artifacts[0])
    return run


#: The package that an engine imports first, and its function, by the engine's name.
ENGINES: dict[str, tuple[str, Callable[[Job, Tensor], Run]]] = {
    "ticodec": ("ticodec", ticodec),
    "modules": ("torch", lambda job, x: exportable()(Plain(job))),
    "openvino": ("openvino", openvino),
    "openvino-fixed": ("openvino", lambda job, x: openvino(job, x, fixed=True)),
    "onnxruntime": ("onnxruntime", onnxruntime),
    "compile": ("torch._inductor", compile),
    "compile-again": ("torch._inductor", lambda job, x: compile(job, x, again=True)),
}

# -- processes ----------------------------------------------------------------------


class Worker:
    """An engine in a process of its own.

    Attributes:
        facts: seconds to "import" the engine and to "load" it (until the first result), and peak
            memory in MB beyond that after importing torch, while "loading" and while "running".

    Raises RuntimeError with the engine's error if loading or a run fails.
    """

    def __init__(self, name: str, job: Job, x: Tensor) -> None:
        self.name, self.job = name, job
        self.pipe, other = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=serve, args=(other, name, job, x.numpy()))
        self.process.daemon = True
        self.process.start()
        self.facts: dict[str, float] = self.answer()

    def run(self, x: Tensor) -> tuple[Tensor, float]:
        """(result, seconds) of one run."""
        self.pipe.send(x.numpy())  # a tensor would be sent by reference
        result, seconds = self.answer()
        return torch.from_numpy(result), seconds

    def answer(self) -> Any:
        """The next answer of the process."""
        found = self.pipe.recv()
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    def stop(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


def serve(pipe: Any, name: str, job: Job, x: Any) -> None:
    """Load an engine, send its facts, and run it on each map that is received, until None."""
    torch.set_num_threads(job.threads)
    loaded = attempt(load, name, job, torch.from_numpy(x))
    failed = isinstance(loaded, str)
    pipe.send(loaded if failed else loaded[1])
    while not failed and (x := pipe.recv()) is not None:
        pipe.send(attempt(timed_run, loaded[0], x))


def load(name: str, job: Job, x: Tensor) -> tuple[Run, dict[str, float]]:
    """Load an engine. Returns its function and its facts."""
    (package, engine), before = ENGINES[name], memory("VmRSS")
    _, importing = timed(importlib.import_module, package)
    run, loading = timed(engine, job, x)
    _, first = timed(run, x)
    facts = {"import": importing, "load": loading + first, "loading": memory("VmHWM") - before}
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    run(x)
    return run, {**facts, "running": memory("VmHWM") - before}


def timed_run(run: Run, x: Any) -> tuple[Any, float]:
    """(result, seconds) of a run on an array. The result is an array."""
    result, seconds = timed(run, torch.from_numpy(x))
    return np.asarray(result), seconds


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The function's result, or the beginning of its error message."""
    try:
        return function(*args)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:200]


def memory(kind: str) -> float:
    """MB of this process: its memory now ("VmRSS") or its peak ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1e6 * 1024
