"""The C extension; everything else about the package is in pyproject.toml.

The extension is optional. Where it cannot be compiled, the package installs without it, and the
exact path runs on PyTorch and in Python: slower, with the same results.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("codec/entropy/native")
#: One binary for this Python and all later ones. Builds without the GIL have no such binaries.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")
#: Multiplications and additions may be fused: wherever they could be, the product is exact, see
#: layers.h. That doubles the speed.
UNIX = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
MSVC = ["/std:c11", "/O2", "/fp:precise"]


class BuildNative(build_ext):
    """Compiles with the options of whichever compiler there is."""

    def build_extension(self, ext: Any) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MSVC if msvc else UNIX
        super().build_extension(ext)


setup(
    ext_modules=[
        Extension(
            "ticodec.entropy.native._exact",
            sources=sorted(map(str, NATIVE.glob("*.c"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
            py_limited_api=LIMITED,
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
