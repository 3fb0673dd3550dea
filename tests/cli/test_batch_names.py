"""Photos with equal names or stems: no .tic file is replaced by that of another photo."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from batch_support import make_photos, rows, tree
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import container
from ticodec.batch.messages import Item, Job
from ticodec.batch.provenance import Origin, origin_of, with_origin

DELETE = "--delete-source-after-verify"


def put(path: Path, seed: int, moment: float) -> None:
    """Write a photo with this time of modification."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_pixels(96, 96, seed)).save(path)
    os.utime(path, (moment, moment))


@pytest.fixture
def go(tmp_path: Path, run):
    """A function that encodes in → out, and returns (status, output) of each photo."""

    def call(*more: object, places: tuple[str, str] = ("in", "out")) -> dict[str, tuple[str, str]]:
        report, where = tmp_path / "r.json", [tmp_path / name for name in places]
        done = run(
            "batch", "encode", *where, "-m", "tiny", "-q", 8, "-j", 1, "--report", report, *more
        )
        found = rows(report)
        assert done.code == any(row["status"] == "failed" for row in found.values()), done.err
        return {name: (row["status"], row["output"]) for name, row in found.items()}

    return call


def origin(path: Path) -> Origin | None:
    return origin_of(container.read(path.read_bytes()))


@pytest.mark.parametrize("how", ["deleted", "deleted by a second run", "gone"])
def test_a_new_photo_with_the_stem_of_one_that_is_gone(tmp_path: Path, go, how: str):
    source, target = tmp_path / "in", tmp_path / "out"
    put(source / "IMG_1.jpg", 1, 2e9)
    assert go(*[DELETE] * (how == "deleted")) == {"IMG_1.jpg": ("done", "IMG_1.tic")}
    if how == "deleted by a second run":
        go(DELETE)
    (source / "IMG_1.jpg").unlink(missing_ok=how != "gone")
    assert origin(target / "IMG_1.tic").deleted == (how != "gone")
    precious = tree(target)
    for moment in (1e9, 3e9):  # older and newer than the photo that is gone
        put(source / "IMG_1.png", 2, moment)
        assert go() == {"IMG_1.png": ("done", "IMG_1.png.tic")}
        assert go() == {"IMG_1.png": ("skipped", "IMG_1.png.tic")}
        assert precious.items() <= tree(target).items()
        if moment == 1e9:
            (target / "IMG_1.png.tic").unlink()
    assert go(DELETE) == {"IMG_1.png": ("done", "IMG_1.png.tic")}
    assert tree(source) == {}
    assert precious.items() <= tree(target).items()
    assert len(tree(target)) == 2


def test_a_new_photo_with_the_full_name_of_one_that_was_deleted(tmp_path: Path, go):
    """A camera may restart its numbering."""
    source, target = tmp_path / "in", tmp_path / "out"
    put(source / "IMG_1.png", 1, 1e9)
    go(DELETE)
    put(source / "IMG_1.png", 2, 1.1e9)
    assert go() == {"IMG_1.png": ("done", "IMG_1.png.tic")}
    put(source / "IMG_1.png", 3, 1.2e9)  # it changed, and no photo was deleted since
    assert go() == {"IMG_1.png": ("done", "IMG_1.png.tic")}
    assert go(DELETE) == {"IMG_1.png": ("done", "IMG_1.png.tic")}
    before = tree(target)
    assert len(before) == 2
    put(source / "IMG_1.png", 4, 1.3e9)
    for flags in ([], [DELETE], ["-f"]):
        assert go(*flags) == {"IMG_1.png": ("failed", "IMG_1.tic")}
        assert tree(target) == before
    assert "all that is left of a photo" in rows(tmp_path / "r.json")["IMG_1.png"]["error"]


def test_a_photo_that_would_lose_something_is_not_marked_deleted(tmp_path: Path, go):
    path = tmp_path / "in" / "a.gif"
    path.parent.mkdir()
    for seed, moment in ((1, 1e9), (2, 1.1e9)):
        image, other = (Image.fromarray(make_pixels(64, 64, seed + n)) for n in (0, 5))
        image.save(path, save_all=True, append_images=[other])
        os.utime(path, (moment, moment))
        flags = [DELETE] if seed == 1 else []
        assert go(*flags) == {"a.gif": ("done", "a.tic")}
        assert path.exists()
        assert not origin(tmp_path / "out" / "a.tic").deleted


