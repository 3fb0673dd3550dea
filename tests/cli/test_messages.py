"""Messages of commands that are used wrongly: one line that says what would be right."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ticodec.errors import BadInputError, is_memory_short

TINY = ("-m", "tiny")


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_or_several_files_need_batch(run, photo: Path, encoded: Path) -> None:
    for name, typed in (("photos", "photos"), ("my photos", "'my photos'")):
        Path(name).mkdir()
        folder = f"{name}: it is a folder; "
        for command, out in (("encode", "TARGET"), ("decode", "TARGET"), ("classify", "TABLE.csv")):
            words = f"{folder}`ticodec batch {command} {typed} {out}` takes folders"
            run(command, name).fails(3, words)
        run("compare", name).fails(3, f"{folder}`ticodec evaluate {typed}` takes folders")
        run("info", name).fails(3, f"{folder}this command takes one file")
    Path("b.png").write_bytes(photo.read_bytes())
    words = ("must end in .tic; for many files: `ticodec batch encode`",)
    run("encode", photo, "b.png").fails(2, *words)
    words = ("extra argument", "c.png", "for many files: `ticodec batch encode`", "encode --help")
    run("encode", photo, "b.png", "c.png").fails(2, *words)
    run("decode", encoded, "b.tic", "c.tic").fails(2, "for many files: `ticodec batch decode`")
    assert "batch" not in run("info", encoded, "c.tic").err


def test_a_batch_into_a_name_that_looks_like_a_file(run, photo: Path, encoded: Path) -> None:
    photos = photo.parent
    for command, source, one in (("encode", photo, "one.TIC"), ("decode", encoded, "one.png")):
        said = f"{one}: DST is a folder; for one file use `ticodec {command} {source} {one}`"
        for more in ((), ("--dry-run",)):
            run("batch", command, source, one, *more).fails(2, said)
        run("batch", command, photos, one).fails(2, f"{one}: DST is a folder; write {one}/ for")
        assert not Path(one).exists()
    words = ("--include", photo.name, *TINY, "-j", 1)
    assert run("batch", "encode", photos, "one.tic/", *words).code == 0
    assert Path("one.tic/photo.tic").exists()
    assert run("batch", "encode", photos, "one.tic", *words).code == 0  # the folder exists now


def test_a_tic_file_given_to_encode_is_reported_first(run, encoded: Path) -> None:
    before = encoded.read_bytes()
    for more in ((), ("-f",), ("photo.png",), ("x.tic",)):
        run("encode", encoded, *more, *TINY).fails(3, "photo.tic: not an image but a .tic file")
    renamed = encoded.rename("renamed.jpg")
    Path("renamed.tic").write_bytes(b"there already")
    run("encode", renamed, *TINY).fails(3, "renamed.jpg: not an image but a .tic file")
    assert renamed.read_bytes() == before


def test_a_missing_input_is_reported_before_its_output(run) -> None:
    for name in ("nothere.tic", "nothere.png", "nothere.html"):
        Path(name).write_bytes(b"there")
    said = "nothere.jxl: cannot be read: No such file"
    run("encode", "nothere.jxl", *TINY).fails(3, said)
    run("decode", "nothere.jxl").fails(3, said)
    run("compare", "nothere.jxl").fails(3, said)


def test_an_empty_file_is_reported_as_empty(run) -> None:
    Path("empty.jpg").touch()
    run("encode", "empty.jpg", *TINY).fails(3, "empty.jpg: ", "empty")


def test_a_missing_folder(run, photo: Path) -> None:
    run("encode", photo, "NEWDIR/", *TINY).fails(2, "NEWDIR/: there is no such folder; make it")
    run("encode", photo, "NEWDIR/a.tic", *TINY).fails(2, "there is no folder NEWDIR")
    Path("NEWDIR").mkdir()
    assert run("encode", photo, "NEWDIR/", *TINY).code == 0
    assert Path("NEWDIR/photo.tic").exists()


def test_urls_need_batch(run, photo: Path) -> None:
    url = "https://example.com/photo.jpg"
    run("encode", url).fails(3, f"{url}: a URL; `ticodec batch encode` takes URLs")
    run("classify", "s3://bucket/a.tic").fails(3, "s3://bucket/a.tic: a URL; `ticodec batch class")
    run("info", "s3://bucket/a.tic").fails(3, "s3://bucket/a.tic: a URL; only files can be read")
    run("encode", photo, "s3://bucket/a.tic", *TINY).fails(2, "`ticodec batch encode` writes to")


def test_the_message_shows_which_name_is_too_long(run, photo: Path) -> None:
    """The name of the output has four more letters, and the user did not write it."""
    long = photo.rename(photo.with_name("n" * 253))
    run("encode", long, *TINY).fails(2, "nnn.tic: the output's name is too long; 255 bytes")
    run("encode", "n" * 256, *TINY).fails(2, "nnn: the input's name is too long; 255 bytes")
    run("batch", "encode", ".", "n" * 253 + ".tic", *TINY).fails(2, "nnn.tic: ")
    run("batch", "encode", "n" * 256, "one.tic", *TINY).fails(2)
    run("evaluate", "n" * 256).fails(3, "nnn: cannot be read: File name too long")


def test_a_folder_without_permission(run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In such a folder the system does not even say whether a file exists."""
    real = os.stat

    def stat(path, **options):
        if "locked/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, **options)

    Path("locked").mkdir()
    monkeypatch.setattr(os, "stat", stat)
    for command in ("encode", "decode", "classify", "info", "compare"):
        run(command, "locked/a").fails(3, "locked/a: cannot be read: ")
    run("evaluate", "locked/a").fails(3, "locked/a: cannot be read: Permission denied")
    run("batch", "encode", photo, "locked/a.tic", *TINY).fails(2, "locked/a.tic: ")


