"""Weights folders that exports write to: no weights are lost, whatever happens."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ticodec import weights
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.training.export import install
from ticodec.training.export.install import (
    Made,
    check_folder,
    entry_fields,
    install_codec,
    install_head,
)


def made(name: str, data: bytes) -> Made:
    """Data to install, which is not a real network."""
    facts: dict[str, Any] = {"model": "tic", "parameters": 1, "qualities": None, "trained": "no"}
    return Made(name, entry_fields(name, data, **facts), data, f"card of {data.decode()}")


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the lock."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != install.LOCK}


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def test_a_name_is_not_taken_over_without_force(tmp_path: Path) -> None:
    old, _ = install_codec(tmp_path, made("x", b"old"))
    assert old.path == tmp_path / f"x-{old.sha256[:8]}.safetensors"
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=rf"name x \({old.sha256[:8]}, not .*`force`"):
        install_codec(tmp_path, made("x", b"new"))
    assert contents(tmp_path) == before
    new, changed = install_codec(tmp_path, made("x", b"new"), force=True)
    assert changed
    assert [e.path for e in weights.entries(tmp_path)] == [new.path, old.path]
    assert (old.path.read_bytes(), new.path.read_bytes()) == (b"old", b"new")
    assert old.path.with_suffix(".md").read_text() == "card of old"
    assert new.path.with_suffix(".md").read_text() == "card of new"


def test_all_earlier_weights_are_kept_in_their_order(tmp_path: Path) -> None:
    for data in (b"1", b"2", b"3"):
        install_codec(tmp_path, made("x", data), force=True)
    files = [entry.path.read_bytes() for entry in weights.entries(tmp_path)]
    assert files == [b"3", b"2", b"1"]
    entry, _ = install_codec(tmp_path, made("x", b"1"), force=True)  # gets its name back
    assert entry.path.read_bytes() == b"1"
    files = [entry.path.read_bytes() for entry in weights.entries(tmp_path)]
    assert files == [b"1", b"3", b"2"]


def test_installing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    entry, changed = install_codec(tmp_path, made("x", b"data"))
    assert changed
    card = entry.path.with_suffix(".md")
    card.write_text("what was measured")
    before = contents(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != install.LOCK}
    assert install_codec(tmp_path, made("x", b"data")) == (entry, False)
    assert install_codec(tmp_path, made("x", b"data"), force=True) == (entry, False)
    assert contents(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_installing_the_same_again_repairs_a_damaged_file(tmp_path: Path, damage) -> None:
    entry, _ = install_codec(tmp_path, made("x", b"data"))
    damage(entry.path)
    assert install_codec(tmp_path, made("x", b"data")) == (entry, True)
    assert entry.path.read_bytes() == b"data"


def test_weights_become_the_default_only_if_asked(tmp_path: Path) -> None:
    install_codec(tmp_path, made("x", b"1"))
    assert manifest_of(tmp_path)["default"] is None
    assert not any(entry.default for entry in weights.entries(tmp_path))
    entry, changed = install_codec(tmp_path, made("x", b"1"), default=True)
    assert (entry.default, changed) == (True, True)
    install_codec(tmp_path, made("y", b"2"))
    assert manifest_of(tmp_path)["default"] == "x"
    entry, _ = install_codec(tmp_path, made("x", b"3"), force=True)
    assert entry.default


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_disk_that_fails_in_the_middle_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    old, _ = install_codec(tmp_path, made("x", b"old"))
    before = contents(tmp_path)
    count = 0

    def failing(path: Path, data: bytes) -> None:
        nonlocal count
        if count == written:
            raise TicodecError(f"{path}: cannot be written: disk full")
        count += 1
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(install, "write_file", failing)
        with pytest.raises(TicodecError, match="disk full"):
            install_codec(tmp_path, made("x", b"new"), force=True)
    assert before.items() <= contents(tmp_path).items()
    assert weights.entries(tmp_path) == [old]
    assert all(entry.path.exists() for entry in weights.entries(tmp_path))
    new, _ = install_codec(tmp_path, made("x", b"new"), force=True)
    assert [entry.path.read_bytes() for entry in weights.entries(tmp_path)] == [b"new", b"old"]
    assert new.path.with_suffix(".md").read_text() == "card of new"


def test_parallel_exports_lose_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, names = install._manifest, [f"x{i}" for i in range(6)]

    def slowly(folder: Path) -> dict[str, Any]:
        manifest = read(folder)
        time.sleep(0.02)  # without the lock, all others read the same manifest now
        return manifest

    monkeypatch.setattr(install, "_manifest", slowly)
    threads = [
        threading.Thread(target=install_codec, args=(tmp_path, made(name, name.encode())))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.name for entry in weights.entries(tmp_path)) == names


def test_waiting_for_another_export_has_a_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(install, "PATIENCE", 0.1)
    with (
        FileLock(tmp_path / install.LOCK),
        pytest.raises(TicodecError, match="another export is writing there"),
    ):
        install_codec(tmp_path, made("x", b"data"))
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TicodecError, match="cannot make the folder"):
        install_codec(tmp_path / "file" / "folder", made("x", b"data"))


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    with pytest.raises(TicodecError, match="cannot be written: Permission denied"):
        install_codec(tmp_path, made("x", b"data"))


@pytest.mark.parametrize("name", ["", "a/b", "../a", "-q", ".hidden", "a b", "a\n", "a;b"])
def test_invalid_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="`name` must be letters"):
        check_folder(tmp_path, name)


def test_a_damaged_manifest_is_reported_first(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged manifest"):
        check_folder(tmp_path)


def test_unknown_fields_of_a_manifest_are_kept(tmp_path: Path) -> None:
    install_codec(tmp_path, made("x", b"1"))
    manifest = manifest_of(tmp_path)
    manifest["licence"] = "Apache-2.0"
    manifest["models"]["x"]["measured"] = 30.1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    install_codec(tmp_path, made("x", b"2"), force=True)
    manifest = manifest_of(tmp_path)
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["models"]["x"]["earlier"][0]["measured"] == 30.1


def test_the_card_of_a_classifier_replaces_nothing(tmp_path: Path) -> None:
    """A file of that name may be a user's notes, and measurements are added to cards by hand."""
    notes = tmp_path / "x.md"
    notes.write_text("notes")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"x\.md exists .*another `name`"):
            install_head(tmp_path, made("x", b"A"), "", force)
    assert contents(tmp_path) == {"x.md": b"notes"}
    notes.unlink()
    texts = set()
    for data in (b"A", b"B", b"A", b"B"):
        install_head(tmp_path, made("x", data), "", force=True)
        for card in tmp_path.glob("*.md"):
            card.write_text(f"{card.read_text()}, measured {len(texts)}")
            texts.add(card.read_text())
        kept = [card.read_text() for card in tmp_path.glob("*.md")]
        assert {text.count("measured") for text in kept} >= {1}
    for card in tmp_path.glob("x-*.md"):
        card.write_text("by hand")
    count = len(list(tmp_path.glob("x*.md")))
    install_head(tmp_path, made("x", b"A"), "", force=True)
    cards = [card.read_text() for card in tmp_path.glob("x*.md")]
    assert len(cards) == count + 1
    assert cards.count("by hand") == count - 1


