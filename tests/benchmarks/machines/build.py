"""Sets up other machines: Debian's cross compilers, its Python for them, and QEMU to run it."""

from __future__ import annotations

import shutil
import subprocess as processes
from pathlib import Path
from typing import NamedTuple

from fuzz_native import COMMON, SOURCES, flags

#: Debian packages that the Python of another machine needs, and that compiling for it needs.
PACKAGES = ["libc6", "libgcc-s1", "zlib1g", "libexpat1"]
PYTHON_PACKAGES = ["python{}-minimal", "libpython{}-minimal", "libpython{}-stdlib"]
PYTHON_PACKAGES += ["libpython{}-dev"]


class Machine(NamedTuple):
    """A processor.

    Args:
        name: its name in `uname -m` and in QEMU.
        debian: its name in Debian.
    """

    name: str
    debian: str

    @property
    def compiler(self) -> str:
        return f"{self.name}-linux-gnu-gcc"

    @property
    def emulator(self) -> str:
        return f"qemu-{self.name}"


#: s390x is big-endian.
MACHINES = {name: Machine(name, debian) for name, debian in (("aarch64", "arm64"), ("s390x",) * 2)}


def missing(machine: Machine) -> str:
    """The command that installs the missing compiler and emulator. "" if none is missing."""
    packages = {
        machine.compiler: f"gcc-{machine.name}-linux-gnu libc6-dev-{machine.debian}-cross",
        machine.emulator: "qemu-user",
    }
    lacking = [packages[tool] for tool in packages if shutil.which(tool) is None]
    return f"apt-get install --no-install-recommends {' '.join(lacking)}" if lacking else ""


def fetch(machine: Machine, root: Path, python: str) -> None:
    """Download Debian's Python for another machine and unpack it into a folder.

    The packages of this system are not changed.
    """
    if (root / "usr" / "bin" / f"python{python}").exists():
        return
    if shutil.which("apt-get") is None:
        packages = " ".join([*PACKAGES, *PYTHON_PACKAGES]).format(*[python] * 4)
        raise SystemExit(
            f"apt-get is missing: unpack Debian's {machine.debian} packages {packages} "
            f"into {root}, each by `dpkg -x PACKAGE.deb {root}`"
        )
    state = root / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "packages"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": machine.debian, "APT::Architectures": machine.debian,
        "APT::Sandbox::User": "", "Debug::NoLocking": "1", "Dir::State": state,
        "Dir::State::Lists": state / "lists", "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }  # fmt: skip
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    packages = [*PACKAGES, *(package.format(python) for package in PYTHON_PACKAGES)]
    processes.run([*apt, "update"], check=True)
    processes.run([*apt, "download", *packages], cwd=state / "packages", check=True)
    for package in sorted((state / "packages").glob("*.deb")):
        processes.run(["dpkg", "-x", package, root], check=True)
    shutil.rmtree(state)


def compile_extension(out: Path, compiler: str, includes: list[Path], more: list[str]) -> Path:
    """Compile the extension as setup.py does, with additional flags."""
    how = [*flags(), *COMMON, *more, *(f"-I{folder}" for folder in includes)]
    processes.run([compiler, *how, *sorted(SOURCES.glob("*.c")), "-o", out, "-lm"], check=True)
    return out


def refuses_x87() -> bool | None:
    """Whether layers.h refuses to be compiled for 32-bit x87. None if no such compiler is there.

    An x87 computes with mantissas of 64 bits, so its results would differ.
    """
    program = ["gcc", "-m32", "-ffreestanding", "-fsyntax-only", "-xc"]

    def compiles(flags: list[str], file: Path) -> bool:
        command = [*program, *flags, str(file)]
        return processes.run(command, capture_output=True).returncode == 0

    header = SOURCES / "layers.h"
    if shutil.which("gcc") is None or not compiles(["-msse2", "-mfpmath=sse"], header):
        return None
    return not compiles(["-mfpmath=387"], header)


def version(program: str) -> str:
    """The first line that a program prints for --version."""
    done = processes.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]
