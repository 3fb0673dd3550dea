"""Times ticodec stage by stage, and compares it with CompressAI's autoregressive models.

    python tests/benchmarks/bench_codec.py --models tic-plus --cold --json numbers.json

All codecs run on the CPU in one process, in turns (A B A B …) after a warm-up of each. Loading is
not timed. Each model runs its exact path (docs/exactness.md) in C and in torch. `--paths` chooses
others, such as C with one set of instructions. Memory is the peak of a fresh process that loads a
model and codes the image once. `--cold` also times whole commands. A preset without installed
weights gets random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from speed.clock import EXACT, STAGES, Clock, timed, watch_stages
from speed.exact_path import available, on_path, products, rate

# torch is imported late. A child process may inherit the peak memory of its parent, so this process
# has to be small when it starts the children whose memory is measured.

PHOTO = Path(__file__).parents[2] / "docs/samples/kodim23.png"
QUALITY, CROP, COLD_REPEATS, PEER_REPEATS = 5, 256, 3, 3  # one run of a peer takes long
NOTES = """Weights: {kinds}. Peers have random weights: compare only the time of their networks and
context loops. Random weights make the streams unrealistically large, so rANS takes too long."""


@dataclass
class Contestant:
    """One codec in one setting. `encode` makes byte strings of the photo, `decode` decodes them.

    `codec` is ticodec's `Codec`, whose stages are timed, and None for a peer. `path` is the
    implementation of the exact path that it uses.
    """

    name: str
    weights: str
    encode: Callable[[], list[bytes]]
    decode: Callable[[list[bytes]], Any]
    repeats: int
    codec: Any = None
    path: str = ""
    peak_mib: dict[str, float] = field(default_factory=dict)
    size: int = 0
    samples: list[dict[str, float]] = field(default_factory=list)

    def run(self, keep: bool) -> None:
        """Encode and decode once. `keep` is false for the warm-up, whose times are dropped."""
        if self.codec is None:
            coded, encode_seconds = timed(self.encode)
            _, decode_seconds = timed(self.decode, coded)
            sample = {"encode": encode_seconds, "decode": decode_seconds}
        else:
            clock = Clock()
            watch_stages(clock, self.codec)
            try:
                with on_path(self.path, self.codec):
                    coded, encoding = clock.measure("encode", self.encode)
                    _, decoding = clock.measure("decode", self.decode, coded)
            finally:
                clock.restore()
            sample = encoding | decoding
            for way in STAGES:
                sample[f"{way} exact path"] = sum(sample[f"{way} {stage}"] for stage in EXACT)
        self.size = sum(map(len, coded))
        if keep:
            self.samples.append(sample)

    def facts(self) -> dict[str, Any]:
        """The fields that `--json` writes."""
        left_out = ("encode", "decode", "codec")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def values(self, stage: str) -> list[float]:
        """Seconds of a stage in each run."""
        return [sample[stage] for sample in self.samples]


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of this module in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def picture_of(photo: Path) -> Any:
    """The photo as a `Picture`."""
    from ticodec.reading.read import read_picture

    return read_picture(photo.read_bytes())


def build(name: str, photo: Path, folder: Path) -> None:
    """Install random weights of a preset in a weights folder."""
    import torch

    from ticodec.models.families import preset
    from ticodec.models.tic import Network
    from ticodec.training.export.install import Made, entry_fields, install_codec
    from ticodec.training.export.weights_file import weights_bytes

    pixels = torch.from_numpy(picture_of(photo).pixels)
    height, width = pixels.shape[:2]
    corners = [(0, 0), (0, width - CROP), (height - CROP, 0), (height - CROP, width - CROP)]
    crops = torch.stack([pixels[y : y + CROP, x : x + CROP] for y, x in corners])
    torch.manual_seed(0)
    config = preset(name)
    data = weights_bytes(Network(config).eval(), crops)
    facts = {"model": config.model, "parameters": 0, "qualities": [1, config.levels]}
    install_codec(folder, Made(name, entry_fields(name, data, **facts, trained="no"), data, ""))


def find(name: str, photo: Path, folder: Path) -> tuple[Any, str]:
    """The entry of weights of that name, and "trained" or "random weights".

    If none are installed, random weights of the preset are installed in `folder`.
    """
    from ticodec import weights
    from ticodec.errors import TicodecError

    try:
        return weights.find(name), "trained"
    except TicodecError:
        alone(build, name, photo, folder)
        return next(e for e in weights.entries(folder) if e.name == name), "random weights"


def peak(entry: Any, bf16: bool, threads: int, photo: Path, file: Path, way: str) -> float:
    """Load a codec, and encode the photo or decode the file. Returns this process's peak in MiB."""
    import torch

    from ticodec.codec import Codec

    torch.set_num_threads(threads)
    codec = Codec(entry, "cpu", bf16)
    if way == "encode":
        file.write_bytes(codec.encode(picture_of(photo), quality_of(entry)))
    else:
        codec.decode(file.read_bytes())
    # Not ru_maxrss: a process inherits it from its parent.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def bf16_pays() -> bool:
    """Whether this CPU is fast at bf16."""
    import torch

    from ticodec.models.inference import fast_bf16

    return fast_bf16(torch.device("cpu"))


