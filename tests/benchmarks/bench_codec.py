"""How fast ticodec is, stage by stage, and how it compares with CompressAI's autoregressive models.

    python tests/benchmarks/bench_codec.py
    python tests/benchmarks/bench_codec.py --models tic-plus --cold --json numbers.json

Everything runs on the CPU, in one process, in turns (A B A B …) after one warm-up each;
medians are quoted with minimum and maximum. Loading is timed apart. Memory is the peak of
a fresh process that loads one model and codes one image. `--cold` times whole commands.

Installed weights are used where there are any. Otherwise weights are random: the networks
take the same time, but their streams are unrealistically large, so rANS looks slower than
it is. CompressAI's weights are always random here; the time is that of its network and of
its context loop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# ticodec, torch and compressai are imported inside functions: as long as this process is
# small, the peak memory of the processes it starts is their own.

PHOTO = Path(__file__).parents[2] / "docs/samples/kodim23.png"
QUALITY = 5
CROP = 256
PEERS = ("mbt2018", "cheng2020_anchor")
#: Measured runs of a peer at most; they take many seconds each.
PEER_REPEATS = 2
COLD_REPEATS = 3
STAGES = {
    "encode": ("g_a", "h_a", "h_s", "wavefront", "rANS", "other"),
    "decode": ("h_s", "wavefront", "rANS", "g_s", "other"),
}
#: Runs the command line in a checkout that has no weights of its own.
WITHOUT_SHIPPED = """import sys; from pathlib import Path; from ticodec.weights import store
store.SHIPPED = Path(sys.argv.pop(1)); from ticodec.cli.app import main; main()"""


class Clock:
    """Adds up the seconds spent in functions, by name."""

    def __init__(self) -> None:
        self.spans: defaultdict[str, float] = defaultdict(float)

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Replace a function, of an object or of a class, by one that is timed."""
        function = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.spans[name] += time.perf_counter() - start

        setattr(owner, attribute, timed)

    def measure(self, name: str, function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
        """(result, seconds by stage) of one call; what no stage accounts for is "other"."""
        self.spans.clear()
        start = time.perf_counter()
        result = function(*args)
        total, spans = time.perf_counter() - start, dict(self.spans)
        if "entropy" in spans:
            spans["wavefront"] = spans.pop("entropy") - spans["h_s"] - spans["rANS"]
            spans["other"] = total - sum(spans.values())
        return result, {name: total} | {f"{name} {stage}": s for stage, s in spans.items()}


@dataclass
class Contestant:
    """One codec in one setting, and the seconds it took.

    Args:
        name: unique; weights: "trained" or "random weights"; load: seconds to get ready.
        encode: codes the image; decode: takes what `encode` made; size: its bytes.
        repeats: measured runs.
    """

    name: str
    weights: str
    load: float
    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], int]
    repeats: int
    bytes: int = 0
    samples: list[dict[str, float]] = field(default_factory=list)

    def run(self, clock: Clock, keep: bool) -> None:
        """Encode and decode once; a warm-up is not kept."""
        coded, encoding = clock.measure("encode", self.encode)
        _, decoding = clock.measure("decode", self.decode, coded)
        self.bytes = self.size(coded)
        if keep:
            self.samples.append(encoding | decoding)

    def values(self, stage: str) -> list[float]:
        """Seconds of a stage in all runs; empty when it has no such stage."""
        return [sample[stage] for sample in self.samples if stage in sample]


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of this module in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def picture_of(photo: Path) -> Any:
    """The photo as ticodec takes it."""
    from ticodec import images

    return images.to_picture(images.open_image(photo.read_bytes()))


def build(name: str, photo: Path, folder: Path) -> None:
    """Enter random weights of a preset in a weights folder."""
    import torch

    from ticodec.models.config import preset
    from ticodec.models.network import Network
    from ticodec.weights.training.export import enter, weights_bytes

    pixels = torch.from_numpy(picture_of(photo).pixels)
    height, width = pixels.shape[:2]
    corners = [(y, x) for y in range(0, height, CROP) for x in range(0, width, CROP)]
    crops = [pixels[y : y + CROP, x : x + CROP] for y, x in corners]
    whole = [crop for crop in crops if crop.shape[:2] == (CROP, CROP)]
    torch.manual_seed(0)
    config = preset(name)
    network = Network(config).eval()
    data = weights_bytes(network, torch.stack(whole))
    (folder / f"{name}.safetensors").write_bytes(data)
    fields = {
        "model": config.model,
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(p.numel() for p in network.parameters()),
        "qualities": [1, config.levels] if config.levels > 1 else None,
        "trained": "random weights",
    }
    enter(folder / "manifest.json", name, fields, default=False)


