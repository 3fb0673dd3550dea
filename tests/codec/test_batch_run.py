"""Runs of `ticodec.batch` as the command uses them: output names, rows, workers."""

from __future__ import annotations

from pathlib import Path

from batch_support import make_photos

from ticodec.batch.messages import Job
from ticodec.batch.plan import make_plan, output_names
from ticodec.batch.report import Totals
from ticodec.batch.run import Options, Run
from ticodec.batch.worker import Worker


def test_output_names_are_all_different():
    names = ["a.jpg", "a.jpg.png", "a.jpg.png.gif", "a.png", "é.png", "e\u0301.png", "s/a.png"]
    outputs = output_names(names, ".tic")
    assert len({name.casefold() for name in outputs}) == len(names)
    assert outputs[-1] == "s/a.tic"
    assert output_names(["one.jpg"], ".tic") == ["one.tic"]


def test_a_run_that_stops_early_has_a_row_for_every_file(tmp_path: Path):
    names = [f"{number}.png" for number in range(12)]
    make_photos(tmp_path / "in", names)
    job = Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny")
    run = Run(job, Options(jobs=1))
    rows = run.rows()
    first = next(rows)
    rows.close()
    every = run.all_rows()
    assert every[0] is first
    assert sorted(row.file for row in every) == sorted(names)
    assert [row.status for row in every] == ["done", *["left"] * 11]
    assert Totals.of(every).counts == {"done": 1, "left": 11}


def test_a_retry_skips_files_that_the_dead_worker_finished(tmp_path: Path):
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, ["a.png"], 96)
    job = Job("encode", str(source), str(target), model="tiny", quality=8, delete_source=True)
    (item,) = make_plan(job, [], []).items
    for _ in range(2):
        (row,) = Worker(job).run([item])
        assert (row.status, row.deleted) == ("done", True)
        assert row.bytes_out == (target / "a.tic").stat().st_size
    (target / "a.tic").unlink()
    (row,) = Worker(job).run([item])
    assert row.status == "failed"