def test_a_changed_photo_is_noticed_by_its_size(tmp_path: Path, go):
    path = tmp_path / "in" / "a.png"
    put(path, 1, 1e9)
    go()
    assert origin(tmp_path / "out" / "a.tic") == Origin(".png", path.stat().st_size, False)
    put(path, 2, 1e9)
    assert go() == {"a.png": ("done", "a.tic")}
    assert go() == {"a.png": ("skipped", "a.tic")}


def test_a_file_without_an_origin(tmp_path: Path, go, run):
    """`ticodec encode` and earlier versions write no origin. Such a file is kept.

    Its time decides whether it is up to date.
    """
    source, target = tmp_path / "in", tmp_path / "out"
    put(source / "a.png", 1, 1e9)
    target.mkdir()
    assert run("encode", source / "a.png", target / "a.tic", "-m", "tiny", "-q", 8).code == 0
    before = (target / "a.tic").read_bytes()
    os.utime(target / "a.tic", (1e9, 1e9))
    assert go() == {"a.png": ("skipped", "a.tic")}
    put(source / "a.png", 2, 1.1e9)
    assert go() == {"a.png": ("done", "a.png.tic")}
    assert (target / "a.tic").read_bytes() == before
    put(source / "a.png", 2, 0.9e9)
    (target / "a.png.tic").unlink()
    # a.tic is newer than the photo now. Perhaps the photo is only an older copy.
    assert go() == {"a.png": ("failed", "a.tic")}


def test_a_second_photo_of_the_same_stem_comes_and_goes(tmp_path: Path, go):
    source, target = tmp_path / "in", tmp_path / "out"
    put(source / "a.jpg", 1, 1e9)
    go()
    put(source / "a.png", 2, 1e9)
    both = {"a.jpg": ("skipped", "a.tic"), "a.png": ("done", "a.png.tic")}
    assert go() == both
    put(source / "a.jpg", 3, 1.1e9)  # changed
    assert go() == {"a.jpg": ("done", "a.tic"), "a.png": ("skipped", "a.png.tic")}
    (source / "a.jpg").unlink()
    (target / "a.tic").unlink()
    assert go() == {"a.png": ("skipped", "a.png.tic")}


def test_an_output_name_that_another_photo_of_the_run_has(tmp_path: Path, go):
    source = tmp_path / "in"
    put(source / "a.jpg", 1, 1e9)
    go()
    (source / "a.jpg").unlink()
    put(source / "a.png", 2, 1e9)
    put(source / "a.png.jpg", 3, 1e9)
    found = go()
    assert found == {"a.png": ("failed", "a.tic"), "a.png.jpg": ("done", "a.png.tic")}


@pytest.mark.parametrize("format", ["png", "jpg"])
def test_pictures_of_decode_are_not_encoded_again(tmp_path: Path, go, run, format: str):
    """Encode and decode twice within one folder."""
    folder = tmp_path / "in"
    make_photos(folder, ["a.tif", "sub/b.tif"], 64)
    for _ in range(2):
        found = go(places=("in", "in"))
        assert {name: row for name, row in found.items() if name.endswith(".tif")} == {
            "a.tif": ("skipped" if _ else "done", "a.tic"),
            "sub/b.tif": ("skipped" if _ else "done", "sub/b.tic"),
        }
        done = run("batch", "decode", folder, folder, "--format", format, "--quiet")
        assert (done.code, done.err) == (0, "")
    everything = tree(folder)
    assert len(everything) == 6
    for name in ("a.tif", "sub/b.tif"):
        (folder / name).unlink()
        del everything[name]
    for flags in ([], ["-f", "-q", 7], [DELETE, "--no-skip-existing"]):
        assert {status for status, _ in go(*flags, places=("in", "in")).values()} == {"skipped"}
        assert tree(folder) == everything
    row = rows(tmp_path / "r.json")[f"a.{format}"]
    assert row["notes"] == [
        {"kind": "decoded", "text": "left out, because batch decode made it from a .tic file"}
    ]