def find(name: str, photo: Path, folder: Path) -> tuple[Any, str]:
    """Entry of the weights of that name, made where none are installed, and what they are."""
    from ticodec import weights
    from ticodec.errors import TicodecError

    try:
        return weights.find(name), "trained"
    except TicodecError:
        alone(build, name, photo, folder)
        return next(e for e in weights.entries(folder) if e.name == name), "random weights"


def quality_of(entry: Any) -> int | None:
    """The quality to encode at; None for weights of one fixed λ."""
    return QUALITY if entry.qualities else None


def peak(entry: Any, bf16: bool, threads: int, photo: Path, file: Path, encode: bool) -> float:
    """MiB this process needs at most to load a codec and encode the photo or decode the file."""
    import torch

    from ticodec.codec import Codec

    torch.set_num_threads(threads)
    codec = Codec(entry, "cpu", bf16)
    if encode:
        file.write_bytes(codec.encode(picture_of(photo), quality_of(entry)))
    else:
        codec.decode(file.read_bytes())
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def fast_bf16() -> bool:
    """Whether this CPU is fast at bf16."""
    import torch

    from ticodec.models import inference

    return inference.fast_bf16(torch.device("cpu"))


def ticodec_contestant(
    name: str, entry: Any, kind: str, bf16: bool, photo: Path, repeats: int, clock: Clock
) -> Contestant:
    """A codec of ticodec whose stages are watched."""
    from ticodec.codec import Codec

    start = time.perf_counter()
    codec: Any = Codec(entry, "cpu", bf16)
    load = time.perf_counter() - start
    for stage in ("g_a", "h_a", "g_s"):
        clock.watch(codec, stage, stage)
    for direction in ("encode", "decode"):
        clock.watch(codec.entropy, direction, "entropy")
    clock.watch(codec.entropy, "hyper", "h_s")
    picture, quality = picture_of(photo), quality_of(entry)
    return Contestant(
        name, kind, load, lambda: codec.encode(picture, quality), codec.decode, len, repeats
    )


def peer_contestant(name: str, photo: Path, repeats: int) -> Contestant:
    """A model of CompressAI with random weights."""
    import torch

    from ticodec.models.inference import pad_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai import zoo
    start = time.perf_counter()
    torch.manual_seed(0)
    net = getattr(zoo, name)(quality=5, metric="mse", pretrained=False).eval()
    net.update(force=True)
    load = time.perf_counter() - start
    image = torch.from_numpy(picture_of(photo).pixels)[None].float() / 255
    x = pad_image(image).permute(0, 3, 1, 2).contiguous()

    def size(coded: Any) -> int:
        return sum(len(string) for strings in coded["strings"] for string in strings)

    return Contestant(
        name,
        "random weights",
        load,
        torch.no_grad()(lambda: net.compress(x)),
        torch.no_grad()(lambda coded: net.decompress(coded["strings"], coded["shape"])),
        size,
        min(repeats, PEER_REPEATS),
    )


