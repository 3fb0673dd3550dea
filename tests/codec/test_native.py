"""The C extension: how it is found, and that it checks its arguments."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ticodec.entropy import native
from ticodec.extension import turned_off

needed = pytest.mark.skipif(not native.active(), reason="the C extension is not built here")


@pytest.fixture
def afresh() -> Iterator[None]:
    """Clears the cached extension before and after a test."""
    native.module.cache_clear()
    yield
    native.module.cache_clear()


@needed
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists what it can do")
def test_the_processor_has_kernels_for_its_instructions() -> None:
    """If a set of kernels were missing, other tests would only run fewer cases."""
    needs = {
        "avx512vnni": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"},
        "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl"},
        "avx2": {"avx2", "fma"},
        "plain": set(),
    }
    here = (
        set(Path("/proc/cpuinfo").read_text().split()) if platform.machine() == "x86_64" else set()
    )
    expected = tuple(name for name, flags in needs.items() if flags <= here)
    assert expected == native.module().INSTRUCTIONS


@pytest.mark.usefixtures("afresh")
class TestLoader:
    def test_the_extension_can_be_turned_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TICODEC_NATIVE", "0")
        assert native.module() is None
        assert not native.active()

    @pytest.mark.parametrize("error", [ImportError("no"), OSError("no"), SystemError("no")])
    def test_an_extension_that_does_not_load_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(name: str) -> ModuleType:
            raise error

        monkeypatch.setattr(importlib, "import_module", fail)
        assert native.module() is None

    @pytest.mark.parametrize("found", [SimpleNamespace(), SimpleNamespace(API=native.API)])
    def test_an_extension_without_functions_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch, found: object
    ) -> None:
        monkeypatch.setattr(importlib, "import_module", lambda name: found)
        assert native.module() is None

    @needed
    def test_another_version_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = native.module()
        assert module is not None
        found = SimpleNamespace(**{**vars(module), "API": native.API + 1})
        native.module.cache_clear()
        monkeypatch.setattr(importlib, "import_module", lambda name: found)
        assert native.module() is None

    @needed
    def test_an_installed_extension_is_used(self) -> None:
        module = native.module()
        assert module is not None
        assert module.API == native.API


@pytest.mark.skipif(turned_off(), reason="TICODEC_NATIVE=0")
def test_with_a_compiler_the_extension_is_built() -> None:
    """Otherwise other tests would be skipped if its sources did not compile."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    assert native.active() or compiler is None


@pytest.fixture
def exact() -> ModuleType:
    module = native.module()
    if module is None:
        pytest.skip("the C extension is not built here")
    return module


def simple_tables(exact: ModuleType) -> Any:
    return exact.tables(np.array([1, 1]), np.array([1, 65534, 1, 20000, 30000, 15536]))


def unaligned(count: int, kind: type) -> np.ndarray:
    size = np.dtype(kind).itemsize
    return np.frombuffer(bytearray(count * size + 1), np.uint8)[1:].view(kind)


@pytest.mark.parametrize(
    ("halves", "frequencies"),
    [
        ([], []),
        ([0], [65536]),
        ([-1], [65536]),
        ([1], [1, 65535]),
        ([1], [1, 65535, 0]),
        ([1], [1, 65535, 1]),
        ([1], [-1, 65536, 1]),
        ([1, 1], [1, 65534, 1]),
        ([2**62 + 1], [1, 65534, 1]),
        ([-(2**63)], [1]),
        ([1], [2**63 - 1, 2**63 - 1, 65538]),
        ([32768], [1] * 65537),
    ],
)
def test_invalid_tables_are_refused(
    exact: ModuleType, halves: list[int], frequencies: list[int]
) -> None:
    with pytest.raises(ValueError, match="not entropy tables"):
        exact.tables(np.array(halves, np.int64), np.array(frequencies, np.int64))


def test_the_widest_table_works(exact: ModuleType) -> None:
    tables = exact.tables(np.array([32767]), np.r_[2, np.ones(65534, np.int64)])
    values, indexes = np.arange(-32767, 32768, dtype=np.int32), np.zeros(65535, np.uint16)
    writer = exact.writer()
    exact.write(writer, values, indexes, tables)
    back = np.empty_like(values)
    exact.read(exact.reader(exact.finish(writer), 65535), indexes, back, tables)
    assert np.array_equal(back, values)