def test_outputs_in_folders_inside_the_source(tmp_path: Path, go, run):
    put(tmp_path / "in" / "a.jpg", 1, 1e9)
    assert go(places=("in", "in/small")) == {"a.jpg": ("done", "a.tic")}
    assert run("batch", "decode", tmp_path / "in", tmp_path / "in" / "png").code == 0
    before = tree(tmp_path / "in")
    assert set(before) == {"a.jpg", "small/a.tic", "png/small/a.png"}
    again = go(places=("in", "in/small"))
    assert {name: status for name, (status, _) in again.items()} == {
        "a.jpg": "skipped",
        "png/small/a.png": "skipped",
    }
    assert tree(tmp_path / "in") == before
    # In another folder without a file of its name, a decoded picture is encoded like any other.
    assert go(places=("in/png", "new")) == {"small/a.png": ("done", "small/a.tic")}


def test_an_origin_is_read_back(tiny):
    tic = tiny.encode(make_pixels(16, 16), 2)
    assert origin_of(container.read(tic)) is None
    for suffix in ("", ".png", ".two words", os.fsdecode(b".\xff"), ".two\nlines", ".1"):
        for deleted in (False, True):
            expected = Origin(suffix, 12345, deleted)
            marked = with_origin(with_origin(tic, Origin(".x", 1, True)), expected)
            assert origin_of(container.read(marked)) == expected
            assert ticodec.decode(marked).size == (16, 16)
    odd = container.read(tic)
    for payload in (b"", b"-", b".png", b"12png", b"\xff"):
        odd.sections[7] = payload
        assert origin_of(odd) is None


def test_a_store_that_sets_its_own_times(tmp_path: Path, go, run):
    """Every output is newer than its photo, so only suffix and size show whether it changed."""
    import fsspec

    from ticodec.batch.existing import sift
    from ticodec.batch.plan import make_plan
    from ticodec.batch.worker import Worker

    fsspec.filesystem("memory").store.clear()
    source = tmp_path / "in"
    job = Job("encode", str(source), "memory://origins", model="tiny", quality=8)

    def names() -> list[tuple[str, str]]:
        plan = make_plan(job, [], [])
        sifted = list(sift(job, plan.items, True))
        todo = [item for item in sifted if isinstance(item, Item)]
        assert [row.status for row in Worker(job).run(todo)] == ["done"] * len(todo)
        return [("todo" if item in todo else item.status, item.output) for item in sifted]

    put(source / "a.jpg", 1, 1e9)
    assert names() == [("todo", "a.tic")]
    assert names() == [("skipped", "a.tic")]
    put(source / "a.jpg", 2, 0.9e9)
    assert names() == [("todo", "a.tic")]
    (source / "a.jpg").unlink()
    put(source / "a.png", 3, 1e9)
    assert names() == [("todo", "a.png.tic")]


def test_a_similar_photo_in_a_store_that_sets_its_own_times(tmp_path: Path):
    """The photo has the name, the size and nearly the pixels of one that was deleted."""
    import fsspec

    from ticodec.batch.existing import sift
    from ticodec.batch.plan import make_plan
    from ticodec.batch.worker import Worker

    fsspec.filesystem("memory").store.clear()
    photo = tmp_path / "in" / "a.bmp"
    job = Job(
        "encode", str(photo.parent), "memory://series", model="tiny", quality=8, delete_source=True
    )

    def row():
        (item,) = sift(job, make_plan(job, [], []).items, True)
        (found,) = Worker(job).run([item])
        return found

    put(photo, 1, 1e9)
    first = photo.read_bytes()
    assert row().deleted
    pixels = make_pixels(96, 96, 1)
    pixels[:24, :24] //= 2
    Image.fromarray(pixels).save(photo)
    os.utime(photo, (1e9 + 5, 1e9 + 5))
    found = row()
    assert (found.status, found.deleted) == ("failed", False)
    assert "a.tic may belong to another photo of the same name and size" in found.error
    # No option of the next run replaces the file that may be all that is left of the first photo.
    for changed, skip in (({}, False), ({"quality": 7}, True), ({"replace": True}, False)):
        other = replace(job, delete_source=False, **changed)
        (item,) = sift(other, make_plan(other, [], []).items, skip)
        assert item.output == "a.bmp.tic"
    photo.write_bytes(first)  # the first photo again, which now only has to be deleted
    os.utime(photo, (1e9, 1e9))
    assert row().deleted


