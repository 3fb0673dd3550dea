"""Places that hold files: folders on this machine, and anything fsspec knows (S3, zip, memory, …).

pandas, Dask, Ray and PyTorch read their URLs with fsspec too. It has a driver for nearly every
store, and its users know how to give credentials.
"""

from __future__ import annotations

import os
import stat
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import (
    OF_NONE,
    PART_PREFIX,
    PART_SUFFIX,
    Attributes,
    make_folder,
    reason,
    remove_parts,
    write_file,
)

#: Stores that never show half a file. Files are written to them directly, because renaming would
#: copy the file.
ATOMIC = {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2"}
#: The extra of this package that installs a protocol's driver.
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
#: Why no output goes into a .zip file.
NO_ARCHIVE = "an archive can be read, not written; name a folder, and zip it after the run"

Result = TypeVar("Result")


class Found(NamedTuple):
    """A file below a place, or something else that was found there.

    Args:
        name: path below the place, with "/". The name of a folder ends in "/".
        size: size in bytes.
        modified: time of modification in seconds since 1970, or None if the store does not report
            it.
        problem: why the file cannot be used, or None if it can.
        permissions: permissions for a file made from it, as `files.permissions_of` gives them, or
            None if the store has none.
    """

    name: str
    size: int = 0
    modified: float | None = None
    problem: str | None = None
    permissions: int | None = None


class Place(ABC):
    """A tree of files. Every method raises TicodecError with one line that says what is wrong.

    Attributes:
        url: what the user wrote.
        shared: whether other processes see the same files.
        exact_times: whether a file keeps the time of modification that it is written with.
    """

    url: str
    shared = True
    exact_times = False

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything at the place."""

    @abstractmethod
    def files(self) -> Iterator[Found]:
        """Yields all files below the place except hidden ones, in any order."""

    @abstractmethod
    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes data[start:end] of a file, or all. Negative numbers count from the end."""

    @abstractmethod
    def write(
        self, name: str, data: bytes, attributes: Attributes = OF_NONE, new: bool = False
    ) -> None:
        """Write a file completely or not at all, and make the folders above it.

        Stores that set times and permissions themselves ignore `attributes`. They also ignore
        `new`, because they cannot check it.

        Args:
            new: never replace a file, see `files.write_file`.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file."""

    @abstractmethod
    def look(self, name: str) -> Found | None:
        """A file as it is now, as `files` yields it, or None if it does not exist."""

    def same(self, one: Found, other: Found | None) -> bool:
        """Whether a file stayed unchanged between the two calls of `look` that returned these."""
        if self.exact_times or other is None:
            return one == other
        # Some stores round the times of a listing.
        known = one.modified is not None and other.modified is not None
        near = not known or abs((one.modified or 0) - (other.modified or 0)) < 1
        return one.size == other.size and near

    @abstractmethod
    def check_writable(self) -> None:
        """Raises UsageError if this kind of place cannot be written. Changes nothing."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the place ready for writing. Raises TicodecError when that is impossible."""

    def clean(self) -> None:  # noqa: B027  most stores have nothing to remove
        """Remove the temporary files of killed writers."""

    def shown(self, name: str) -> str:
        """The name of a file in messages."""
        return f"{self.url.rstrip('/')}/{name}"


def place(url: str, follow_links: bool = False) -> Place:
    """The place of a path or an fsspec URL. A .zip file is a place too.

    Raises UsageError for a URL that no installed driver knows.
    """
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    if "://" not in url and "::" not in url:
        path = Path(url)
        if path.suffix.lower() == ".zip" and path.is_file():
            return Remote(url, f"zip://::{path.absolute()}")
        return Local(path, follow_links)
    return Remote(url, url)


def absolute(url: str) -> str:
    """A path or URL that every process on this machine can use. Paths are made absolute."""
    if "://" in url or "::" in url:
        return url
    return str(Path(url).absolute())


class Local(Place):
    """A folder on this machine, or a single file."""

    exact_times = True

    def __init__(self, path: Path, follow_links: bool = False) -> None:
        self.url, self.path, self.follow_links = str(path), path, follow_links
        try:
            self.only = path.name if path.is_file() else None
        except OSError as error:
            raise UsageError(f"{path}: {reason(error)}") from error
        self.root = path.parent if self.only else path

    def exists(self) -> bool:
        try:
            return self.path.exists()
        except OSError as error:
            raise UsageError(f"{self.path}: {reason(error)}") from error

    def files(self) -> Iterator[Found]:
        if self.only:
            yield self._file_at(self.root / self.only)
            return
        failed: list[OSError] = []
        seen: set[tuple[int, int]] = set()
        for folder, folders, names in os.walk(
            self.root, onerror=failed.append, followlinks=self.follow_links
        ):
            if self.follow_links:  # links may lead in circles, so every folder is visited once
                key = os.stat(folder)  # noqa: PTH116
                if (key.st_dev, key.st_ino) in seen:
                    folders.clear()
                    continue
                seen.add((key.st_dev, key.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                if not name.startswith("."):
                    yield self._file_at(Path(folder) / name)
        for error in failed:
            name = Path(os.path.relpath(error.filename, self.root)).as_posix()
            yield Found(f"{name}/", problem=f"the folder cannot be read: {reason(error)}")

    def _file_at(self, path: Path) -> Found:
        name = path.relative_to(self.root).as_posix()
        try:
            facts = path.stat()
        except OSError as error:
            link = "a link that leads nowhere or in a circle: " if path.is_symlink() else ""
            return Found(name, problem=f"cannot be read: {link}{reason(error)}")
        if not stat.S_ISREG(facts.st_mode):  # reading a pipe would wait for ever
            return Found(name, problem="not a regular file")
        permissions = facts.st_mode & 0o666
        return Found(name, facts.st_size, facts.st_mtime, permissions=permissions)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        path = self.root / name
        try:
            with path.open("rb") as file:
                if start is None and end is None:
                    return file.read()
                size = os.fstat(file.fileno()).st_size
                first, last, _ = slice(start, end).indices(size)
                file.seek(first)
                return file.read(max(0, last - first))
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read: {reason(error)}") from error

    def write(
        self, name: str, data: bytes, attributes: Attributes = OF_NONE, new: bool = False
    ) -> None:
        path = self.root / name
        make_folder(path.parent)
        write_file(path, data, attributes, new)

    def delete(self, name: str) -> None:
        path = self.root / name
        try:
            path.unlink()
        except OSError as error:
            raise TicodecError(f"{path}: cannot be deleted: {reason(error)}") from error

    def look(self, name: str) -> Found | None:
        path = self.root / name
        return self._file_at(path) if os.path.lexists(path) else None

    def check_writable(self) -> None:
        if self.only or (self.path.exists() and not self.path.is_dir()):
            raise UsageError(f"{self.path} is a file; name a folder")
        if self.path.suffix.lower() == ".zip" and not self.path.exists():
            raise UsageError(f"{self.path}: {NO_ARCHIVE}")

    def prepare(self) -> None:
        """Make the folder and try to write into it."""
        make_folder(self.path)
        probe = self.path / f"{PART_PREFIX}{uuid.uuid4().hex}{PART_SUFFIX}"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise TicodecError(f"{self.path}: cannot be written: {reason(error)}") from error

    def clean(self) -> None:
        remove_parts(list(self.path.rglob(f"{PART_PREFIX}*{PART_SUFFIX}")))

    def shown(self, name: str) -> str:
        return str(self.root / name)


class Remote(Place):
    """Any other file system for which fsspec has a driver."""

    def __init__(self, url: str, full: str) -> None:
        import fsspec

        self.url = url
        protocol = full.split("://", 1)[0].split("::", 1)[0]
        try:
            self.fs, self.root = fsspec.core.url_to_fs(full)
        except ImportError as error:
            extra = EXTRAS.get(protocol)
            hint = f"pip install 'ticodec[{extra}]'" if extra else str(error)
            raise UsageError(f"{url}: the driver of {protocol}:// is missing; {hint}") from error
        except Exception as error:  # drivers raise the errors of their services' libraries
            raise UsageError(f"{url}: not a place that can be opened: {_line_of(error)}") from error
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else self.fs.protocol
        self.shared = "memory" not in protocols and "memory://" not in full
        self.atomic = bool(ATOMIC & set(protocols))
        self.archive = "zip" in protocols

    def exists(self) -> bool:
        self.fs.invalidate_cache()
        return self._do("read", "", lambda: bool(self.fs.exists(self.root) or self._listed()))

    def _listed(self) -> dict[str, dict[str, Any]]:
        listing = self.fs.find(self.root, detail=True)
        assert isinstance(listing, dict)
        return listing

    def files(self) -> Iterator[Found]:
        root = self.root.strip("/")
        for key, info in self._do("listed", "", self._listed).items():
            if info.get("type", "file") != "file":
                continue
            key = key.strip("/") if not key.endswith("/") else key
            name = key[len(root) :].lstrip("/") if root else key
            if not name:
                raise UsageError(f"{self.url} is a file; name the folder it is in")
            parts = name.split("/")
            if any(part.startswith(".") and part not in (".", "..") for part in parts):
                continue
            # Anybody may have chosen the names in an archive or a bucket. No name may lead out of
            # the target folder.
            if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name:
                yield Found(name, problem="a file below a folder cannot have this name")
                continue
            yield Found(name, int(info.get("size") or 0), _modified(info))

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        return self._do(
            "read", name, lambda: bytes(self.fs.cat_file(self._path(name), start=start, end=end))
        )

    def write(
        self, name: str, data: bytes, attributes: Attributes = OF_NONE, new: bool = False
    ) -> None:
        path = self._path(name)

        def write() -> None:
            if self.atomic:
                self.fs.pipe_file(path, data)
                return
            parent = str(PurePosixPath(path).parent)
            self.fs.makedirs(parent, exist_ok=True)
            part = f"{parent}/{PART_PREFIX}{uuid.uuid4().hex}{PART_SUFFIX}"
            self.fs.pipe_file(part, data)
            self.fs.mv(part, path)

        self._do("written", name, write)

    def delete(self, name: str) -> None:
        self._do("deleted", name, lambda: self.fs.rm_file(self._path(name)))

    def look(self, name: str) -> Found | None:
        def look() -> Found | None:
            self.fs.invalidate_cache()
            try:
                info = self.fs.info(self._path(name))
            except FileNotFoundError:
                return None
            return Found(name, int(info.get("size") or 0), _modified(info))

        return self._do("read", name, look)

    def check_writable(self) -> None:
        if self.archive or self.url.lower().endswith(".zip"):
            raise UsageError(f"{self.url}: {NO_ARCHIVE}")

    def prepare(self) -> None:
        if not self.atomic:
            self._do("written", "", lambda: self.fs.makedirs(self.root, exist_ok=True))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}" if self.root else name

    def _do(self, what: str, name: str, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except TicodecError:
            raise
        except Exception as error:  # drivers raise the errors of their services' libraries
            kind = BadInputError if what == "read" else TicodecError
            shown = self.shown(name) if name else self.url
            raise kind(f"{shown}: cannot be {what}: {_line_of(error)}") from error


def _line_of(error: Exception) -> str:
    """An exception's message as one short line."""
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


def _modified(info: dict[str, Any]) -> float | None:
    """The time of modification in a driver's facts about a file, in seconds since 1970.

    Drivers name it differently. Returns None if there is none.
    """
    for key in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = info.get(key)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return aware.timestamp()
    moment = info.get("date_time")  # zip: local time in the writer's time zone, which is unknown
    if isinstance(moment, tuple) and len(moment) == 6:
        try:
            return datetime(*moment, tzinfo=UTC).timestamp()
        except ValueError:
            return None
    return None
