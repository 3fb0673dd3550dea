"""Names of inputs and outputs, stdin and stdout, and the checks before any work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticodec.errors import TicodecError, UsageError
from ticodec.files import check_name, read_file, write_file

STANDARD = "-"


def read_input(name: str) -> bytes:
    """Bytes of a file, or of stdin for "-"."""
    return sys.stdin.buffer.read() if name == STANDARD else read_file(Path(name))


def output_for(
    source: str, target: str | None, suffix: str, force: bool, others: tuple[str, ...] = ()
) -> str:
    """The output's name, checked: its suffix is known, its folder exists, nothing is overwritten.

    Without a target it is the source's name with the suffix, or stdout if the source is stdin. If
    the target is a folder, the file goes there under the source's name with the suffix.

    Args:
        others: suffixes that are allowed too.

    Raises UsageError or TicodecError before anything has been done.
    """
    if source != STANDARD and not Path(source).name:
        raise UsageError(f"{source!r} is no file")
    check_name(Path(source))
    if target is None:
        target = STANDARD if source == STANDARD else str(Path(source).with_suffix(suffix))
    if target == STANDARD:
        return target
    path = Path(target)
    check_name(path)
    if path.is_dir():
        if source == STANDARD:
            raise UsageError(f"{path} is a folder; name a file in it")
        path = path / Path(source).with_suffix(suffix).name
    known = dict.fromkeys([suffix, *others])
    if path.suffix.lower() not in known:
        *some, last = known
        shown = f"{', '.join(some)} or {last}" if some else last
        raise UsageError(f"{path}: the output must end in {shown}")
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no folder {folder}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if path.exists() and source != STANDARD and Path(source).exists() and path.samefile(source):
        raise UsageError(f"{path} is the input; name another output")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists already; -f overwrites it")
    if not os.access(folder, os.W_OK):
        raise TicodecError(f"{path}: cannot be written: no permission in {folder}")
    return str(path)


def write_output(name: str, data: bytes) -> None:
    """To a file, whole or not at all, or to stdout for "-"."""
    if name != STANDARD:
        write_file(Path(name), data)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TicodecError(f"stdout cannot be written: {error.strerror}") from error


@contextmanager
def about(name: str) -> Iterator[None]:
    """Put the file's name in front of errors about it."""
    try:
        yield
    except TicodecError as error:
        if not str(error).startswith((f"{name}:", f"{Path(name)}:")):
            shown = "stdin" if name == STANDARD else name
            raise type(error)(f"{shown}: {error}") from error
        raise
