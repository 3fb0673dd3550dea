"""Targets and effort in batch runs: what is written, what is up to date, what is not replaced."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from batch_support import make_photos, rows, tree
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import container
from ticodec.batch.existing import sift
from ticodec.batch.messages import Item, Job, Row
from ticodec.batch.plan import make_plan
from ticodec.batch.provenance import Origin, origin_of, payload_of, target_text
from ticodec.batch.report import Totals
from ticodec.batch.run import Options, Run
from ticodec.batch.worker import Worker
from ticodec.cli.batch_display import Display
from ticodec.targets import MEASURES, Target

DELETE = "--delete-source-after-verify"
#: How versions without targets and effort read an origin: sign, size, what was stripped, suffix.
EARLIER = rb"(-?)(\d{1,18})([lm]?)((?s:\..*)?)"

targets = st.one_of(
    st.builds(Target, st.sampled_from(MEASURES), st.floats(2, 1e12)),
    st.builds(Target, st.sampled_from(("size", "bpp", "psnr")), st.floats(1e-3, 2)),
)
origins = st.builds(
    Origin,
    suffix=st.text(st.characters(exclude_characters="/.\0", exclude_categories=["Cs"])).map(
        lambda text: f".{text}" if text else ""
    ),
    size=st.integers(0, 10**18 - 1),
    deleted=st.booleans(),
    left_out=st.sampled_from(["", "location", "metadata"]),
    target=st.one_of(st.just(""), targets.map(target_text)),
    effort=st.integers(1, 9),
)


@pytest.fixture
def go(tmp_path: Path, run):
    """A function that encodes in → out with options, and returns the report's rows by photo."""

    def call(*more: object, code: int = 0) -> dict[str, dict]:
        report = tmp_path / "r.json"
        words = (tmp_path / "in", tmp_path / "out", "-m", "tiny", "-j", 1, "--report", report)
        done = run("batch", "encode", *words, *more)
        assert done.code == code, done.err
        return rows(report)

    return call


def statuses(job: Job) -> set[str]:
    """Encode the photos that are not up to date, in this process. Returns the statuses of all."""
    sifted = list(sift(job, make_plan(job, [], []).items, True))
    todo = [file for file in sifted if isinstance(file, Item)]
    found = [*Worker(job).run(todo), *(file for file in sifted if isinstance(file, Row))]
    return {row.status for row in found}


def origin(path: Path) -> Origin:
    found = origin_of(container.read(path.read_bytes()))
    assert found is not None
    return found


def payload(tic: bytes, origin: bytes) -> container.Container:
    """A `.tic` file whose origin has these bytes."""
    file = container.read(tic)
    file.sections[7] = origin
    return file


@pytest.fixture(scope="module")
def tic(tiny) -> bytes:
    return tiny.encode(make_pixels(16, 16), 2)


@given(origins)
def test_an_origin_is_read_back_and_earlier_versions_do_not_replace_its_file(tic, expected: Origin):
    stored = payload_of(expected)
    assert origin_of(payload(tic, stored)) == expected
    usual = replace(expected, target="", effort=1)
    earlier = re.fullmatch(EARLIER, stored)
    assert earlier is not None
    assert bool(earlier[1]) == expected.deleted
    suffix = os.fsdecode(earlier[4])
    if expected == usual:
        assert suffix == expected.suffix
    else:  # earlier versions find a suffix that no photo has, so they keep the file
        assert "/" in suffix
        assert PurePosixPath(f"a{suffix}").suffix != suffix


def test_how_origins_are_stored(tic):
    stored = {
        b"12.jpg": Origin(".jpg", 12, False),
        b"-12l.jpg./effort=7": Origin(".jpg", 12, True, "location", "", 7),
        b"12m./size=200000": Origin("", 12, False, "metadata", "size=200000"),
        b"12.jpg./ms-ssim=15.2287875,effort=9": Origin(
            ".jpg", 12, False, "", "ms-ssim=15.2287875", 9
        ),
    }
    for payload_, expected in stored.items():
        assert payload_of(expected) == payload_
    ratio = Target("ms-ssim", 15.228787452803376)
    assert target_text(ratio) == "ms-ssim=15.2287875"
    assert target_text(4.5) == target_text(None) == ""
    # A target that only a later version knows is kept as text, and all else is read.
    later = origin_of(payload(tic, b"-12.jpg./vmaf=90,effort=12"))
    assert later == Origin(".jpg", 12, True, "", "vmaf=90,effort=12")


