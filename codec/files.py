"""Files of this machine: they are read whole, and written whole or not at all."""

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
except ImportError:  # Windows has no such locks, so parts that killed writers left stay there
    fcntl = None  # type: ignore[assignment]

#: Names of files that are being written. Short: a name may be as long as the system allows.
PART_PREFIX, PART_SUFFIX = ".ticodec-", ".part"
#: The most bytes in a file's name, on Linux, macOS and Windows.
NAME_MAX = 255
#: Reading the umask means setting it, so this is done once, before threads write files.
UMASK = os.umask(0)
os.umask(UMASK)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises BadInputError with the reason when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {reason(error)}") from error
    except ValueError as error:  # a zero byte in its name
        raise BadInputError(f"{str(path)!r}: cannot be read: {error}") from error


def check_name(path: Path, what: str = "its name") -> None:
    """Raises UsageError when the system can have no file of that name, which may not exist yet.

    Args:
        what: which name it is, for the message.
    """
    if any(len(os.fsencode(part)) > NAME_MAX for part in path.parts):
        raise UsageError(f"{path}: {what} is too long; {NAME_MAX} bytes are the most")
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{path}: {what} is too long") from error
    except ValueError as error:  # a zero byte in it
        raise UsageError(f"{str(path)!r}: {error}") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises TicodecError when the disk refuses."""
    try:
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in new:
            _flush_folder(folder.parent)
    except OSError as error:
        raise TicodecError(f"{path}: cannot make the folder: {reason(error)}") from error


def _flush_folder(path: Path) -> None:
    """Write a folder's names to the disk: until then a power cut can undo a rename."""
    with contextlib.suppress(OSError):  # Windows and some file systems cannot do this
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def permissions_of(path: Path) -> int | None:
    """The permissions of a file, for those made of it: to read and write, never to execute.

    None when there is no such file, or when it is no regular one, such as a pipe.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return mode & 0o666 if stat.S_ISREG(mode) else None


@dataclass(frozen=True)
class Attributes:
    """What a file gets from the file that it is made of.

    Args:
        modified: the time of its modification, in seconds since 1970; None: now.
        permissions: as `permissions_of` gives them; None: as the umask says.
    """

    modified: float | None = None
    permissions: int | None = None


#: Of a file that is made of none.
OF_NONE = Attributes()


def write_file(
    path: Path, data: bytes | memoryview, attributes: Attributes = OF_NONE, new: bool = False
) -> None:
    """Write beside the target, then rename: a crash, kill -9 or power cut leaves no half a file.

    If the path is a symbolic link, the file that it leads to is written, and the link stays.

    Args:
        new: never replace a file, whoever may have made it a moment ago.

    Raises TicodecError with the reason when the disk or the folder refuses, or when a file that is
    to be new is there; its cause is the OSError.
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
            usual = 0o666 & ~UMASK  # mkstemp made it private
            mode = usual if attributes.permissions is None else attributes.permissions
            os.chmod(part, mode)  # noqa: PTH101
            if fcntl is not None:  # rename under the lock, so that `remove_parts` leaves it alone
                _rename(part, target, new)
                part = None
        if part is not None:
            _rename(part, target, new)
            part = None
        _flush_folder(target.parent)
    except FileExistsError as error:
        raise TicodecError(f"{path} was made by something else meanwhile, and stays") from error
    except OSError as error:
        raise TicodecError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)


def _rename(part: str, target: Path, new: bool) -> None:
    """Give a part file its name. Raises FileExistsError when it is to be new and is not."""
    if new:
        try:  # at once or not at all, where others do the same
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
    """A new file in a folder, open and locked."""
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

    A file that is being written is locked, and stays.
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
    """The system's message, without the file's name."""
    return error.strerror or str(error) or type(error).__name__


@contextmanager
def locked(path: Path, patience: float, holder: str) -> Iterator[None]:
    """Hold a lock file, so that other processes stay out of the folder it is in.

    By filelock, which knows the locks of Linux, macOS and Windows, and what to do on file systems
    without any. The empty file stays: removing it could let two processes in.

    Args:
        patience: seconds to wait for a process that holds it.
        holder: what that process is, for the message.

    Raises TicodecError when it stays too long, or when the disk refuses.
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