def test_arrays_that_do_not_fit_are_refused(exact: ModuleType) -> None:
    tables, writer, reader = simple_tables(exact), exact.writer(), exact.reader(b"", 9)
    values, indexes = np.zeros(4, np.int32), np.zeros(4, np.uint16)
    frozen = values.copy()
    frozen.flags.writeable = False
    for wrong in (
        values.astype(np.int64),
        values.astype(np.uint32),
        values.astype(np.float32),
        values.astype(">i4"),
        values.astype("i4,i4"),
        np.zeros(8, np.int32)[::2],
        unaligned(4, np.int32),
        bytes(16),
        None,
        4,
    ):
        with pytest.raises(BufferError, match="values"):
            exact.write(writer, wrong, indexes, tables)
        with pytest.raises(BufferError, match="values"):
            exact.read(reader, indexes, wrong, tables)
    with pytest.raises(BufferError, match="values is not a contiguous writable array"):
        exact.read(reader, indexes, frozen, tables)
    for wrong in (indexes.astype(np.int16), indexes.astype(np.int64), unaligned(4, np.uint16)):
        with pytest.raises(BufferError, match="indexes is not an array of uint16"):
            exact.write(writer, values, wrong, tables)
        with pytest.raises(BufferError, match="indexes is not an array of uint16"):
            exact.read(reader, wrong, values, tables)
    with pytest.raises(BufferError, match="indexes has 3 numbers, not 4"):
        exact.write(writer, values, indexes[:3], tables)
    with pytest.raises(BufferError, match="values has 3 numbers, not 4"):
        exact.read(reader, indexes, values[:3], tables)
    with pytest.raises(BufferError, match="halves"):
        exact.tables(np.array([1.0]), np.array([1, 65534, 1]))
    with pytest.raises(BufferError, match="frequencies"):
        exact.tables(np.array([1]), np.array([1, 65534, 1], np.int32))
    with pytest.raises(ValueError, match="negative"):
        exact.reader(b"", -1)


def test_capsules_cannot_be_confused(exact: ModuleType) -> None:
    tables, writer, reader = simple_tables(exact), exact.writer(), exact.reader(b"", 9)
    values, indexes = np.zeros(4, np.int32), np.zeros(4, np.uint16)
    for wrong in (None, 1, tables, reader):
        with pytest.raises(TypeError, match="writer"):
            exact.write(wrong, values, indexes, tables)
        with pytest.raises(TypeError, match="writer"):
            exact.finish(wrong)
    for wrong in (None, 1, tables, writer):
        with pytest.raises(TypeError, match="reader"):
            exact.read(wrong, indexes, values, tables)
    for wrong in (None, 1, reader, writer):
        with pytest.raises(TypeError, match="tables"):
            exact.write(writer, values, indexes, wrong)
        with pytest.raises(TypeError, match="tables"):
            exact.read(reader, indexes, values, wrong)


def test_threads_read_at_the_same_time(exact: ModuleType) -> None:
    """Each thread has its own reader of the same tables. If all share one, some are refused."""
    tables, count = simple_tables(exact), 200_000
    values = np.random.default_rng(0).integers(-3, 4, count, np.int32)
    indexes = np.ones(count, np.uint16)
    writer = exact.writer()
    exact.write(writer, values, indexes, tables)
    stream = exact.finish(writer)

    def read(reader: Any) -> str:
        back = np.empty_like(values)
        try:
            exact.read(reader, indexes, back, tables)
        except RuntimeError as error:
            return str(error)
        return "right" if np.array_equal(back, values) else "wrong"

    with ThreadPoolExecutor(4) as pool:
        own = pool.map(read, [exact.reader(stream, count) for _ in range(8)])
        assert set(own) == {"right"}
        shared = exact.reader(stream, 100 * count)
        outcomes = list(pool.map(read, [shared] * 8))
    refused = "another thread uses this ticodec.rans.reader"
    assert set(outcomes) <= {"right", "wrong", refused}
    assert outcomes.count("right") == 1


def test_arrays_that_change_during_a_call_do_no_harm(exact: ModuleType) -> None:
    """Another thread may write to an array while the extension works without the GIL."""
    tables, count = simple_tables(exact), 100_000
    random = np.random.default_rng(0)
    values, indexes = np.zeros(count, np.int32), np.zeros(count, np.uint16)
    over = False

    def change() -> None:
        while not over:
            values[:] = random.integers(-(2**31), 2**31, count) >> random.integers(0, 30, count)
            indexes[:] = random.choice([0, 1, 1, 1, 65535], count)

    def work() -> None:
        writer, reader = exact.writer(), exact.reader(random.bytes(1000), 10 * count)
        for call in (
            lambda: exact.write(writer, values, indexes, tables),
            lambda: exact.read(reader, indexes, values, tables),
        ):
            with suppress(ValueError, IndexError):
                call()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(change)
        try:
            for _ in range(50):
                work()
        finally:
            over = True
