"""Batch runs on a Ray cluster of two nodes on this machine, one of which is killed."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from batch_support import children, make_photos, summary, tree, wait_until, whole
from ray.cluster_utils import Cluster

from ticodec.batch.messages import Job
from ticodec.batch.run import Options, Run


@pytest.fixture(scope="module", autouse=True)
def folder_of_ray() -> Iterator[Path]:
    """A folder for Ray's files. Its path is short because Ray creates sockets in it."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        # Ray forks the server of its client while threads run. With gRPC's support for forks the
        # server does not always start on a busy machine.
        patch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")
        # Check every second whether a node lives. It is dead after two failed checks. A check of a
        # killed node fails at once, and a slow node has ten seconds to answer.
        patch.setenv("RAY_health_check_initial_delay_ms", "0")
        patch.setenv("RAY_health_check_period_ms", "1000")
        patch.setenv("RAY_health_check_failure_threshold", "2")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray asks for a token
        yield Path(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder, [f"{n % 5}/{n:02d}.png" for n in range(40)], 200)
    return folder


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that the local engine makes of the photos, by name."""
    target = tmp_path_factory.mktemp("local")
    job = Job("encode", str(photos), str(target), model="tiny", device="cpu")
    assert {row.status for row in Run(job, Options(jobs=2)).rows()} == {"done"}
    return tree(target)


def test_no_cluster_at_the_address_is_reported_in_one_line(
    photos: Path, tmp_path: Path, folder_of_ray: Path, monkeypatch: pytest.MonkeyPatch, run
):
    # This test must not find other clusters on this machine.
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    arguments = ("batch", "encode", photos, tmp_path / "out", "-m", "tiny", "--engine", "ray")
    done = run(*arguments, "--address", "127.0.0.1:1")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("ticodec: no Ray cluster at 127.0.0.1:1: ")
    (folder_of_ray / "ray").mkdir(exist_ok=True)
    (folder_of_ray / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")  # of a killed cluster
    auto = run(*arguments, "--address", "auto")
    assert auto.code == 1
    line = auto.err.splitlines()[-1]  # Ray replaces localhost by this machine's address
    assert line.startswith("ticodec: no Ray cluster at ")
    assert ":1: " in line
    memory = run("batch", "encode", photos, "memory://x", "-m", "tiny", "--engine", "ray")
    memory.fails(2, "one process only")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with one node of one CPU. Clients can connect to it, and tests can add nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "ray_client_server_port": port, "include_dashboard": False},
    )
    made.client = f"ray://127.0.0.1:{port}"
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_lost_node_loses_nothing(
    cluster: Cluster, photos: Path, local: dict[str, bytes], tmp_path: Path
):
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    job = Job("encode", str(photos), str(tmp_path), model="tiny", device="cpu")
    run = Run(job, Options(jobs=2, engine="ray", address=cluster.address))
    found = []
    for row in run.rows():
        found.append(row)
        if len(found) == 1:
            (raylet,) = second.all_processes["raylet"]
            wait_until(lambda pid=raylet.process.pid: children(pid, b"MapWorker"))
            threading.Thread(target=cluster.remove_node, args=(second, False)).start()
    assert {(row.status, row.error) for row in found} == {("done", "")}
    assert sorted(row.file for row in found) == sorted(tree(photos))
    assert whole(tmp_path) == sorted(local)
    assert tree(tmp_path) == local


def test_a_run_from_outside_the_cluster(
    cluster: Cluster, photos: Path, local: dict[str, bytes], tmp_path: Path, shell
):
    arguments = ("batch", "encode", photos, tmp_path, "-m", "tiny", "--include", "0/*")
    done = shell(*arguments, "--engine", "ray", "--address", cluster.client, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert tree(tmp_path) == {n: data for n, data in local.items() if n.startswith("0/")}


def test_no_room_and_a_failure_that_ends_the_run(cluster: Cluster, tmp_path: Path, run):
    make_photos(tmp_path / "in", [f"{n}.png" for n in range(8)])
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    report = tmp_path / "r.json"
    arguments = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny")
    arguments += ("--engine", "ray", "--address", cluster.address)
    none = run(*arguments, "--gpus", 1)
    assert none.code == 1
    assert "no node of the Ray cluster has 1 CPUs and 1 GPUs" in none.err.splitlines()[-1]
    assert not tree(tmp_path / "out")
    run(*arguments, "--on-error", "stop", "--report", report)
    total = summary(report)
    assert (total["failed"], total["files"]) == (1, 9)
    assert total["done"] == len(whole(tmp_path / "out"))
    assert total["done"] + total["left"] == 8


def test_the_command_starts_ray_reports_failures_and_resumes(
    photos: Path, local: dict[str, bytes], tmp_path: Path, folder_of_ray: Path, shell
):
    # A file that a killed cluster left behind. The command must not look for this cluster.
    (folder_of_ray / "ray").mkdir(exist_ok=True)
    (folder_of_ray / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    (tmp_path / "in" / "0").mkdir(parents=True)
    for path in (photos / "0").iterdir():
        (tmp_path / "in" / "0" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    report = tmp_path / "r.json"
    arguments = ("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", "--jobs", 1)
    arguments += ("--engine", "ray", "--report", report)
    done = shell(*arguments, text=True)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1] == "ticodec: 1 of 9 files not encoded"
    assert sum("bad.png: " in line for line in lines) == 1
    assert "Traceback" not in done.stderr
    assert (summary(report)["done"], summary(report)["failed"]) == (8, 1)
    assert tree(tmp_path / "out") == {n: data for n, data in local.items() if n.startswith("0/")}
    (tmp_path / "in" / "bad.png").unlink()
    again = shell(*arguments)  # nothing to do: Ray is not even started
    assert again.returncode == 0
    assert summary(report)["skipped"] == 8
