"""Parameters of tests that run with each of the entropy coders (rANS backends)."""

from __future__ import annotations

from typing import Any

import pytest

from ticodec.entropy.rans import BACKENDS, backends

MISSING = {
    "native": "the C extension is not built here",
    "compressai": "compressai is not installed here",
}


def param(*names: str) -> Any:
    """A test parameter: names of coders. The test is skipped if one of them is missing."""
    missing = [MISSING[name] for name in names if name not in backends()]
    marks = [pytest.mark.skip(reason=missing[0])] if missing else []
    return pytest.param(*names, marks=marks, id="-".join(names))


#: Runs a test with every coder. The test takes one argument, `name`: the name of the coder.
each = pytest.mark.parametrize("name", [param(name) for name in BACKENDS])
