"""Feeds the C extension with damaged input under AddressSanitizer and UBSan.

Builds the extension in a temporary folder, and calls it with mutated and truncated streams, tables
and indexes. Each call must return symbols or raise a checked error. A finding is a signal, an
access out of bounds, undefined behaviour, a hang, any other exception, or a wrong round trip.

    python tests/benchmarks/fuzz_native.py [--count 1000000] [--target rans] [--plain]

`--plain` uses the ordinary build, which has no sanitizers, is optimised, and is several times as
fast. A finding is printed with the options that repeat its batch alone.
"""

from __future__ import annotations

import argparse
import ast
import faulthandler
import importlib.util
import os
import re
import subprocess as processes
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
from fuzzing import hyper, rans, wavefront

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "codec" / "entropy" / "native"
COMMON = ["-shared", "-fPIC", "-DPy_LIMITED_API=0x030B0000"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
SANITIZED += ["-fno-sanitize-recover=undefined"]
#: Mutations per batch. Each batch has its own random numbers.
BATCH = 500
#: Seconds after which a batch counts as hanging. A batch takes less than 1 s, and up to 10 s with
#: sanitizers.
HANG = 120

#: Functions that run one batch, by the name of the part they fuzz. They take the extension, random
#: numbers and a count of mutations. They count how the mutations end, as "symbols" or as the name
#: of a checked error, and let all other exceptions through.
TARGETS: dict[str, Callable[[ModuleType, np.random.Generator, int], Counter[str]]] = {
    "rans": rans.batch,
    "wavefront": wavefront.batch,
    "hyper": hyper.batch,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--count", type=int, default=1_000_000, help="number of mutations")
    made.add_argument("--target", choices=[*TARGETS], default="rans")
    made.add_argument("--plain", action="store_true", help="build without sanitizers")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--first", type=int, default=0, help="number of the first batch")
    made.add_argument("--extension", type=Path, help="use this build, in this process")
    return made


def flags() -> list[str]:
    """The compiler's flags, read from setup.py."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    named = re.findall(r"^UNIX \+?= (\[.*\])$", text, flags=re.MULTILINE)
    return [flag for part in named for flag in ast.literal_eval(part)]


def build(folder: Path, plain: bool) -> Path:
    """Compile the extension and return its path. The compiler's errors go to standard error."""
    out = folder / "_exact.abi3.so"
    include = sysconfig.get_paths()["include"]
    how = [*flags(), *COMMON, *([] if plain else SANITIZED), f"-I{include}"]
    processes.run(["gcc", *how, *sorted(SOURCES.glob("*.c")), "-o", out, "-lm"], check=True)
    return out


def sanitizer() -> str | None:
    """The library of AddressSanitizer, which is loaded before Python. None if it is missing."""
    asked = ["gcc", "-print-file-name=libasan.so"]
    try:
        path = processes.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, processes.CalledProcessError):
        return None
    return str(Path(path).resolve()) if Path(path).is_absolute() else None


def environment(plain: bool) -> dict[str, str]:
    """Environment variables of the process that fuzzes."""
    if plain:
        return dict(os.environ)
    library = sanitizer()
    if library is None:
        raise SystemExit("gcc's libasan is missing; `--plain` works without it")
    return os.environ | {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that bytes objects have guards around them, too
    }


def load(path: Path) -> ModuleType:
    """Import the extension from this file."""
    loader = ExtensionFileLoader("_exact", str(path))
    spec = importlib.util.spec_from_file_location("_exact", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def fuzz(arguments: argparse.Namespace) -> None:
    """Run all batches in this process. Ends the process if a batch hangs."""
    module, target = load(arguments.extension), TARGETS[arguments.target]
    ends: Counter[str] = Counter()
    batches = -(-arguments.count // BATCH)
    start = shown = time.monotonic()
    for number in range(arguments.first, arguments.first + batches):
        print(f"batch {number}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(HANG, exit=True)
        count = min(BATCH, arguments.count - (number - arguments.first) * BATCH)
        ends += target(module, np.random.default_rng([arguments.seed, number]), count)
        now = time.monotonic()
        if now - shown > 10:
            shown = now
            print(f"{ends.total():,} of {arguments.count:,}, {now - start:.0f} s", flush=True)
    faulthandler.cancel_dump_traceback_later()
    symbols = ends.pop("symbols", 0)
    errors = ", ".join(f"{name} {count:,}" for name, count in sorted(ends.items()))
    print(
        f"{symbols + ends.total():,} mutations: 0 findings; {ends.total():,} ended in checked "
        f"errors ({errors}), {symbols:,} in symbols",
        flush=True,
    )


def main(words: list[str] | None = None) -> None:
    arguments = parser().parse_args(words)
    if arguments.extension:
        fuzz(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        surroundings = environment(arguments.plain)
        extension = build(Path(folder), arguments.plain)
        given = [f"--{name}={getattr(arguments, name)}" for name in ("count", "target", "seed")]
        again = [*given, f"--first={arguments.first}", f"--extension={extension}"]
        log = Path(folder) / "log"
        with log.open("w") as errors:
            done = processes.run(
                [sys.executable, __file__, *again], env=surroundings, stderr=errors
            )
        if done.returncode:
            report(log.read_text(errors="replace"), arguments, done.returncode)


def report(log: str, arguments: argparse.Namespace, code: int) -> None:
    """Print a finding, and end with exit code 1."""
    *_, number = [0, *(line for line in log.splitlines() if line.startswith("batch "))]
    print("\n".join(line for line in log.splitlines() if not line.startswith("batch ")))
    first = str(number).removeprefix("batch ")
    plain = " --plain" if arguments.plain else ""
    print(
        f"1 finding (exit code {code}); repeat it with: --target {arguments.target} --seed "
        f"{arguments.seed} --first {first} --count {BATCH}{plain}"
    )
    raise SystemExit(1)


if __name__ == "__main__":
    main()
