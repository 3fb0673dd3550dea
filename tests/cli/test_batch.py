"""`ticodec batch` as users run it: names, trees, files left out, reports, tables of labels."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from batch_support import make_photos, rows, summary, tree, whole, without_origin
from PIL import Image
from support import make_pixels

import ticodec

ODD = [
    "with space.png",
    "-leading-dash.png",
    "ünïcödé 写真 😀.jpg",
    "x" * 246 + ".png",
    "写" * 80 + ".webp",
    "quote'\" $(touch oops);.png",
    "brackets [0-9]*.png",
    "two\nlines.png",
    os.fsdecode(b"not-utf8-\xff.png"),
    "no.suffix.but.dots.PNG",
]


@pytest.mark.usefixtures("bf16")
def test_odd_names_equal_stems_links_and_a_source_inside_its_target(tmp_path: Path, run):
    target = tmp_path / "all"
    source = target / "photos"
    make_photos(source, ["a.jpg", "a.png", "A.tiff", "b/a.jpg", "b/a.jpg.png", "b/c.png", *ODD])
    (source / "loop").symlink_to(source)
    (source / "b" / "up").symlink_to("..")
    (source / "self").symlink_to("self")
    (source / "linked.png").symlink_to("b/c.png")
    (source / "gone.png").symlink_to("nowhere.png")
    (source / ".hidden.png").write_bytes(b"")
    (source / "notes.txt").write_text("no image")
    os.mkfifo(source / "pipe.png")
    before = tree(source)
    done = run(
        "batch", "encode", source, target, "-m", "tiny", "-j", 2, "--report", tmp_path / "r.json"
    )
    assert done.code == 1, done.err
    found = rows(tmp_path / "r.json")
    failed = {name for name, row in found.items() if row["status"] == "failed"}
    assert failed == {"gone.png", "pipe.png"}
    assert "leads nowhere" in found["gone.png"]["error"]
    assert "not a regular file" in found["pipe.png"]["error"]
    names = {name: row["output"] for name, row in found.items() if name not in failed}
    assert names["a.jpg"] == "a.jpg.tic"
    assert names["a.png"] == "a.png.tic"
    assert names["A.tiff"] == "A.tiff.tic"
    assert names["b/a.jpg"] == "b/a.tic"
    assert names["b/a.jpg.png"] == "b/a.jpg.tic"
    assert names["x" * 246 + ".png"] == "x" * 246 + ".tic"
    assert names["linked.png"] == "linked.tic"
    assert len(names) == 6 + len(ODD) + 1
    assert {n for n in tree(target) if not n.startswith("photos/")} == set(names.values())
    assert tree(source) == before
    with Image.open(source / "a.png") as image:
        alone = ticodec.load("tiny", bf16=None).encode(image)
    assert without_origin((target / "a.png.tic").read_bytes()) == alone
    # A folder encoded into itself: no new photos are found, and no photo is taken for an output.
    again = run("batch", "encode", target, target, "-m", "tiny", "--exclude", "*.png", "--dry-run")
    assert "encode: photos/A.tiff → photos/A.tiff.tic\n" in again.out
    assert "6 of 6 files" in again.out


def test_linked_folders_are_entered_once_and_only_if_asked(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png"])
    make_photos(tmp_path / "elsewhere", ["b.png"])
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    arguments = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "--dry-run")
    assert "link" not in run(*arguments).out
    found = json.loads(run(*arguments, "--follow-links", "--json").out)["files"]
    assert [each["file"] for each in found] == ["a.png", "link/b.png"]


def test_only_changed_files_are_encoded_again(tmp_path: Path, run):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, [f"{n}.png" for n in range(6)])

    def go(*more: object, code: int = 0) -> dict[str, str]:
        done = run("batch", "encode", source, target, "-m", "tiny", "--report", report, *more)
        assert done.code == code, done.err
        summary(report)
        return {name: row["status"] for name, row in rows(report).items()}

    assert set(go().values()) == {"done"}
    assert (target / "0.tic").stat().st_mtime == (source / "0.png").stat().st_mtime
    assert set(go().values()) == {"skipped"}
    Image.fromarray(make_pixels(40, 40, 9)).save(source / "1.png")
    (target / "2.tic").write_bytes((target / "2.tic").read_bytes()[:-3])
    (target / "3.tic").unlink()
    (target / "4.tic").write_bytes(b"")
    found = go()
    assert {name for name, status in found.items() if status == "done"} == {
        "1.png",
        "2.png",
        "3.png",
        "4.png",
    }
    assert len(whole(target)) == 6
    assert set(go("-q", 2).values()) == {"done"}
    assert set(go("-q", 2, "--no-skip-existing").values()) == {"done"}
    kept = rows(report)["0.png"]
    assert kept["bytes_out"] == (target / "0.tic").stat().st_size
    assert kept["bpp"] == pytest.approx(
        kept["bytes_out"] * 8 / (kept["width"] * kept["height"]), abs=1e-5
    )
    assert set(go("--include", "[01]*", "--exclude", "1.*").values()) == {"done"}
    assert list(rows(report)) == ["0.png"]


def test_decode_replaces_only_pictures_that_it_made(tmp_path: Path, run):
    folder, report = tmp_path / "photos", tmp_path / "r.csv"
    make_photos(folder, ["a.png", "b.png"])
    original = (folder / "a.png").read_bytes()
    assert run("batch", "encode", folder, folder, "-m", "tiny", "--quiet").code == 0
    (folder / "b.png").unlink()

    def go(*more: object) -> tuple[int, dict[str, str]]:
        done = run("batch", "decode", folder, folder, "--report", report, *more)
        return done.code, {name: row["status"] for name, row in rows(report).items()}

    assert go() == (1, {"a.tic": "failed", "b.tic": "done"})
    assert "-f overwrites it" in rows(report)["a.tic"]["error"]
    assert (folder / "a.png").read_bytes() == original
    assert go() == (1, {"a.tic": "failed", "b.tic": "skipped"})
    assert go("--force") == (0, {"a.tic": "done", "b.tic": "skipped"})
    decoded = ticodec.decode((folder / "a.tic").read_bytes())
    with Image.open(folder / "a.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(decoded))
    # Another file with the same name and time is noticed by the mark in the PNG.
    time = (folder / "b.tic").stat().st_mtime
    (folder / "b.tic").write_bytes((folder / "a.tic").read_bytes())
    os.utime(folder / "b.tic", (time, time))
    assert go() == (0, {"a.tic": "skipped", "b.tic": "done"})


def test_sources_are_deleted_only_after_a_verified_encode_and_only_if_asked(tmp_path: Path, run):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["a.png", "b.png"], 96)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(source / "noise.png")
    (source / "broken.png").write_bytes(b"no image")
    kept = {name: (source / name).read_bytes() for name in ("noise.png", "broken.png")}
    arguments = ("batch", "encode", source, target, "-m", "tiny", "--report", report)
    done = run(*arguments, "--delete-source-after-verify", "-q", 8)
    assert done.code == 1
    found = rows(report)
    assert summary(report)["deleted"] == 2
    assert found["a.png"]["psnr"] > 20
    assert found["noise.png"]["kept"].endswith(" dB, not 20 or more; a higher -q may help")
    assert found["noise.png"]["psnr"] < 20
    assert tree(source) == kept
    assert whole(target) == ["a.tic", "b.tic", "noise.tic"]
    # Another photo of that name does not replace a file that cannot be made again.
    precious = (target / "a.tic").read_bytes()
    make_photos(source, ["c.png", "a.png"], 80)
    done = run(*arguments, "--delete-source-after-verify", "-q", 8)
    assert rows(report)["a.png"]["output"] == "a.png.tic"
    assert (target / "a.tic").read_bytes() == precious
    assert ticodec.info(target / "a.png.tic")["height"] == 80
    assert not (source / "c.png").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_labels_of_a_tree_are_in_one_table_and_only_new_ones_are_computed(
    tmp_path: Path, run, joint, suffix: str
):
    source, out, report = tmp_path / "in", tmp_path / f"labels{suffix}", tmp_path / "r.json"
    make_photos(source, ["a.png", "sub/b.jpg"], 64)
    (source / "c.tic").write_bytes(joint.encode(source / "a.png", 2))
    arguments = ("batch", "classify", source, out, "-m", "joint", "--top", 2, "--report", report)
    arguments += ("--device", "cpu", "-j", 1)
    done = run(*arguments)
    assert done.code == 0
    few = "the classifier has only 3 classes and answers with the most similar of them: "
    assert f"{few}ant, bee, cow" in " ".join(done.out.split())
    assert few[:20] not in run(*arguments, "--quiet").out + run(*arguments, "--json").out
    table = _table(out)
    assert [row["file"] for row in table] == ["a.png", "c.tic", "sub/b.jpg"]
    for row in table:
        assert row["label"] in ("ant", "bee", "cow")
        assert float(row["probability"]) >= float(row["probability_2"])
    labels = joint.classify((source / "c.tic").read_bytes(), 1)
    assert table[1]["label"] == labels[0].label
    assert not (tmp_path / f"labels{suffix}.parts").exists()
    before = out.read_bytes()
    make_photos(source, ["d.png"], 64)
    (source / "a.png").unlink()
    run(*arguments).fails(3, "has rows of 1 file that this run does not have (a.png, …)", "-f")
    assert out.read_bytes() == before
    assert run(*arguments, "--force").code == 0
    total = summary(report)
    assert (total["skipped"], total["done"]) == (2, 1)
    assert [row["file"] for row in _table(out)] == ["c.tic", "d.png", "sub/b.jpg"]
    assert out.read_bytes() != before
    for foreign in (b"\x00 somebody else's", b"file,caption\nc.tic,by hand\n"):
        out.write_bytes(foreign)
        run(*arguments).fails(3, "is not a table of labels")
        assert out.read_bytes() == foreign
    run(*arguments, "--report", tmp_path / "x.txt").fails(2)


def _table(path: Path) -> list[dict]:
    import csv

    import pyarrow.parquet

    if path.suffix == ".csv":
        return list(csv.DictReader(path.open(newline="")))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()


def test_labels_of_a_killed_run_are_taken_from_its_parts(tmp_path: Path, run, joint):
    source, out, report = tmp_path / "in", tmp_path / "labels.jsonl", tmp_path / "r.json"
    make_photos(source, ["a.png", "b.png"], 64)
    arguments = ("batch", "classify", source, out, "-m", "joint", "--report", report, "-j", 1)
    assert run(*arguments).code == 0
    lines = out.read_text().splitlines(keepends=True)
    out.unlink()
    (tmp_path / "labels.jsonl.parts").mkdir()
    (tmp_path / "labels.jsonl.parts" / "000000.jsonl").write_text(lines[0])
    (tmp_path / "labels.jsonl.parts" / ".ticodec-killed.part").write_text("half a")
    assert run(*arguments).code == 0
    assert {n: r["status"] for n, r in rows(report).items()} == {
        "a.png": "skipped",
        "b.png": "done",
    }
    assert out.read_text() == "".join(lines)
    assert sorted(path.name for path in tmp_path.glob("labels*")) == ["labels.jsonl"]


def test_memory_zip_and_file_urls(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png", "sub/b.png"])
    assert run("batch", "encode", tmp_path / "in", tmp_path / "local", "-m", "tiny").code == 0
    expected = tree(tmp_path / "local")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("a.png", "sub/b.png"):
            archive.write(tmp_path / "in" / name, name)
        archive.write(tmp_path / "in" / "a.png", "../../escaped.png")
    report = tmp_path / "r.json"
    done = run(
        "batch",
        "encode",
        tmp_path / "photos.zip",
        tmp_path / "zip",
        "-m",
        "tiny",
        "--report",
        report,
    )
    assert done.code == 1
    assert "cannot have this name" in rows(report)["../../escaped.png"]["error"]
    assert tree(tmp_path / "zip") == expected
    assert not list(tmp_path.parent.rglob("escaped*"))
    run("batch", "encode", tmp_path / "in", tmp_path / "photos.zip", "-m", "tiny").fails(
        2, "archive"
    )

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    url = f"file://{tmp_path / 'in'}"
    assert run("batch", "encode", url, "memory://tics", "-m", "tiny").code == 0
    assert {n: memory.cat_file(f"/tics/{n}") for n in expected} == expected
    again = run("batch", "encode", url, "memory://tics", "-m", "tiny", "--json")
    assert json.loads(again.out)["skipped"] == 2
    assert run("batch", "decode", "memory://tics", tmp_path / "png").code == 0
    assert sorted(tree(tmp_path / "png")) == ["a.png", "sub/b.png"]
    done = run("batch", "classify", "memory://tics", "memory://tables/labels.csv")
    assert "a.tic: the weights tiny have no" in done.err
    last = done.err.splitlines()[-1]
    assert (done.code, last) == (1, "ticodec: 2 of 2 files not classified")


def test_a_run_ends_with_one_line_and_an_exit_code(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png"])
    source, target = tmp_path / "in", tmp_path / "out"
    run("batch", "encode", tmp_path / "none", target).fails(2, "does not exist")
    run("batch", "encode", source, source / "a.png", "-m", "tiny").fails(2, "is a file")
    run("batch", "encode", source, target, "-q", 9).fails(2, "quality must be")
    run("batch", "encode", source, target, "-m", "nothing").fails(2, "nothing")
    run("batch", "encode", source, target, "--device", "tpu").fails(2, "unknown device")
    run("batch", "encode", source, target, "--report", "r.txt").fails(2, ".json or .csv")
    run("batch", "encode", source, target, "--gpus", 1).fails(2, "--engine ray")
    run("batch", "encode", source, "nowhere://x").fails(2, "nowhere")
    run("batch", "classify", source, tmp_path / "labels.txt").fails(2, ".parquet")
    run("batch", "classify", source, tmp_path / "no" / "labels.csv").fails(2, "no folder")
    run("batch", "encode", "memory://x", target, "--delete-source-after-verify").fails(2)
    empty = run("batch", "decode", source, target)
    assert (empty.code, empty.err) == (0, "0 files to decode\n")
    assert "nothing to decode" in empty.out
    assert "left out: 1 .png\n" in empty.out


def test_on_error_stop_begins_no_more_files(tmp_path: Path, run):
    make_photos(tmp_path / "in", [f"{n:02d}.png" for n in range(50)])
    (tmp_path / "in" / "00.png").write_bytes(b"no image")
    report = tmp_path / "r.json"
    arguments = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "-j", 1)
    assert run(*arguments, "--on-error", "stop", "--report", report).code == 1
    total = summary(report)
    assert total["failed"] == 1
    assert total["left"] > 20
    assert total["done"] == len(whole(tmp_path / "out"))


def test_files_that_batch_did_not_make_are_replaced_only_with_force(tmp_path: Path, run):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["cartridge.png", "newer.png", "linked/a.png"])
    disk = tmp_path / "disk"
    disk.mkdir()
    target.mkdir()
    (target / "linked").symlink_to(disk)
    (target / "cartridge.tic").write_bytes(b"a game")

    def go(action: str, *more: object) -> dict[str, str]:
        places = (source, target) if action == "encode" else (target, target)
        done = run("batch", action, *places, "-j", 1, "--report", report, *more)
        assert done.code in (0, 1), done.err
        return {name: row["status"] for name, row in rows(report).items()}

    first = go("encode", "-m", "tiny", "--no-skip-existing")
    assert first == {"cartridge.png": "failed", "linked/a.png": "done", "newer.png": "done"}
    assert (target / "cartridge.tic").read_bytes() == b"a game"
    # An older photo replaces one that was encoded, as by cp -p or from another camera.
    make_photos(source, ["newer.png"], 80)
    os.utime(source / "newer.png", (1e9, 1e9))
    kept = (target / "newer.tic").read_bytes()
    assert go("encode", "-m", "tiny") == first | {"linked/a.png": "skipped", "newer.png": "failed"}
    assert (target / "newer.tic").read_bytes() == kept
    # A PNG that batch did not make, beside a .tic file, in a folder that is a link in DST.
    Image.fromarray(make_pixels(9, 9)).save(disk / "a.png")
    own = (disk / "a.png").read_bytes()
    found = go("decode", "--no-skip-existing", "--follow-links", "--include", "linked")
    assert found == {"linked/a.tic": "failed"}
    assert (disk / "a.png").read_bytes() == own
    assert set(go("encode", "-m", "tiny", "--force").values()) == {"done", "skipped"}


def test_output_names_do_not_depend_on_which_files_are_left_out(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.jpg", "a.png"])
    for pattern in ("*.jpg", "*.png"):
        arguments = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "-j", 1)
        assert run(*arguments, "--include", pattern).code == 0
    assert whole(tmp_path / "out") == ["a.jpg.tic", "a.png.tic"]


def test_the_next_run_finishes_deleting(tmp_path: Path, run):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["a.png", "b.png"], 96)
    arguments = ("batch", "encode", source, target, "-m", "tiny", "-q", 8, "--report", report)
    assert run(*arguments).code == 0  # as if the run had been killed before it deleted sources
    before = {name: without_origin(data) for name, data in tree(target).items()}
    assert run(*arguments, "--delete-source-after-verify").code == 0
    assert summary(report)["deleted"] == 2
    assert tree(source) == {}
    assert {n: without_origin(data) for n, data in tree(target).items()} == before


def test_a_link_among_the_outputs(tmp_path: Path, run):
    """The file that a link points to is written, unless it is the photo itself."""
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["a.png", "b.png"])
    target.mkdir()
    before = tree(source)
    (tmp_path / "a.tic").write_bytes(b"")
    (target / "a.tic").symlink_to("../a.tic")
    (target / "b.tic").symlink_to("../in/b.png")
    arguments = ("batch", "encode", source, target, "-m", "tiny", "-j", 1, "-f", "--report", report)
    assert run(*arguments).code == 1
    assert [row["status"] for row in rows(report).values()] == ["done", "failed"]
    assert "b.tic is a link to its own source" in rows(report)["b.png"]["error"]
    assert tree(source) == before
    assert (target / "a.tic").is_symlink()
    assert ticodec.info(tmp_path / "a.tic")["width"] == 48


def test_a_table_with_too_long_a_name(tmp_path: Path, run, joint):
    make_photos(tmp_path / "in", ["a.png"])
    table = tmp_path / f"{'n' * 250}.csv"
    run("batch", "classify", tmp_path / "in", table, "-m", "joint").fails(2, "its name is too long")