def test_a_classifier_gets_its_own_card_after_a_crash(tmp_path: Path, monkeypatch) -> None:
    """Wherever writing stopped, repeating the command writes the new card and keeps the old one."""
    real = install.write_file
    for end in range(5):
        folder = tmp_path / str(end)
        install_head(folder, made("x", b"old"), "")
        left = end

        def write(path: Path, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise TicodecError("crash")
            real(path, data)

        monkeypatch.setattr(install, "write_file", write)
        if end < 4:
            with pytest.raises(TicodecError):
                install_head(folder, made("x", b"new"), "", force=True)
        monkeypatch.setattr(install, "write_file", real)
        install_head(folder, made("x", b"new"), "", force=True)
        found = contents(folder)
        assert found.pop("x.safetensors") == b"new"
        assert found.pop("x.md") == b"card of new"
        assert sorted(found.values()) == [b"card of old", b"old"]


def test_a_name_of_another_folder_is_not_taken_over_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder is for example that of the shipped weights, with the default model."""
    behind, mine, unsearched = (tmp_path / name for name in ("behind", "mine", "unsearched"))
    old, _ = install_codec(behind, made("x", b"old"))
    monkeypatch.setattr("ticodec.weights.folders", lambda: [mine, tmp_path / "none", behind])
    with pytest.raises(UsageError, match=rf"x is the name of the weights {old.sha256[:8]} in "):
        install_codec(mine, made("x", b"new"))
    assert not mine.exists()
    install_codec(mine, made("y", b"new"))
    install_codec(mine, made("x", b"old"))  # the same weights
    install_codec(mine, made("x", b"new"), force=True)
    install_codec(unsearched, made("x", b"new"))  # this folder is not searched, so it hides nothing
    assert contents(behind).keys() == {old.path.name, f"{old.path.stem}.md", "manifest.json"}
