"""Batch runs on S3, against a real server of its protocol on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from batch_support import make_photos, rows, summary, tree, wait_until
from moto.server import ThreadedMotoServer


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server. Environment variables make ticodec and its workers use it."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    driver = fsspec.get_filesystem_class("s3")
    driver.clear_instance_cache()  # else they use an earlier test's server
    yield url
    server.stop()


def test_s3_to_s3_and_back_in_several_processes(tmp_path: Path, run, endpoint: str):
    names = ["a.png", "odd name é.png", "sub/b.jpg", "sub/deeper/c.png"]
    make_photos(tmp_path / "in", names)
    assert run("batch", "encode", tmp_path / "in", tmp_path / "tic", "-m", "tiny").code == 0
    expected = tree(tmp_path / "tic")
    s3 = fsspec.filesystem("s3")
    s3.mkdir("photos")
    s3.mkdir("small")
    s3.put(str(tmp_path / "in") + "/", "photos/", recursive=True)
    report = tmp_path / "r.json"
    arguments = ("batch", "encode", "s3://photos", "s3://small/2026", "-m", "tiny", "-j", 2)
    done = run(*arguments, "--report", report)
    assert done.code == 0, done.err
    assert summary(report)["done"] == 4
    s3.invalidate_cache()
    assert {name: s3.cat_file(f"small/2026/{name}") for name in expected} == expected
    assert run(*arguments, "--report", report).code == 0
    assert summary(report)["skipped"] == 4
    # Only the outputs of a newer photo and a damaged output are made again.
    written = s3.info("small/2026/a.tic")["LastModified"].timestamp()
    wait_until(lambda: time.time() >= written + 1)  # S3's times are in whole seconds
    s3.pipe_file("photos/a.png", (tmp_path / "in" / "sub/deeper/c.png").read_bytes())
    s3.pipe_file("small/2026/sub/b.tic", expected["sub/b.tic"][:-3])
    assert run(*arguments, "--report", report).code == 0
    found = {name: row["status"] for name, row in rows(report).items()}
    assert found == {names[0]: "done", names[1]: "skipped", names[2]: "done", names[3]: "skipped"}
    done = run("batch", "decode", "s3://small/2026", tmp_path / "png", "-j", 1)
    assert done.code == 0, done.err
    assert sorted(tree(tmp_path / "png")) == sorted(
        name.replace(".tic", ".png") for name in expected
    )


def test_a_refusal_by_s3_is_reported_in_one_line(tmp_path: Path, run, endpoint: str):
    make_photos(tmp_path / "in", ["a.png"])
    done = run("batch", "encode", "s3://nowhere", tmp_path / "out", "-m", "tiny")
    done.fails(3, "s3://nowhere", "bucket does not exist")
    done = run("batch", "encode", tmp_path / "in", "s3://nowhere/x", "-m", "tiny", "-j", 1)
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "s3://nowhere" in done.err.splitlines()[-1]
