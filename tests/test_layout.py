"""Modules import lower layers only and never in a circle. Files stay short.

`import_graph` reads from the source which module imports which.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import Import, When, all_imports, circles, modules_of, upward
from support import GOLDEN, ROOT

PACKAGES = {
    "ticodec": ROOT / "codec",
    "ticodec.cli": ROOT / "cli",
    "ticodec.weights": ROOT / "weights",
}
#: The layers that each layer may import besides itself. "core" is the rest of codec/. "ground" is
#: the modules that every layer may import.
BELOW = {
    "cli": {"training", "evaluation", "batch", "core", "weights", "ground"},
    "training": {"core", "weights", "ground"},
    "evaluation": {"core", "weights", "ground"},
    "batch": {"core", "weights", "ground"},
    "core": {"weights", "ground"},
    "weights": {"ground"},
    "ground": set(),
}
GROUND = {"ticodec.errors", "ticodec.files"}
LONGEST_FILE = 400


def layer(module: str) -> str:
    """The layer of a module of the package, by its full name."""
    _, part, *_ = [*module.split("."), ""]
    if part == "__main__":
        return "cli"
    if module in GROUND:
        return "ground"
    return part if part in BELOW else "core"


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return all_imports(modules_of(PACKAGES))


def test_no_circle_of_imports(imports: list[Import]) -> None:
    assert circles(imports) == []


def test_nothing_imports_upwards(imports: list[Import]) -> None:
    assert [str(one) for one in upward(imports, layer, BELOW)] == []


def test_all_modules_are_walked(imports: list[Import]) -> None:
    """A checker that read the wrong folder would find no fault."""
    assert {layer(one.importer) for one in imports} == set(BELOW)
    assert ("ticodec.codec", "ticodec.errors") in {one[:2] for one in imports}


def test_files_are_short() -> None:
    folders = ("codec", "cli", "weights", "tests", "docs")
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_the_command_starts_without_torch() -> None:
    """The library and commands that run no network (help, info, models) do not import torch."""
    program = """if True:
        import contextlib, io, sys
        import ticodec
        from ticodec.cli.app import main
        names = "encode decode classify batch compare evaluate train export".split()
        pages = [["--help"], ["batch", "encode", "--help"], *([name, "--help"] for name in names)]
        for words in (*pages, ["info", sys.argv[1]], ["models"]):
            sys.argv[1:] = words
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                try:
                    main()
                except SystemExit as done:
                    assert not done.code, words
            assert printed.getvalue(), words
            assert "torch" not in sys.modules, words
    """
    file = next((GOLDEN / "v1").rglob("*.tic"))
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- the checker itself -------------------------------------------------------------


def write(folder: Path, **modules: str) -> list[Import]:
    """Write a package "toy" and return all its imports.

    Args:
        modules: the source of each module, by its name with "__" for each dot.
    """
    for name, text in modules.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return all_imports(modules_of({"toy": folder}))


def test_imports_are_read_in_all_their_forms(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        a="import toy.b\nfrom toy import c\nfrom . import d\nfrom .deep.e import name\nimport os\n",
        b="class B:\n    def run(self):\n        from .c import run\n",
        c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .d import D\n",
        d="try:\n    from .missing import x\nexcept ImportError:\n    from toy.b import B\n",
        deep__e="from ..c import run\nfrom .f import other\n",
        deep__f="async def later():\n    import toy.a\n",
    )
    assert found == [
        Import("toy.a", "toy.b", 1, When.LOADED),
        Import("toy.a", "toy.c", 2, When.LOADED),
        Import("toy.a", "toy.d", 3, When.LOADED),
        Import("toy.a", "toy.deep.e", 4, When.LOADED),
        Import("toy.b", "toy.c", 3, When.CALLED),
        Import("toy.c", "toy.d", 3, When.NEVER),
        Import("toy.d", "toy.b", 4, When.LOADED),
        Import("toy.deep.e", "toy.c", 1, When.LOADED),
        Import("toy.deep.e", "toy.deep.f", 2, When.LOADED),
        Import("toy.deep.f", "toy.a", 2, When.CALLED),
    ]


def test_a_circle_is_found(tmp_path: Path) -> None:
    """A circle is found through a third module, and if one import is in a function.

    Imports that only types need make no circle.
    """
    found = write(
        tmp_path,
        a="from .b import B\n",
        b="def late():\n    from .c import C\n",
        c="import toy.a\n",
        d="from .e import E\n",
        e="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .d import D\n",
        leads_in="import toy.a\n",
    )
    assert circles(found) == [["toy.a", "toy.b", "toy.c"]]


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        top__command="from toy.bottom import store\nfrom .other import x\n",
        top__other="",
        bottom__store="def late():\n    from toy.top import command\n",
    )
    below = {"top": {"bottom"}, "bottom": set()}
    wrong = upward(found, lambda name: name.split(".")[1], below)
    assert list(map(str, wrong)) == ["toy.bottom.store:2 imports toy.top.command, in a function"]
