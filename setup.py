"""Compiles the C extensions. Everything else about the package is in pyproject.toml.

The extensions are optional. If they cannot be compiled, the package is installed without them.
PyTorch and Python then do the same work: slower, but with the same results.
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
#: A header of the first extension, which the second one includes too.
SHARED = "codec/entropy/native/processor.h"
#: Whether to build one binary for Python 3.11 and all later versions. Python without the GIL does
#: not support this.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")
#: The compiler may fuse multiplications with additions, which doubles the speed. This does not
#: change results of the exact path: its products are exact wherever it could happen, see layers.h.
UNIX = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
MSVC = ["/std:c11", "/O2", "/fp:precise"]


class BuildNative(build_ext):
    """Compiles the extensions with options for the available compiler."""

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
