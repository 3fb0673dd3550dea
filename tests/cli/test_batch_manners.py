"""What `ticodec batch` prints and which files it leaves alone: reports, names, narrow terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import zipfile
from pathlib import Path

import pytest
from batch_support import PATIENCE, children, make_photos, rows, start, summary, tree, wait_until
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import extras


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_a_report_replaces_reports_only(tmp_path: Path, run, suffix: str):
    source, report = tmp_path / "in", tmp_path / f"r{suffix}"
    make_photos(source, ["a.png"])
    words = ("batch", "encode", source, tmp_path / "out", "-m", "tiny", "-j", 1, "--report", report)
    for foreign in (
        b"\x00\xff",
        b'{"summary": {}, "files": [1]}',
        b'{"summary": {}}',
        b"[]",
        b"file,caption\na,b\n",
        b"[" * 9999,
        b'"' + b"x" * 200_000,
    ):
        report.write_bytes(foreign)
        run(*words).fails(2, "exists and is not a report of batch; -f overwrites it")
        assert report.read_bytes() == foreign
        assert not (tmp_path / "out").exists()
    assert run(*words, "-f").code == 0
    assert rows(report)["a.png"]["status"] == "done"
    assert run(*words).code == 0
    assert rows(report)["a.png"]["status"] == "skipped"
    report.write_bytes(b"")  # as mktemp creates it
    assert run(*words).code == 0
    report.unlink()
    report.mkdir()
    run(*words).fails(2, "is a folder; name a file in it")


def test_files_left_out_are_counted_by_suffix(tmp_path: Path, run):
    source, report = tmp_path / "in", tmp_path / "r.json"
    make_photos(source, ["a.png", "old/b.png"])
    for name in ("a.mov", "b.MOV", "sub/c.mov", "a.txt", "b.txt", "README", "old/x.doc"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("something else")
    words = ("batch", "encode", source, tmp_path / "out", "-m", "tiny", "-j", 1)
    words += ("--exclude", "old", "--report", report)
    left = {".mov": 3, ".txt": 2, "": 1}
    lines = [
        "left out: 3 .mov, 2 .txt, 1 without suffix",
        "excluded: 2 files, by --include or --exclude",
    ]
    assert run(*words, "--dry-run").out.splitlines()[-2:] == lines
    dry = json.loads(run(*words, "--dry-run", "--json").out)
    assert dry["files"] == [{"file": "a.png", "output": "a.tic", "status": "todo"}]
    assert (dry["left_out"], dry["excluded"]) == (left, 2)
    said = json.loads(run(*words, "--json").out)
    assert (said["left_out"], said["excluded"]) == (left, 2)
    assert summary(report)["left_out"] == left
    shown = [" ".join(line.split()) for line in run(*words).out.splitlines()]
    assert shown[-2:] == [line.replace(":", "") for line in lines]
    nothing = run(*words, "--include", "none")
    assert nothing.out.splitlines()[1:] == ["excluded: 9 files, by --include or --exclude"]
    for letter in "abcdefgh":
        (source / f"x.{letter}").write_text("")
    assert "1 .e, 3 of 3 other suffixes\n" in run(*words, "--dry-run").out


def test_a_file_named_as_source_is_tried_whatever_its_suffix(tmp_path: Path, run):
    weird, report = tmp_path / "photo.weird", tmp_path / "r.json"
    Image.fromarray(make_pixels(40, 50)).save(weird, "PNG")
    words = ("-m", "tiny", "-j", 1, "--report", report)
    assert run("batch", "encode", weird, tmp_path / "out", *words).code == 0
    assert ticodec.info(tmp_path / "out" / "photo.tic")["width"] == 50
    (tmp_path / "out" / "photo.tic").rename(tmp_path / "bits")
    assert run("batch", "decode", tmp_path / "bits", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "bits.png").exists()
    weird.write_text("no image")
    assert run("batch", "encode", weird, tmp_path / "new", *words).code == 1
    assert "not an image" in rows(report)["photo.weird"]["error"]
    same = run("batch", "encode", tmp_path / "bits", tmp_path, *words)  # no suffix: bits.tic
    assert same.code == 1
    assert not (tmp_path / "bits.tic").exists()


@pytest.mark.skipif(os.name == "nt", reason="permissions of Unix")
def test_outputs_have_the_permissions_of_their_sources(tmp_path: Path, run):
    source, tics, images = (tmp_path / name for name in ("in", "tics", "images"))
    make_photos(source, ["private.png", "shared.png", "program.png"])
    wanted = {"private": 0o600, "shared": 0o664, "program": 0o755}
    for name, mode in wanted.items():
        (source / f"{name}.png").chmod(mode)
    assert run("batch", "encode", source, tics, "-m", "tiny", "-j", 1).code == 0
    assert run("batch", "decode", tics, images, "-j", 1).code == 0
    for folder in (tics, images):
        modes = {path.stem: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert modes == wanted | {"program": 0o644}


@pytest.mark.parametrize("missing", ["ray", "pandas", "pyarrow"])
def test_a_missing_ray_is_reported_in_one_line(
    tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch, missing: str
):
    make_photos(tmp_path / "in", ["a.png"])
    find = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else find(name))
    words = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "--engine", "ray")
    done = run(*words)
    done.fails(2, "a Ray cluster needs packages that are not installed: pip install 'ticodec[ray]'")
    assert (done.out, len(done.err.splitlines())) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_files_that_are_up_to_date_are_not_counted_as_work(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png", "b.png"])
    words = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "-j", 1)
    assert run(*words).err == "2 files to encode\n"
    assert run(*words).err == "0 files to encode\n"
    (tmp_path / "out" / "a.tic").unlink()
    assert run(*words).err == "1 file to encode\n"


def test_a_second_run_says_that_it_has_not_read_the_notes(tmp_path: Path, run, monkeypatch):
    def words_of(*command: object) -> str:
        return " ".join(run(*command).out.split())

    monkeypatch.chdir(tmp_path)
    source, report = Path("in"), Path("r.csv")
    make_photos(source, ["a.png"])
    plain = Image.fromarray(make_pixels(40, 50))
    plain.save(source / "b.gif", save_all=True, append_images=[plain.rotate(90), plain])
    words = ("batch", "encode", source, "out", "-m", "tiny", "-j", 1, "--report", report)
    again = "their notes are not read again; to see them, encode again with --no-skip-existing"
    first = words_of(*words)
    assert "notes r.csv has them for each file 1 photo:" in first
    assert again not in first
    assert rows(report)["b.gif"]["notes"].startswith("frames: ")
    assert rows(report)["a.png"]["notes"] == ""
    assert f"up to date 2 files {again} size" in words_of(*words)
    third = words_of(*words, "--no-skip-existing")
    assert again not in third
    assert "notes r.csv has them for each file 1 photo:" in third
    without = words_of(*words[:-2], "--no-skip-existing")
    assert "notes --report FILE writes them for each file" in without


def test_equal_failures_are_counted_together(tmp_path: Path, run):
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, ["a.png", "sub/b.png"])
    words = ("batch", "encode", source, target, "-m", "tiny", "-j", 1)
    assert run(*words).code == 0
    done = run(*words, "-q", 3, "--delete-source-after-verify")
    text = " ".join(done.out.split())
    assert "failed 2 files 2× its output exists, but has quality 4; -q 4 keeps it" in text
    assert "sub/b.tic exists, but has quality 4" in done.err


def test_batch_without_its_command_gets_a_hint(run):
    hint = "write encode, decode or classify first: `ticodec batch encode PHOTOS SMALL`"
    run("batch", "PHOTOS", "SMALL").fails(2, "No such command 'PHOTOS'", hint)


def test_missing_packages_are_named_before_work_starts(
    tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "in"
    make_photos(source, ["a.png", "done.png"])
    words = ("batch", "encode", source, tmp_path / "out", "-m", "tiny", "-j", 1)
    assert run(*words).code == 0
    for name in ("a.HEIC", "b.heic", "c.hif", "d.jxl"):
        (source / name).write_bytes(b"no image")
    find = extras.find_spec
    missing = ("pillow_heif", "pillow_jxl")
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in missing else find(name))
    said = [
        "3 files (.heic, .hif) need a package that is not installed: pip install 'ticodec[heif]'",
        "1 file (.jxl) needs a package that is not installed: pip install 'ticodec[jxl]'",
    ]
    assert run(*words, "--dry-run").err.splitlines() == said
    assert run(*words, "--dry-run", "--quiet").err == ""
    done = run(*words)
    assert (done.code, done.err.splitlines()[:3]) == (1, ["4 files to encode", *said])
    assert run(*words, "--exclude", "*.heic", "--exclude", "*.HEIC", "--exclude", "*.hif",
               "--dry-run").err.splitlines() == said[1:]  # fmt: skip
    monkeypatch.setattr(extras, "find_spec", find)
    assert run(*words, "--dry-run").err == ""


def test_neither_an_archive_nor_a_folder_of_its_name_is_written(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png"])
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(tmp_path / "in" / "a.png", "a.png")
    before = tree(tmp_path)
    for target in (tmp_path / "out.zip", tmp_path / "photos.zip", "memory://out.zip"):
        for more in ([], ["--dry-run"]):
            words = ("batch", "encode", tmp_path / "photos.zip", target, "-m", "tiny", *more)
            run(*words).fails(2, "an archive can be read, not written; name a folder, and zip it")
    assert tree(tmp_path) == before
    assert not (tmp_path / "out.zip").exists()
    (tmp_path / "folder.zip").mkdir()
    words = ("batch", "encode", tmp_path / "photos.zip", tmp_path / "folder.zip", "-m", "tiny")
    assert run(*words).code == 0


def test_control_characters_in_names_do_not_reach_the_terminal(tmp_path: Path, run):
    source, report = tmp_path / "in", tmp_path / "r.csv"
    names = ["red\x1b[31m.png", "two\nlines.png", os.fsdecode(b"caf\xe9.png"), "back\u202egnp.jpg"]
    escaped = [r"red\x1b[31m", r"two\nlines", r"caf\udce9", r"back\u202egnp"]
    source.mkdir()
    for name in names:
        (source / name).write_text("no image")
    (source / "a.x\x1b[2Jy").write_text("")
    words = ("batch", "encode", source, tmp_path / "out", "-m", "tiny", "-j", 1, "--report", report)
    done, dry = run(*words), run(*words, "--dry-run")
    assert done.code == 1
    for text in (done.err, dry.out):
        assert all(name in text for name in escaped)
    assert r"left out  1 .x\x1b[2jy" in done.out
    for letter in "\x1b\u202e":
        assert letter not in done.err + done.out + dry.out
    assert len(dry.out.splitlines()) == 6
    assert set(rows(report)) == set(names)  # the report has the names unchanged


def test_json_and_quiet(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png"])
    words = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "-j", 1)
    for more in (["--dry-run"], []):
        quiet = run(*words, *more, "--quiet")
        assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
        both = run(*words, *more, "--json", "--quiet")
        assert (both.code, both.err) == (0, "")
        assert json.loads(both.out)["left_out"] == {}


def test_a_terminal_of_forty_columns(tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch):
    """No line is wider than the terminal, and no text is cut off."""
    monkeypatch.setenv("COLUMNS", "40")
    long, target = "long" * 20, tmp_path / "out"
    make_photos(tmp_path / "in", ["a.png", f"{long}.png"])
    (tmp_path / "in" / f"x.{long}").write_text("no image")
    target.mkdir()
    (target / f"{long}.tic").write_text("something else")
    done = run("batch", "encode", tmp_path / "in", target, "-m", "tiny", "-j", 1)
    assert max(map(len, done.out.splitlines())) <= 40
    together = "".join(done.out.split())
    assert "1×itsoutputexistsandisnota.ticfileofthisversion;-foverwritesit" in together
    assert f"leftout1.{long}" in together


def test_ctrl_c_in_a_terminal_prints_no_stray_line(tmp_path: Path):
    """The workers get the signal too. Here this happens while the first of them starts."""
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, [f"{n}.png" for n in range(40)], 120)
    run = start("encode", source, target, "-m", "tiny", "--jobs", 2, start_new_session=True)
    wait_until(lambda: any(map(imports, children(run.pid))), run)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(PATIENCE) == 130
    assert run.stderr.read().decode().splitlines() == [
        "40 files to encode",
        "ticodec: interrupted; files that are done are kept; run the same command again to go on",
    ]


def imports(pid: int) -> bool:
    """Whether Python runs in a process and has begun to import packages."""
    return b"numpy" in Path(f"/proc/{pid}/maps").read_bytes()


def test_files_that_are_only_checked_are_counted_apart(tmp_path: Path, run) -> None:
    """A tree that is encoded already, but whose sources are to be deleted now."""
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, ["a.png", "b.png"], 64)
    arguments = ("batch", "encode", source, target, "-m", "tiny", "-q", 8)
    assert "2 files to encode\n" in run(*arguments).err
    make_photos(source, ["new.png"], 64)
    deleting = (*arguments, "--delete-source-after-verify")
    planned = run(*deleting, "--dry-run").out
    assert "check, and delete the source if nothing would be lost: a.png → a.tic" in planned
    assert "encode: new.png → new.tic" in planned
    assert "1 of 3 files to encode, 2 to check; nothing was done" in planned
    done = run(*deleting)
    assert "1 file to encode, 2 files to check before the source is deleted" in done.err
    assert "encoded  1 file, " in done.out
    assert re.search(r"^checked  2 files that an earlier run encoded *$", done.out, re.M)
    assert "deleted  3 files of the source" in done.out
    assert not list(source.iterdir())


def test_a_run_that_only_checks_does_not_say_that_it_encoded(tmp_path: Path, run) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, ["a.png", "b.png"], 64)
    arguments = ("batch", "encode", source, target, "-m", "tiny", "-q", 8)
    assert run(*arguments).code == 0
    done = run(*arguments, "--delete-source-after-verify", "--report", tmp_path / "r.json")
    assert "0 files to encode, 2 files to check" in done.err
    assert re.search(r"^checked  2 files that an earlier run encoded, in \d+ s *$", done.out, re.M)
    assert not re.search(r"^encoded", done.out, re.M)
    assert summary(tmp_path / "r.json")["done"] == 2


def test_the_summary_counts_the_photos_of_each_note(tmp_path: Path, run) -> None:
    source = tmp_path / "in"
    source.mkdir()
    image = Image.fromarray(make_pixels(64, 64))
    video = b"\0\0\0\x18ftypmp42" + b"\0" * 500
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        image.save(source / name, comment=b"mine")
    (source / "a.jpg").write_bytes((source / "a.jpg").read_bytes() + video)
    done = run("batch", "encode", source, tmp_path / "out", "-m", "tiny", "-q", 8)
    assert re.search(r"^ +1 photo: .*video", done.out, re.M), done.out
    assert re.search(r"^ +3 photos, such as: ", done.out, re.M), done.out


def test_one_file_is_counted_in_the_singular(tmp_path: Path, run):
    make_photos(tmp_path / "in", ["a.png"])
    arguments = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "-j", 1)
    assert "1 of 1 file to encode" in run(*arguments, "--dry-run").out
    done = run(*arguments)
    assert done.err.startswith("1 file to encode\n")
    assert "1 file, 0.0 megapixels" in done.out
    assert run(*arguments).out.split("  ")[:2] == ["up to date", "1 file"]
