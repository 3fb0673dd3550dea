"""Reads and writes files on this machine. A file is written completely, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import BadInputError, TicodecError, UsageError

try:
    import fcntl
except ImportError:  # Windows: no such locks, so part files of killed writers are not removed
    fcntl = None  # type: ignore[assignment]

#: How the name of a part file, which is being written, begins and ends. The name is short. It does
#: not contain the target's name, which may already be as long as the system allows.
PART_PREFIX, PART_SUFFIX = ".ticodec-", ".part"
#: The longest file name that Linux, macOS and Windows allow, in bytes.
NAME_MAX = 255
#: The umask can only be read by setting it. So it is read once, before any thread writes files.
UMASK = os.umask(0)
os.umask(UMASK)


def read_file(path: Path) -> bytes:
    """Read a file. Raises BadInputError with the reason if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {reason(error)}") from error
    except ValueError as error:  # a zero byte in its name
        raise BadInputError(f"{str(path)!r}: cannot be read: {error}") from error


def check_name(path: Path, what: str = "its name") -> None:
    """Raises UsageError if the system does not allow a file of this name. It need not exist yet.

    Args:
        what: what the message calls the name.
    """
    if any(len(os.fsencode(part)) > NAME_MAX for part in path.parts):
        raise UsageError(f"{path}: {what} is too long; {NAME_MAX} bytes are allowed")
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{path}: {what} is too long") from error
    except ValueError as error:  # a zero byte in it
        raise UsageError(f"{str(path)!r}: {error}") from error


def make_folder(path: Path) -> None:
    """Create a folder and its parent folders. Raises TicodecError if the disk refuses."""
    try:
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in new:
            _flush_folder(folder.parent)
    except OSError as error:
        raise TicodecError(f"{path}: cannot make the folder: {reason(error)}") from error


def _flush_folder(path: Path) -> None:
    """Write the names in a folder to the disk. Until then, a power cut can undo a rename."""
    with contextlib.suppress(OSError):  # Windows and some file systems cannot do this
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def permissions_of(path: Path) -> int | None:
    """The permissions that files made from this file get: to read and to write, never to execute.

    Returns None if there is no such file, or if it is not a regular file: a pipe, for example.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return mode & 0o666 if stat.S_ISREG(mode) else None


@dataclass(frozen=True)
class Attributes:
    """What a new file takes over from the file that it is made from.

    Args:
        modified: the time of modification, in seconds since 1970. None means now.
        permissions: as `permissions_of` returns them. None means what the umask allows.
    """

    modified: float | None = None
    permissions: int | None = None


#: For a file that is not made from another file.
OF_NONE = Attributes()


def write_file(
    path: Path, data: bytes | memoryview, attributes: Attributes = OF_NONE, new: bool = False
) -> None:
    """Write a file completely or not at all, even if a crash, kill -9 or power cut interrupts it.

    The data is written to a part file in the same folder, which then gets the target's name. If the
    path is a symbolic link, its target is written, and the link stays.

    Args:
        new: never replace a file, not even one that another program has just created.

    Raises TicodecError with the reason if the disk or the folder refuses, or if `new` is true and
    the file exists. Its cause is the OSError.
    """
    part = None
    target = Path(os.path.realpath(path))
    try:
        handle, part = _part(target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if attributes.modified is not None:
                os.utime(part, (attributes.modified, attributes.modified))
            usual = 0o666 & ~UMASK  # mkstemp gave permissions to the owner only
            mode = usual if attributes.permissions is None else attributes.permissions
            os.chmod(part, mode)  # noqa: PTH101
            if fcntl is not None:  # `remove_parts` must not delete it before it is renamed
                _rename(part, target, new)
                part = None
        if part is not None:
            _rename(part, target, new)
            part = None
        _flush_folder(target.parent)
    except FileExistsError as error:
        text = f"{path}: another program made this file in the meantime, so it is not replaced"
        raise TicodecError(text) from error
    except OSError as error:
        raise TicodecError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)


def _rename(part: str, target: Path, new: bool) -> None:
    """Give a part file its final name. Raises FileExistsError if `new` and the name is taken."""
    if new:
        try:  # this is atomic: of several programs that do it at once, only one succeeds
            os.link(part, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        else:
            os.unlink(part)  # noqa: PTH108
            return
    os.replace(part, target)  # noqa: PTH105


def _part(folder: Path) -> tuple[int, str]:
    """Create a part file in a folder. Returns its open, locked handle and its path."""
    while True:
        handle, part = tempfile.mkstemp(PART_SUFFIX, PART_PREFIX, folder)
        if fcntl is None:
            return handle, part
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, part
        os.close(handle)  # `remove_parts` deleted it before it was locked: try again


def remove_parts(paths: list[Path]) -> int:
    """Remove part files that killed writers left behind. Returns how many were removed.

    A file that is still being written is locked. It is not removed.
    """
    removed = 0
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            if fcntl is None:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def reason(error: OSError) -> str:
    """The system's message, without the name of the file."""
    return error.strerror or str(error) or type(error).__name__


@contextmanager
def locked(path: Path, patience: float, holder: str) -> Iterator[None]:
    """Hold a lock file, so that no other process writes to its folder meanwhile.

    The package filelock does this. It handles Linux, macOS, Windows, and file systems without
    locks. The empty file is not removed afterwards, because that could let two processes in.

    Args:
        patience: how many seconds to wait if another process holds the lock.
        holder: what the message calls that process.

    Raises TicodecError if the other process takes too long, or if the disk refuses.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=patience)
    try:
        lock.acquire()
    except Timeout as error:
        raise TicodecError(f"{path.parent}: {holder} is writing there ({path.name})") from error
    except (OSError, NotImplementedError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise TicodecError(f"{path.parent}: cannot be written: {why}") from error
    try:
        yield
    finally:
        lock.release()
