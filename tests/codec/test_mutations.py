"""The command decodes 1,000 damaged files with documented exit codes, and leaves no output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support import GOLDEN

WORKER = """
import json, sys
from collections import Counter
from pathlib import Path
import numpy as np
from faster import share_command
from ticodec import container
from ticodec.cli import app

share_command()
random = np.random.default_rng(2026)
files = [p.read_bytes() for p in sorted(Path(sys.argv[1]).glob("v*/*.tic"))]
work = Path(sys.argv[2])
source, target = work / "bad.tic", work / "bad.png"

def flips(data):
    data = bytearray(data)
    for at in random.integers(0, len(data), random.integers(1, 9)):
        data[at] ^= 1 << random.integers(0, 8)
    return bytes(data)

def cut(data):
    return data[: random.integers(0, len(data))]

def splice(data):
    other = files[random.integers(0, len(files))]
    a, b = random.integers(0, len(data)), random.integers(0, len(other))
    return data[:a] + other[b:]

def resealed(data):
    "Damage a section, and correct all checksums. So only the coder's own checks can notice it."
    parsed = container.read(data)
    kind = list(parsed.sections)[random.integers(0, len(parsed.sections))]
    damage = [flips, cut, lambda d: random.bytes(random.integers(0, 300)), lambda d: b""]
    parsed.sections[kind] = damage[random.integers(0, 4)](parsed.sections[kind] or b"x")
    if random.integers(0, 4) == 0:
        parsed.header.width = int(random.integers(1, 400))
    if random.integers(0, 8) == 0:
        parsed.header.quality = int(random.integers(0, 65536))
    return container.write(parsed)

kinds = [flips, cut, splice, resealed]
codes, left = Counter(), 0
for number in range(1000):
    data = files[number % len(files)]
    mutated = kinds[number // 5 % 4](data)
    source.write_bytes(mutated)
    sys.argv = ["ticodec", "decode", str(source), str(target), "-f"]
    try:
        app.main()
        code = 0
    except SystemExit as done:
        code = done.code or 0
    codes[f"{kinds[number // 5 % 4].__name__} {code}"] += 1
    if target.exists():
        left += code != 0
        target.unlink()
assert not [p for p in work.iterdir() if p != source], list(work.iterdir())
print(json.dumps({"codes": codes, "left": left}), file=sys.__stderr__)
"""


def test_a_thousand_mutations(tmp_path: Path) -> None:
    paths = os.pathsep.join(filter(None, [str(GOLDEN.parent), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(GOLDEN), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stderr.strip().splitlines()
    result = json.loads(lines[-1])
    assert "Traceback" not in done.stderr
    codes = result["codes"]
    assert sum(codes.values()) == 1000
    assert {name.split()[1] for name in codes} <= {"0", "3"}, codes
    # Decoding succeeds only if by chance there is no damage, or if it is in metadata that is
    # passed through. Only files with new checksums can have that.
    assert {name.split()[0] for name in codes if name.endswith("0")} <= {"resealed", "splice"}
    assert codes.get("resealed 3", 0) > 100
    assert result["left"] == 0, "a failed decode left an output"
    assert all(line.startswith("ticodec: ") for line in lines[:-1])
