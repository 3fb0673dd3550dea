"""Inputs and outputs of a command: files, stdin and stdout, and the checks before any work."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Literal

from ticodec.container import MAGIC, is_tic
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import (
    OF_NONE,
    Attributes,
    check_name,
    permissions_of,
    read_file,
    reason,
    write_file,
)

from .streams import why

STANDARD = "-"


def check_input(
    name: str,
    batch: str | None = None,
    wanted: Literal["any", "image", "tic"] = "any",
    folders: str | None = None,
) -> None:
    """Check that an input is a file that can be opened, before the output is checked.

    Args:
        batch: the command of `ticodec batch` that does the same for many files. Messages name it.
        wanted: "image" refuses `.tic` files, and "tic" refuses all others.
        folders: the command that takes a folder, with {} for its name. Messages name it. By default
            it is the one of `ticodec batch`, if there is one.

    Raises UsageError if no file can have this name, and BadInputError if it cannot be read.
    """
    if name == STANDARD:
        return
    path = Path(name)
    check_name(path, "the input's name")
    try:
        mode = path.stat().st_mode
    except OSError:  # opening it fails too, and says why
        mode = 0
    if _is_url(name) and not mode:
        takes = f"`ticodec batch {batch}` takes URLs" if batch else "only files can be read"
        raise BadInputError(f"{name}: a URL; {takes}")
    if stat.S_ISDIR(mode):
        if batch and folders is None:
            folders = f"batch {batch} {{}} {'TABLE.csv' if batch == 'classify' else 'TARGET'}"
        command = f"`ticodec {folders.format(quote(name))}` takes folders" if folders else None
        raise BadInputError(f"{name}: it is a folder; {command or 'this command takes one file'}")
    if mode and not stat.S_ISREG(mode):
        return  # a pipe can be opened only once
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {reason(error)}") from error
    if wanted == "image" and is_tic(start):
        raise BadInputError(f"{path}: not an image but a .tic file; decode it first")
    if wanted == "tic" and not is_tic(start) and not MAGIC.startswith(start):
        raise BadInputError(f"{path}: not a .tic file")


def _is_url(name: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def read_input(name: str) -> bytes:
    """The bytes of a file, or of stdin if the name is "-"."""
    if name != STANDARD:
        return read_file(Path(name))
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise BadInputError(f"cannot be read: {why(error)}") from error


def output_for(
    source: str,
    target: str | None,
    suffix: str,
    force: bool,
    others: tuple[str, ...] = (),
    batch: str | None = None,
) -> str:
    """The name of the output, after checks.

    Its suffix must be known, its folder must exist, and no file may be overwritten without `force`.
    Without a target the name is that of the source with the suffix, or stdout if the source is
    stdin. If the target is a folder, the output goes there, with the source's name and the suffix.

    Args:
        source: the input, which `check_input` has checked.
        target: what the user named, or None.
        suffix: the usual suffix, with its dot.
        force: whether a file may be overwritten, and bytes may be written to a terminal.
        others: suffixes that are allowed too.
        batch: the command of `ticodec batch` that does the same for many files. Messages name it.

    Raises UsageError or TicodecError.
    """
    if target is None:
        target = STANDARD if source == STANDARD else str(Path(source).with_suffix(suffix))
    if target == STANDARD:
        if sys.stdout.isatty() and not force:
            raise UsageError("stdout is a terminal; name an output file, or give -f to see bytes")
        return target
    path = _file_at(target, source, suffix, batch)
    _check_suffix(path, [suffix, *others], batch)
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no folder {folder}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if path.exists() and source != STANDARD and Path(source).exists() and path.samefile(source):
        raise UsageError(f"{path} is the input; name another output")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists already; give another name, or -f to overwrite it")
    if not os.access(folder, os.W_OK):
        raise TicodecError(f"{path}: cannot be written: no permission in {folder}")
    return str(path)


def _file_at(target: str, source: str, suffix: str, batch: str | None) -> Path:
    """The file that the user's target means. In a folder the file has the source's name."""
    path = Path(target)
    check_name(path, "the output's name")
    if path.is_dir():
        if source == STANDARD:
            raise UsageError(f"{path} is a folder; name a file in it")
        return path / Path(source).with_suffix(suffix).name
    if _is_url(target):
        takes = f"`ticodec batch {batch}` writes to URLs" if batch else "name a file"
        raise UsageError(f"{target}: a URL; {takes}")
    if target.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise UsageError(f"{target}: there is no such folder; make it first")
    return path


def _check_suffix(path: Path, suffixes: list[str], batch: str | None) -> None:
    known = list(dict.fromkeys(suffixes))
    if path.suffix.lower() in known:
        return
    if path.name.lower() in known:
        raise UsageError(f"{path}: a name is missing before {path.name}")
    *some, last = known
    listed = f"{', '.join(some)} or {last}" if some else last
    many = f"; for many files: `ticodec batch {batch}`" if batch and path.exists() else ""
    raise UsageError(f"{path}: the output must end in {listed}{many}")


def attributes_of(source: str, target: str, preserve_times: bool) -> Attributes:
    """The permissions that an output gets from its source, and with `preserve_times` its time.

    Raises UsageError if times are asked for and source or target is a stream, and BadInputError if
    the source cannot be read.
    """
    if preserve_times and STANDARD in (source, target):
        raise UsageError("stdin and stdout have no time; leave --preserve-times out")
    if source == STANDARD:
        return OF_NONE
    path = Path(source)
    try:
        modified = path.stat().st_mtime if preserve_times else None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {reason(error)}") from error
    return Attributes(modified, permissions_of(path))


def write_output(name: str, data: bytes, attributes: Attributes, force: bool) -> None:
    """Write to a file, whole or not at all, or to stdout if the name is "-".

    Without `force` no file is replaced, not even one that appeared after `output_for` looked.

    Raises TicodecError if it cannot be written.
    """
    if name != STANDARD:
        write_file(Path(name), data, attributes, new=not force)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise TicodecError(f"stdout cannot be written: {why(error)}") from error


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