def test_a_longer_name_may_be_that_of_another_photo(tmp_path: Path, go):
    """a.png gets the longer name a.png.tic, which a.png.png would get if it were alone."""
    source, target = tmp_path / "in", tmp_path / "out"
    for number, name in enumerate(("a.png", "a.jpg", "a.png.png")):
        put(source / name, number, 1e9 + number)
    names = {"a.jpg": "a.jpg.tic", "a.png": "a.png.tic", "a.png.png": "a.png.png.tic"}
    (source / "a.png.png").rename(tmp_path / "later.png")
    go()
    precious = tree(target)
    (tmp_path / "later.png").rename(source / "a.png.png")
    assert {name: output for name, (_, output) in go().items()} == names
    assert precious.items() <= tree(target).items()


def test_stripping_metadata_is_a_setting_that_is_compared(tmp_path: Path, run) -> None:
    """A tree that was encoded with locations is encoded again to strip them, and vice versa."""
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["a.jpg"], 64)
    with Image.open(source / "a.jpg") as image:
        exif = image.getexif()
        exif.get_ifd(0x8825).update({1: "N", 2: (50.0, 4.0, 30.0)})
        image.save(source / "a.jpg", exif=exif)

    def places(*words: str) -> tuple[str, bool]:
        arguments = ("batch", "encode", source, target, "-m", "tiny", "--report", report, *words)
        assert run(*arguments).code == 0
        kept = Image.Exif()
        kept.load(ticodec.decode(target / "a.tic").info.get("exif", b""))
        return rows(report)["a.jpg"]["status"], bool(kept.get_ifd(0x8825))

    assert places() == ("done", True)
    assert places() == ("skipped", True)
    assert places("--strip-location") == ("done", False)
    assert places("--strip-location") == ("skipped", False)
    assert places("--strip") == ("done", False)
    assert places() == ("done", True)
    # If sources are deleted, a file with other settings may be all that is left of a photo. It
    # stays.
    words = ("--strip-location", "--delete-source-after-verify")
    arguments = ("batch", "encode", source, target, "-m", "tiny", "--report", report, *words)
    assert run(*arguments).code == 1
    assert "has other metadata" in rows(report)["a.jpg"]["error"]
    assert (source / "a.jpg").exists()


def test_force_does_not_replace_the_file_of_a_deleted_photo(tmp_path: Path, run) -> None:
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    arguments = ("batch", "encode", source, target, "-m", "tiny", "-q", 8, "--report", report)
    put(source / "a.png", 1, 1e9)
    assert run(*arguments, DELETE).code == 0
    assert tree(source) == {}
    precious = (target / "a.tic").read_bytes()
    put(source / "a.png", 2, 2e9)
    put(source / "a.bmp", 3, 2e9)
    for _ in range(2):
        assert run(*arguments, "-f", "--no-skip-existing").code == 0
        assert {row["output"] for row in rows(report).values()} == {"a.png.tic", "a.bmp.tic"}
        assert (target / "a.tic").read_bytes() == precious
    (source / "a.bmp").unlink()
    (target / "a.png.tic").write_bytes(precious)
    assert run(*arguments, "-f").code == 1
    assert "all that is left of a photo" in rows(report)["a.png"]["error"]


def test_a_file_without_an_origin_in_a_store_is_not_replaced(tmp_path: Path, tiny):
    """It may be of another photo that is gone. Its time does not help: the store sets its own."""
    import fsspec

    from ticodec.batch.existing import sift
    from ticodec.batch.plan import make_plan

    store = fsspec.filesystem("memory")
    store.store.clear()
    put(tmp_path / "in" / "a.png", 1, 1e9)
    store.pipe_file("/silent/a.tic", tiny.encode(make_pixels(96, 96, 2), 8))
    for quality, status in ((8, "skipped"), (3, "failed")):
        job = Job("encode", str(tmp_path / "in"), "memory://silent", model="tiny", quality=quality)
        (row,) = sift(job, make_plan(job, [], []).items, True)
        assert not isinstance(row, Item)
        assert row.status == status
    assert "has quality 8; `quality` 8 keeps it" in row.error