def test_more_effort_encodes_a_tree_again_and_less_effort_keeps_it(tmp_path: Path, go):
    make_photos(tmp_path / "in", ["a.png", "b.png"])
    usual = Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny", quality=8)
    assert statuses(usual) == {"done"}
    before = tree(tmp_path / "out")
    for effort, quality, status, there in (
        (3, 8, "done", 3),
        (3, 8, "skipped", 3),
        (2, 8, "skipped", 3),
        (1, 8, "skipped", 3),
        (4, 8, "done", 4),
        (1, 5, "done", 1),
        (1, 8, "done", 1),
    ):
        assert statuses(replace(usual, effort=effort, quality=quality)) == {status}
        assert origin(tmp_path / "out" / "a.tic").effort == there
    assert tree(tmp_path / "out") == before
    # If sources are deleted, a file with less effort may be all that is left of a photo. It stays.
    error = go("-q", 8, "--effort", 2, DELETE, code=1)["a.png"]["error"]
    assert error.endswith("was encoded with effort 1; --effort 1 keeps it, -f overwrites it")
    assert go("-q", 8, "--effort", 5)["a.png"]["quality"] == 8
    assert {row["deleted"] for row in go("-q", 8, DELETE).values()} == {True}
    assert origin(tmp_path / "out" / "a.tic").effort == 5
    assert tree(tmp_path / "in") == {}


def test_each_photo_is_encoded_alone_with_the_effort_of_its_job(tmp_path: Path, monkeypatch):
    make_photos(tmp_path / "in", ["a.png", "b.png", "c.png"])
    efforts: list[int] = []

    def refined(codec, pixels, features, stored, effort, progress):
        efforts.append(effort)
        if len(efforts) == 2:
            raise MemoryError
        return codec.scaled(features, stored)

    monkeypatch.setattr("ticodec.refinement.refined", refined)
    job = Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny", effort=7)
    found = {row.file: row.error for row in Worker(job).run(make_plan(job, [], []).items)}
    assert found == {"a.png": "", "b.png": "not enough memory for this image", "c.png": ""}
    assert efforts == [7] * 3  # not twice, as happens to files of a group that fails


def test_a_target_size_is_for_each_photo(tmp_path: Path, go):
    """The whole file has at most the target's size, including the section about its photo."""
    make_photos(tmp_path / "in", ["a.png", "b.png", "c.png"], 160)
    with Image.open(tmp_path / "in" / "a.png") as image:
        image.resize((32, 32)).save(tmp_path / "in" / "a.png")
    found = go("--target-size", 1000)
    assert {row["status"] for row in found.values()} == {"done"}
    assert found["a.png"]["quality"] == 8  # even its best file is smaller than the target
    assert found["a.png"]["bytes_out"] < 980
    for name in "bc":
        row, path = found[f"{name}.png"], tmp_path / "out" / f"{name}.tic"
        assert 980 <= path.stat().st_size <= 1000
        assert row["bytes_out"] == path.stat().st_size
        assert row["quality"] == ticodec.info(path)["quality"]
        assert origin(path).target == "size=1000"
        assert row["notes"] == []
    assert found["b.png"]["quality"] != found["c.png"]["quality"]


def test_force_writes_the_nearest_file(tmp_path: Path, go):
    make_photos(tmp_path / "in", ["a.png"], 160)
    failed = go("--target-psnr", 90, code=1)["a.png"]
    assert failed["psnr"] is None
    assert "90 dB PSNR cannot be reached" in failed["error"]
    assert "`" not in failed["error"]
    assert tree(tmp_path / "out") == {}
    row = go("--target-psnr", "90", "--force")["a.png"]
    (note,) = row["notes"]
    assert note["kind"] == "target"
    assert note["text"] == f"asked for 90 dB PSNR, got {row['psnr']:.2f} dB PSNR"
    assert row["quality"] == 8
    # The file is the nearest to what was asked for, so it is up to date.
    assert go("--target-psnr", "90")["a.png"]["status"] == "skipped"