def cold(entry: Any, threads: int, photo: Path, folder: Path) -> dict[str, list[float]]:
    """Seconds of the whole encode and decode commands, each in a process of its own."""
    from ticodec.weights.store import SHIPPED, VARIABLE

    environment = os.environ | {"OMP_NUM_THREADS": str(threads), VARIABLE: str(entry.path.parent)}
    command = [sys.executable, "-m", "ticodec.cli.app"]
    if not (SHIPPED / "manifest.json").exists():
        command = [sys.executable, "-c", WITHOUT_SHIPPED, str(folder)]
    coded, decoded = str(folder / "cold.tic"), str(folder / "cold.png")
    quality = ["-q", str(QUALITY)] if entry.qualities else []
    seconds: dict[str, list[float]] = {"encode": [], "decode": []}
    for _ in range(COLD_REPEATS):
        for name, arguments in (
            ("encode", [str(photo), coded, *quality, "-m", entry.name, "-f"]),
            ("decode", [coded, decoded, "-f"]),
        ):
            start = time.perf_counter()
            subprocess.run(
                [*command, name, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
            )
            seconds[name].append(time.perf_counter() - start)
    return seconds


def quote(values: Sequence[float]) -> str:
    """Median (minimum–maximum) in ms, in s from 10 s on."""
    if not values:
        return "–"
    if min(values) >= 10:
        return f"{statistics.median(values):.1f} s ({min(values):.1f}–{max(values):.1f})"
    low, middle, high = (1000 * f(values) for f in (min, statistics.median, max))
    return f"{middle:,.0f} ({low:,.0f}–{high:,.0f})"


def stage_table(own: Sequence[Contestant]) -> Table:
    """Stages of ticodec in ms."""
    table = Table("stage", *(c.name for c in own), title="ticodec, ms: median (min–max)")
    for direction, stages in STAGES.items():
        for stage in stages:
            name = f"{direction} {stage}"
            table.add_row(name, *(quote(c.values(name)) for c in own))
        totals = (quote(c.values(direction)) for c in own)
        table.add_row(direction, *totals, style="bold", end_section=True)
    return table


def total_table(everyone: Sequence[Contestant], peaks: dict[str, dict[str, float]]) -> Table:
    """Totals of all contestants."""
    table = Table(title="all, ms; peak memory in MiB: encode / decode")
    for column in ("codec", "weights", "encode", "decode", "bytes", "load s", "peak"):
        table.add_column(column)
    for c in everyone:
        memory = " / ".join(f"{v:,.0f}" for v in peaks[c.name].values()) if c.name in peaks else "–"
        times = quote(c.values("encode")), quote(c.values("decode"))
        table.add_row(c.name, c.weights, *times, f"{c.bytes:,}", f"{c.load:.2f}", memory)
    return table


def ratio_table(own: Sequence[Contestant], peers: Sequence[Contestant]) -> Table:
    """How many times longer the peers take, of medians."""
    table = Table("peer / ticodec", *(c.name for c in own), title="ratios of medians")
    for peer in peers:
        for way in STAGES:
            middle = statistics.median(peer.values(way))
            ratios = (f"{middle / statistics.median(c.values(way)):.1f} ×" for c in own)
            table.add_row(f"{peer.name} {way}", *ratios)
    return table


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Times of ticodec, stage by stage, and of peers.")
    parser.add_argument("--image", type=Path, default=PHOTO, metavar="PHOTO")
    parser.add_argument("--models", default="tic-plus,tic-lite", help="presets or installed names")
    parser.add_argument("--peers", default=",".join(PEERS), help="of CompressAI; '' for none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="also time whole commands")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all raw numbers")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    photo, threads, names = options.image.resolve(), options.threads, options.models.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder, file = Path(temporary), Path(temporary) / "memory.tic"
        entries = {name: find(name, photo, folder) for name in names}
        types = {"bf16": True, "fp32": False} if alone(fast_bf16) else {"fp32": False}
        settings = [(f"{n} {t}", *entries[n], types[t]) for n in names for t in types]
        peaks = {
            name: {
                way: alone(peak, entry, bf16, threads, photo, file, way == "encode")
                for way in STAGES
            }
            for name, entry, _, bf16 in settings
        }
        chilled = {
            n: cold(e, threads, photo, folder) for n, (e, _) in entries.items() if options.cold
        }

        import torch

        from ticodec.entropy.rans import Reader, Writer

        torch.set_num_threads(threads)
        clock = Clock()
        for owner, attribute in (
            (Writer, "write"),
            (Writer, "finish"),
            (Reader, "__init__"),
            (Reader, "read"),
        ):
            clock.watch(owner, attribute, "rANS")
        own = [ticodec_contestant(*each, photo, options.repeats, clock) for each in settings]
        peers = [peer_contestant(n, photo, options.repeats) for n in options.peers.split(",") if n]
        everyone = [*own, *peers]
        for turn in range(options.repeats + 1):  # the first is the warm-up
            for contestant in everyone:
                if turn <= contestant.repeats:
                    contestant.run(clock, keep=turn > 0)

    cpu = torch.backends.cpu.get_cpu_capability()
    console.print(f"{photo.name}, {threads} threads, {cpu}, torch {torch.__version__}")
    console.print(stage_table(own), total_table(everyone, peaks), sep="\n")
    if any("random" in c.weights for c in own):
        console.print(
            "Random weights: streams are unrealistically large, rANS time is pessimistic."
        )
    for name, seconds in chilled.items():
        for way, values in seconds.items():
            console.print(
                f"cold, whole command, {name} ({entries[name][1]}) {way}: {quote(values)} ms"
            )
    if peers:
        console.print(ratio_table(own, peers))
    if options.json:
        raw = [
            {
                "name": c.name,
                "weights": c.weights,
                "bytes": c.bytes,
                "load": c.load,
                "peak_mib": peaks.get(c.name),
                "seconds": c.samples,
            }
            for c in everyone
        ]
        about = {"threads": threads, "cpu": cpu, "torch": torch.__version__}
        options.json.write_text(
            json.dumps({**about, "runs": raw, "cold": chilled}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