def contestants(
    name: str, weights: str, entry: Any, bf16: bool, photo: Path, repeats: int, paths: list[str]
) -> list[Contestant]:
    """A contestant for these weights on each of these exact paths."""
    from ticodec.codec import Codec

    codec = Codec(entry, "cpu", bf16)
    picture, quality = picture_of(photo), quality_of(entry)
    return [
        Contestant(
            f"{name} {path}",
            weights,
            encode=lambda: [codec.encode(picture, quality)],
            decode=lambda coded: codec.decode(coded[0]),
            repeats=repeats,
            codec=codec,
            path=path,
        )
        for path in paths
    ]


def quality_of(entry: Any) -> float | None:
    """`QUALITY`, or the best quality of these weights. None if they have only one quality."""
    return None if entry.qualities is None else min(QUALITY, entry.qualities[1])


def peer(name: str, photo: Path, repeats: int) -> Contestant:
    """A contestant for a model of CompressAI with random weights."""
    import torch

    from ticodec.models.image_padding import pad_image

    warnings.simplefilter("ignore")  # torch warns about compressai
    from compressai import zoo

    torch.manual_seed(0)
    net = getattr(zoo, name)(quality=5, metric="mse", pretrained=False).eval()
    net.update(force=True)
    x = pad_image(torch.from_numpy(picture_of(photo).pixels)[None].float() / 255, 64)
    x = x.permute(0, 3, 1, 2).contiguous()
    shape = [side // 64 for side in x.shape[2:]]  # of its hyper-latents
    return Contestant(
        name,
        "random weights",
        encode=torch.no_grad()(lambda: [strings[0] for strings in net.compress(x)["strings"]]),
        decode=torch.no_grad()(lambda coded: net.decompress([[part] for part in coded], shape)),
        repeats=repeats,
    )


def cold(
    entry: Any, threads: int, photo: Path, folder: Path, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each run of the whole commands "encode" and "decode"."""
    added = {"OMP_NUM_THREADS": str(threads), "TICODEC_WEIGHTS": str(entry.path.parent)}
    coded, decoded = str(folder / "cold.tic"), str(folder / "cold.png")
    options = ["-m", entry.name, *(["-q", str(quality_of(entry))] if entry.qualities else [])]
    files = {"encode": [str(photo), coded, *options], "decode": [coded, decoded]}
    seconds: dict[str, list[float]] = {way: [] for way in STAGES}
    for way in [*STAGES] * repeats:
        start = time.perf_counter()
        line = [sys.executable, "-m", "ticodec", way, *files[way], "-f", "--quiet"]
        subprocess.run(line, env=os.environ | added, check=True)
        seconds[way].append(time.perf_counter() - start)
    return seconds


def quote(values: list[float]) -> str:
    """Format seconds as "median (minimum–maximum)" in ms."""
    low, middle, high = (1000 * f(values) for f in (min, statistics.median, max))
    return f"{middle:,.0f} ({low:,.0f}–{high:,.0f})"


def tables(
    own: list[Contestant],
    peers: list[Contestant],
    chilled: dict[str, Any],
    threads: int,
    size: tuple[int, int],
) -> list[Table]:
    """The tables to print: stages, exact path, totals, whole commands, ratios to peers."""
    stages = Table("stage", *(c.name for c in own), title="ticodec, ms: median (min–max)")
    for way, names in STAGES.items():
        for stage in names:
            stages.add_row(f"{way} {stage}", *(quote(c.values(f"{way} {stage}")) for c in own))
        for total in (f"{way} exact path", way):
            cells = (quote(c.values(total)) for c in own)
            stages.add_row(total, *cells, style="bold", end_section=total == way)
    columns = ("codec", "weights", "encode ms", "decode ms", "bytes", "peak MiB (encode, decode)")
    totals = Table(*columns, title="totals")
    for c in [*own, *peers]:
        peak_mib = ", ".join(f"{v:,.0f}" for v in c.peak_mib.values())
        times = (quote(c.values(way)) for way in STAGES)
        totals.add_row(c.name, c.weights, *times, f"{c.size:,}", peak_mib)
    commands = Table("model", "encode ms", "decode ms", title="whole commands, from start to end")
    for name, seconds in chilled.items():
        commands.add_row(name, *map(quote, seconds.values()))
    title = "ratios of medians (of fastest runs)"
    ratios = Table("peer / ticodec", *(c.name for c in own), title=title)
    for p, way in ((p, way) for p in peers for way in STAGES):
        cells = []
        for values in (c.values(way) for c in own):
            middle, fastest = (f(p.values(way)) / f(values) for f in (statistics.median, min))
            cells.append(f"{middle:.1f} × ({fastest:.1f} ×)")
        ratios.add_row(f"{p.name} {way}", *cells)
    exact = exact_paths(own, threads, size)
    return [table for table in (stages, exact, totals, commands, ratios) if table.row_count]


def medians(of: Contestant, what: str) -> list[float]:
    """Median seconds of encoding and of decoding.

    Args:
        what: the name of a total, with "{}" for "encode" or "decode".
    """
    return [statistics.median(of.values(what.format(way))) for way in STAGES]


def exact_paths(own: list[Contestant], threads: int, size: tuple[int, int]) -> Table:
    """Compares the exact path with torch, and with its products alone in float64."""
    columns = (
        "model",
        "torch / this: exact path",
        "torch / this: whole",
        "products",
        "products in float64, ms",
        "exact path / products",
    )
    table = Table(*columns, title="the exact path: ratios of medians for encode, decode")
    speed = rate(threads)
    slowest = {c.name.removesuffix("torch"): c for c in own if c.path == "torch"}
    for c in own:
        torch = slowest.get(c.name.removesuffix(c.path))
        if torch is None or torch is c:
            continue
        ratios = []
        for what in ("{} exact path", "{}"):
            slow, fast = (medians(of, what) for of in (torch, c))
            ratios.append(", ".join(f"{a / b:.1f} ×" for a, b in zip(slow, fast, strict=True)))
        count = products(c.codec, *size)
        cells = ["", "", ""]
        if count is not None:
            alone = count / speed
            times = (seconds / alone for seconds in medians(c, "{} exact path"))
            cells = [f"{count / 1e9:.2f} · 10⁹", f"{1000 * alone:.0f}",
                     ", ".join(f"{time:.1f} ×" for time in times)]  # fmt: skip
        table.add_row(c.name, *ratios, *cells)
    table.caption = f"float64 products on {threads} threads: {speed / 1e9:.0f} · 10⁹ per second"
    return table


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--image", type=Path, default=PHOTO, metavar="PHOTO")
    options.add_argument("--models", default="tic-plus,tic-lite", help="models or presets")
    peers = "mbt2018,cheng2020_anchor" if find_spec("compressai") else ""
    options.add_argument("--peers", default=peers, help="CompressAI's models; '' for none")
    options.add_argument("--types", help="bf16, fp32 or both; default: fp32, bf16 if it is fast")
    options.add_argument(
        "--paths", help="exact paths to time: any of C,torch,avx512vnni,avx512,avx2,plain"
    )
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=5, help="timed runs of each codec")
    options.add_argument("--cold", action="store_true", help="also time whole commands")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all raw numbers")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure all codecs and print the tables."""
    options = parser().parse_args(words)
    photo, threads, repeats = options.image.resolve(), options.threads, options.repeats
    if options.types:
        types = {name: name == "bf16" for name in options.types.split(",")}
    else:
        types = {"bf16": True, "fp32": False} if alone(bf16_pays) else {"fp32": False}
    own, peaks = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = {name: find(name, photo, folder) for name in options.models.split(",")}
        settings = [(f"{n} {t}", *models[n], bf16) for n in models for t, bf16 in types.items()]
        for _, entry, _, bf16 in settings:
            one = (entry, bf16, threads, photo, folder / "memory.tic")
            peaks.append({way: alone(peak, *one, way) for way in STAGES})
        chilled = {
            name: cold(entry, threads, photo, folder, min(repeats, COLD_REPEATS))
            for name, (entry, _) in models.items()
            if options.cold
        }

        import torch

        torch.set_num_threads(threads)
        paths = options.paths.split(",") if options.paths else available()
        for (name, entry, kind, bf16), peak_mib in zip(settings, peaks, strict=True):
            made = contestants(name, kind, entry, bf16, photo, repeats, paths)
            made[0].peak_mib = peak_mib
            own += made
    rivals, limit = filter(None, options.peers.split(",")), min(repeats, PEER_REPEATS)
    peers = [peer(name, photo, limit) for name in rivals]
    for turn in range(repeats + 1):  # the first is the warm-up
        for contender in [*own, *peers]:
            if turn <= contender.repeats:
                contender.run(keep=turn > 0)

    cpu = f"{threads} threads of {torch.backends.cpu.get_cpu_capability()}"
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{photo.name}, {cpu}, torch {torch.__version__}", highlight=False)
    size = picture_of(photo).pixels.shape[:2]
    console.print(*tables(own, peers, chilled, threads, size), sep="\n")
    kinds = ", ".join(f"{name} {kind}" for name, (_, kind) in models.items())
    console.print(NOTES.format(kinds=kinds), highlight=False)
    if options.json:
        runs = [contender.facts() for contender in [*own, *peers]]
        raw = {"cpu": cpu, "torch": torch.__version__, "runs": runs, "cold": chilled}
        options.json.write_text(json.dumps(raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
