"""The C extensions; everything else about the package is in pyproject.toml.

They are optional. Where they cannot be compiled, the package installs without them, and PyTorch and
Python do their work: slower, with the same results.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

EXTENSIONS = {
    "ticodec.entropy.native._exact": Path("codec/entropy/native"),
    "ticodec.models.native._kernels": Path("codec/models/native"),
}
#: A header of one of them that the other includes.
SHARED = "codec/entropy/native/processor.h"
#: One binary for this Python and all later ones. Builds without the GIL have no such binaries.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")
#: Multiplications and additions may be fused. In the exact path the product is exact wherever they
#: could be, see layers.h. That doubles the speed.
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
            name,
            sources=sorted(map(str, folder.glob("*.c"))),
            depends=sorted({*map(str, folder.glob("*.h")), SHARED}),
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
            py_limited_api=LIMITED,
            optional=True,
        )
        for name, folder in EXTENSIONS.items()
    ],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
