"""`evaluate` and `compare` as a user runs them: what they write, print and refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from batch_support import PATIENCE, wait_until
from PIL import Image
from support import make_pixels

TINY = ("-m", "tiny", "--device", "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(make_pixels(60, 80, number)).save(folder / f"{number}.png")
    return folder


def test_evaluate(run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = run("evaluate", photos, *TINY, "-q", "8,1,4", "--against", "jpeg,webp", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert all(len(line) <= 80 for line in done.out.splitlines() if not line.startswith("wrote"))
    assert "means over 2 images" in done.out
    assert "tiny against others" in done.out
    assert sum(line.startswith(" tiny ") for line in done.out.splitlines()) == 3
    facts = json.loads((out / "report.json").read_text())
    settings = [row["setting"] for row in facts["means"] if row["coder"] == "tiny"]
    assert settings == [1, 4, 8]
    assert (out / "report.html").stat().st_size > 50_000


@pytest.mark.usefixtures("unrendered")
def test_tables_are_never_cut(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    (tmp_path / "in").mkdir()
    Image.fromarray(make_pixels(170, 170)).save(tmp_path / "in" / "a.png")
    out = tmp_path / "report"
    done = run("evaluate", tmp_path / "in", *TINY, "--against", "jpeg", "--out", out)
    assert "…" not in done.out
    rows = (out / "report.md").read_text().splitlines()
    rows = [row for row in rows if row.startswith(("| jpeg", "| tiny"))]
    cells = [cell for row in rows for cell in row.split("|")[1:-1]]
    assert len(cells) > 100
    for cell in cells:
        for word in cell.split():
            assert word in done.out.split()


@pytest.mark.usefixtures("unrendered")
def test_evaluate_json(run, photos: Path, tmp_path: Path) -> None:
    done = run("evaluate", photos, *TINY, "-q", "2", "--against", "none", "--json",
               "--out", tmp_path / "report")  # fmt: skip
    facts = json.loads(done.out)
    assert facts["images"] == 2
    assert facts["bd"] == []
    assert [row["coder"] for row in facts["means"]] == ["tiny"]
    assert facts["means"][0]["bytes"] > 40


@pytest.mark.usefixtures("unrendered")
def test_an_unreadable_image_is_reported_and_the_run_goes_on(run, photos, tmp_path) -> None:
    (photos / "bad.png").write_bytes(b"nothing")
    (photos / "empty.jpg").touch()
    out = tmp_path / "report"
    done = run("evaluate", photos, *TINY, "-q", "2", "--against", "jpeg", "--out", out, "--quiet")
    done.fails(1, "left out 2 images", "bad.png: not an image", "empty.jpg")
    assert done.out == ""
    facts = json.loads((out / "report.json").read_text())
    assert facts["images"] == 2
    assert [each["image"] for each in facts["failed"]] == ["bad.png", "empty.jpg"]
    assert "bad.png" in (out / "report.html").read_text()


@pytest.mark.usefixtures("unrendered")
def test_every_effort_is_measured(run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = ("evaluate", photos, *TINY, "-q", "2,6", "--against", "jpeg", "--out", out)
    done = run(*command, "--effort", "2,1,2")
    assert (done.code, done.err) == (0, "")
    assert "every effort against effort 1" in done.out
    assert "effort.svg" in done.out
    facts = json.loads((out / "report.json").read_text())
    assert [coder["name"] for coder in facts["coders"]] == ["tiny", "tiny effort 2", "jpeg"]
    assert [step["effort"] for step in facts["efforts"]] == [1, 2]
    done = run(*command)
    assert "every effort" not in done.out
    assert not (out / "effort.svg").exists()


@pytest.mark.usefixtures("unrendered")
def test_compare_takes_an_effort(run, photos: Path) -> None:
    words = ("--effort", "2", "--against", "none")
    done = run("compare", photos / "0.png", *TINY, *words, "--json")
    assert [row["coder"] for row in json.loads(done.out)["versions"]] == ["tiny effort 2"]


def test_evaluate_refuses(run, photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    run("evaluate", empty, *TINY).fails(3, "empty: there are no images in it")
    run("evaluate", tmp_path / "gone", *TINY).fails(3, "gone: it does not exist")
    run("evaluate", photos / "0.png", *TINY).fails(3, "0.png: not a folder of images")
    words = ("--against has no codec 'jpg'; it takes none, or a list of jpeg, webp,",)
    run("evaluate", photos, *TINY, "--against", "jpg").fails(2, *words)
    run("evaluate", photos, *TINY, "--against", "none,jpeg").fails(2, "has no codec 'none'")
    run("evaluate", photos, *TINY, "--against", "jpeg,,webp").fails(2, "--against takes a list")
    run("evaluate", photos, "-m", "no").fails(2, "no weights for model 'no'")
    run("evaluate", photos, *TINY, "-q", "1,9").fails(2, "quality must be from 1 to 8, not 9")
    run("evaluate", photos, *TINY, "-q", "1,nan").fails(2, "quality must be")
    run("evaluate", photos, *TINY, "-q", "good").fails(2, "--quality takes numbers")
    for words, why in {
        "1,0": "--effort must be at least 1, not 0",
        "10": "--effort must be from 1 to 9, not 10",
        "1.5": "--effort takes whole numbers, 1 to 9, separated by commas, not '1.5'",
        "1,,3": "--effort takes whole numbers, 1 to 9, separated by commas, not '1,,3'",
    }.items():
        run("evaluate", photos, *TINY, "--effort", words).fails(2, why)
    run("evaluate", photos, *TINY, "--jobs", "0").fails(2, "jobs")
    run("evaluate", photos, *TINY, "--out", photos).fails(2, "holds other files")
    run("evaluate", photos, "-m", "tiny", "--device", "tpu").fails(2, "unknown device")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(empty))
        run("evaluate", photos, *TINY, "--against", "bpg").fails(2, "bpgenc is not on the PATH")
    assert not (tmp_path / "report").exists()


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def started(photos: Path, tmp_path: Path):
    """A function that starts an evaluation of many photos, and returns once one is measured."""
    for number in range(2, 40):
        Image.fromarray(make_pixels(120, 160, number)).save(photos / f"{number}.png")
    lines = tmp_path / "report" / "measurements.jsonl"

    def start(*command: object) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "ticodec", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda: lines.exists() and lines.read_text().count("\n") > 4, process)
        return process

    return start


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.usefixtures("unrendered")
def test_ctrl_c_keeps_finished_measurements(run, started, photos, tmp_path, jobs: int) -> None:
    out = tmp_path / "report"
    lines = out / "measurements.jsonl"
    command = ("evaluate", photos, *TINY, "-q", "1,2,3", "--against", "avif", "--out", out,
               "--jobs", jobs, "--pictures", 0)  # fmt: skip
    process = started(*command)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert said[1].splitlines() == [
        f"ticodec: interrupted; what was measured is kept in {out}; run the same command again"
        " to go on"
    ]
    wait_until(lambda: group_is_gone(process.pid))
    kept = lines.read_text().splitlines()
    assert 5 <= len(kept) < 40 * 12
    assert not (out / "report.json").exists()
    for path in photos.glob("*.png"):  # a few photos are enough for the rest of this test
        if int(path.stem) not in (0, 1, 2):
            path.unlink()
    assert run(*command[:-4], "--pictures", 0, "--quiet").code == 0
    assert lines.read_text().splitlines()[: len(kept)] == kept
    assert json.loads((out / "report.json").read_text())["images"] == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_the_programs_of_peers(photos, tmp_path, monkeypatch, jobs: int) -> None:
    """A slow program does not go on running, and its temporary files are deleted."""
    bin, scratch = tmp_path / "bin", tmp_path / "scratch"
    for folder in (bin, scratch):
        folder.mkdir()
    for name in ("bpgenc", "bpgdec"):
        text = '#!/bin/sh\n[ "$1" = -h ] || echo $$ > "$NOTE.$$"; [ "$1" = -h ] || exec sleep 600\n'
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTE", str(tmp_path / "pid"))
    monkeypatch.setenv("TMPDIR", str(scratch))
    command = ["evaluate", photos, *TINY, "-q", "1", "--against", "bpg", "--jobs", jobs,
               "--out", tmp_path / "report"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "ticodec", *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any(p.stat().st_size for p in tmp_path.glob("pid.*")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert len(err.splitlines()) == 1
    wait_until(lambda: group_is_gone(process.pid))
    assert not [path for path in scratch.rglob("*") if path.suffix in (".png", ".bpg")]


def workers_of(process: subprocess.Popen) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(p) for p in children if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def test_a_worker_that_dies_is_reported(started, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    process = started("evaluate", photos, *TINY, "--against", "avif", "--out", out, "--jobs", 2)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, err
    assert len(err.splitlines()) == 1
    assert "a worker process died" in err
    assert "run again without --fresh to go on" in err
    wait_until(lambda: group_is_gone(process.pid))
    assert (out / "measurements.jsonl").read_text().count("\n") > 4


def test_compare(run, photos: Path) -> None:
    done = run("compare", photos / "0.png", *TINY, "-q", "2,6", "--against", "webp")
    assert done.code == 0
    assert done.out.startswith(f"{photos / '0.png'} → {photos / '0.html'}: tiny ")
    page = (photos / "0.html").read_text()
    assert page.count('class="card"') == 2
    assert "<h1>0.png: tiny against webp</h1>" in page
    closest = "Every other codec has the setting whose file is closest in size to that of tiny. "
    assert f"{closest}Sizes are of whole files. Except for the original, these files have" in page
    run("compare", photos / "0.png", *TINY).fails(2, "exists already")
    done = run("compare", photos / "0.png", photos / "new.html", *TINY, "--json", "-f")
    facts = json.loads(done.out)
    assert facts["output"] == str(photos / "new.html")
    assert [row["coder"] for row in facts["versions"]] == [
        "tiny", "jpeg", "webp", "avif", "jpeg2000"
    ]  # fmt: skip


@pytest.mark.usefixtures("unrendered")
def test_models_of_one_fixed_quality(run, photos: Path, fixed, tmp_path: Path) -> None:
    assert run("compare", photos / "0.png", "-m", fixed.name, "--against", "none").code == 0
    done = run("evaluate", photos, "-m", f"tiny,{fixed.name}", "-q", "2,5", "--against", "none",
               "--out", tmp_path / "report", "--json")  # fmt: skip
    means = json.loads(done.out)["means"]
    assert [(row["coder"], row["setting"]) for row in means] == [
        ("tiny", 2), ("tiny", 5), ("fixed", 0)
    ]  # fmt: skip
    run("evaluate", photos, "-m", fixed.name, "-q", "2").fails(2, "one fixed quality")


@pytest.mark.usefixtures("unrendered")
def test_a_peer_that_fails_is_left_out(run, photos: Path, monkeypatch) -> None:
    def fail(*_: object) -> bytes:  # as Pillow does if the format cannot hold a photo
        raise ValueError("encoding error 5")

    monkeypatch.setattr("ticodec.evaluation.peers.pillow.WebP.encode", fail)
    done = run("compare", photos / "0.png", *TINY, "--against", "webp,jpeg", "--quiet")
    done.fails(1, "left out webp: ", "encoding error 5")
    assert (photos / "0.html").exists()


@pytest.mark.usefixtures("unrendered")
def test_compare_opens_a_browser_when_asked(run, photos: Path, monkeypatch) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:  # the second time there is no browser
        opened.append(url)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", browse)
    assert run("compare", photos / "0.png", *TINY, "--against", "none").code == 0
    assert opened == []
    assert "Every other codec" not in (photos / "0.html").read_text()
    words = ("compare", photos / "0.png", *TINY, "--against", "none", "-f", "--open")
    done = run(*words)
    assert (done.code, done.err) == (0, "")
    assert opened == [(photos / "0.html").as_uri()]
    done = run(*words)
    said = f"ticodec: no browser can be opened here; open {photos / '0.html'} in a browser\n"
    assert (done.code, done.err) == (0, said)


def test_compare_refuses(run, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"nothing")
    run("compare", photos / "bad.png", *TINY).fails(3, "bad.png", "not an image")
    run("compare", photos / "gone.png", *TINY).fails(3, "gone.png: cannot be read")
    run("compare", "-", *TINY).fails(2, "not stdin")
    run("compare", photos / "0.png", tmp_path / "a.png", *TINY).fails(2, "must end in .html")
    run("compare", photos / "0.png", *TINY, "-q", "0").fails(2, "quality must be")
    run("compare", photos / "0.png", *TINY, "--against", "gif").fails(2, "no codec 'gif'")
    assert not list(photos.glob("*.html"))