def test_a_file_for_a_target_is_up_to_date_for_that_target(tmp_path: Path, go):
    make_photos(tmp_path / "in", ["a.png"], 96)
    row = go("--target-psnr", 23.1)["a.png"]
    assert row["psnr"] == pytest.approx(23.15, abs=0.0501)
    wanted = Target("psnr", 23.1)
    usual = Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny")
    for quality, effort, status in (
        (wanted, 1, "skipped"),
        (Target("psnr", 23.1, nearest=True), 1, "skipped"),
        (row["quality"], 1, "skipped"),
        (Target("bpp", 0.5), 1, "done"),
        (wanted, 1, "done"),
        (wanted, 2, "done"),
        (wanted, 1, "skipped"),
        (None, 1, "done"),
    ):
        assert statuses(replace(usual, quality=quality, effort=effort)) == {status}
    assert origin(tmp_path / "out" / "a.tic").target == ""
    error = go("--target-psnr", 23.1, DELETE, code=1)["a.png"]["error"]
    assert error == "a.tic exists, but was encoded for a quality; -f overwrites it"
    assert go("--target-psnr", 23.1, DELETE, "-f")["a.png"]["deleted"]
    assert origin(tmp_path / "out" / "a.tic").deleted
    precious = tree(tmp_path / "out")
    make_photos(tmp_path / "in", ["a.bmp", "a.png"], 90)
    found = go("--target-psnr", 23.1, "--force")
    assert {row["output"] for row in found.values()} == {"a.bmp.tic", "a.png.tic"}
    assert precious.items() <= tree(tmp_path / "out").items()


def test_options_that_exclude_each_other(run, tmp_path: Path):
    words = ("batch", "encode", tmp_path, tmp_path / "out")
    run(*words, "-q", 3, "--target-size", "2k").fails(2, "--quality", "--target-size")
    run(*words, "--target-bpp", 1, "--target-psnr", 23.1).fails(2, "--target-bpp", "--target-psnr")
    run(*words, "--effort", 10).fails(2, "--effort")
    run(*words, "--target-size", "many").fails(2, "--target-size", "many")


def test_effort_when_a_photo_is_encoded_again_before_it_is_deleted(tmp_path: Path):
    """In a store that sets its own times the bytes are compared. Other efforts give other bytes."""
    import fsspec

    fsspec.filesystem("memory").store.clear()
    make_photos(tmp_path / "in", ["a.png"], 96)
    job = Job("encode", str(tmp_path / "in"), "memory://anew", model="tiny", quality=8, effort=5)
    items = make_plan(job, [], []).items
    assert [row.status for row in Worker(job).run(items)] == ["done"]
    (kept,) = sift(replace(job, effort=1), items, True)
    assert isinstance(kept, Row)
    assert kept.status == "skipped"
    (refused,) = sift(replace(job, effort=1, delete_source=True), items, True)
    assert isinstance(refused, Row)
    assert "encoded with effort 5; `effort` 5 keeps it" in refused.error
    (item,) = sift(replace(job, delete_source=True), items, True)
    assert isinstance(item, Item)
    (row,) = Worker(replace(job, delete_source=True)).run([item])
    assert row.deleted


def test_the_time_left_when_each_photo_takes_minutes(tmp_path: Path):
    """The estimate counts only photos encoded in this run, however long ago each of them ended."""
    names = [f"{number}.bmp" for number in range(8)]
    make_photos(tmp_path / "in", ["0.bmp"])
    for name in names[1:]:
        (tmp_path / "in" / name).write_bytes((tmp_path / "in" / "0.bmp").read_bytes())
    run = Run(Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny"), Options())
    display = Display(run, Totals(), quiet=False)
    clock = iter([0, 0, 0, 0, 150, 300, 450])
    display.progress.get_time = lambda: next(clock)
    rows = [Row(name, "", "skipped" if name < "3" else "done") for name in names]
    for row in rows[:3]:
        display.show(row)
    display.begin(run.plan.items[3:])
    left = []
    for row in rows[3:6]:
        display.show(row)
        left.append(display.progress.tasks[0].time_remaining)
    assert left == [None, 450, 300]