def test_an_error_of_the_system_names_its_file(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr("ticodec.cli.info.check_input", refuse)
    run("info", "a.tic").fails(1, "ticodec: a.tic: Permission denied")


def test_export_says_what_it_needs(run, photo: Path) -> None:
    run("export", photo).fails(3, "photo.png: damaged, or not a checkpoint of `ticodec train`")


def test_a_name_that_begins_with_a_dash(run) -> None:
    hint = "if -dash.jpg is a file, write ./-dash.jpg (see ticodec encode --help)"
    for words in (["-dash.jpg"], ["-m", "-dash.jpg"], ["-q4.5", "-dash.jpg", "--bad"]):
        run("encode", *words).fails(2, hint)
    run("decode", "-crop", "-o.png").fails(2, "if -o.png is a file, write ./-o.png")
    assert "./" not in run("encode", "-q4.5", "--bad").err
    Path("-x").touch()
    run("encode", "-x").fails(2, "if -x is a file, write ./-x")


@pytest.mark.parametrize("command", ["encode", "decode", "info", "export", "batch encode"])
def test_wrong_use_names_the_help_of_the_command(run, command: str) -> None:
    run(*command.split(), "--bad").fails(2, f"(see ticodec {command} --help)")
    run(*command.split(), "--json=1").fails(2, "does not take", f"(see ticodec {command} --help)")


def test_a_name_that_is_only_a_suffix(run, photo: Path, encoded: Path) -> None:
    run("encode", photo, ".tic", *TINY).fails(2, ".tic: a name is missing before .tic")
    run("decode", encoded, ".png").fails(2, ".png: a name is missing before .png")


def test_missing_weights_are_named_and_not_the_photo(run, photo: Path, encoded: Path) -> None:
    words = "ticodec: missing: the classifier is missing: No such file"
    run("classify", photo, "--weights", "missing").fails(3, words)
    run("classify", encoded, photo, "--weights", "missing").fails(3, words)


# -- out of memory ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, the limit is set another way")
@pytest.mark.parametrize(
    ("limit", "command"),
    [(60, "models"), (110, "models"), (300, "decode"), (900, "classify")],
)
def test_too_little_memory_to_import(encoded: Path, limit: int, command: str) -> None:
    """`limit` is in megabytes. NumPy or PyTorch cannot be imported, or threads cannot start."""

    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit * 1024**2,) * 2)

    file = [] if command == "models" else [str(encoded), *(["x.png"] * (command == "decode"))]
    done = subprocess.run(
        [sys.executable, "-m", "ticodec", command, *file],
        preexec_fn=set_limit,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    if command == "models" and done.returncode == 0:
        pytest.skip("this machine needs less")
    assert done.returncode == 1, done.stderr
    assert done.stderr == "ticodec: not enough memory to load the libraries\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, the limit is set another way")
def test_too_little_memory_for_workers(shell, photo: Path) -> None:
    """Workers of batch need more memory than its main process, because they import more."""
    limit = (900 * 1024**2,) * 2
    done = shell(
        *("batch", "encode", photo, "out", *TINY, "-j", 1, "--quiet"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
        timeout=60,
    )
    said = b"ticodec: a worker process cannot start: not enough memory\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_errors_that_mean_too_little_memory() -> None:
    mapped = "libtorch_cpu.so: failed to map segment from shared object"
    assert is_memory_short(ImportError(mapped))
    assert not is_memory_short(ImportError(f"{mapped}: Operation not permitted"))
    assert not is_memory_short(BadInputError("out of memory.jpg: not an image"))
    wrapped = BadInputError("weights cannot be read")
    wrapped.__cause__ = OSError(12, "Cannot allocate memory")
    assert is_memory_short(wrapped)


# -- what newcomers try -------------------------------------------------------------------


def test_q_is_not_quiet(run, photo: Path) -> None:
    for command in ("decode", "batch decode"):
        run(*command.split(), "a", "b", "-q").fails(2, "write --quiet to print less, or --output-q")
    run("encode", photo, "-q").fails(2, "-q is the quality, such as -q 5; write --quiet to print")
    run("encode", "-q", photo).fails(2, "-q is the quality, such as -q 5; write --quiet to print")


def test_an_effort_is_a_whole_number(run, photo: Path) -> None:
    for command in (["encode", photo], ["batch", "encode", photo, "out"]):
        for text in ("2.5", "high"):
            said = f"effort is a whole number, 1 to 9, not '{text}'"
            run(*command, "--effort", text, *TINY).fails(2, said)
        run(*command, "--effort", "12", *TINY).fails(2, "--effort must be from 1 to 9, not 12")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["encode", "a.jpg", "-q", "best"], "'-q': it must be a number;"),
        (["classify", "a.tic", "--top", "two"], "'--top': it must be a whole number ("),
        (["classify", "a.tic", "--top", "0"], "'--top': it must be at least 1 ("),
        (["batch", "decode", "a", "b", "--on-error", "x"], "'--on-error': 'x' is not one of"),
    ],
)
def test_wrong_values_are_refused_in_plain_words(run, words: list[str], said: str) -> None:
    run(*words).fails(2, said)
