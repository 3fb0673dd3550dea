"""Where weights are searched, and which weights a name or a fingerprint finds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import GOLDEN

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.weights.manifest import parse
from ticodec.weights.store import SHIPPED, folders, user_folder


def fields(digit: str, **changes: Any) -> dict[str, Any]:
    """An entry of a manifest. Its fingerprint is one digit repeated."""
    made = {"model": "tic-lite", "file": f"{digit}.safetensors", "sha256": digit * 64}
    return made | {"parameters": 7, "qualities": [1, 8], "trained": "never"} | changes


def write(folder: Path, models: dict[str, Any], default: str | None = None) -> Path:
    """Make a weights folder with this manifest but without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"default": default, "models": models}))
    return folder


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's weights folder, which does not exist yet. TICODEC_WEIGHTS is not set."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("TICODEC_WEIGHTS")
    folder = user_folder()
    assert folder == tmp_path / "data" / "ticodec" / "weights"
    return folder


def test_the_order_of_folders(user: Path, tmp_path: Path, monkeypatch) -> None:
    assert folders() == [user, SHIPPED]
    named = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("TICODEC_WEIGHTS", os.pathsep.join(map(str, named)))
    assert folders() == [*named, user, SHIPPED]
    monkeypatch.setenv("TICODEC_WEIGHTS", os.pathsep.join([str(user), str(named[0]), str(user)]))
    assert folders() == [user, named[0], SHIPPED]


def test_tests_have_their_own_user_folder() -> None:
    assert "ticodec-tests-" in str(user_folder())


def test_a_user_without_a_home_has_no_folder(user: Path, monkeypatch) -> None:
    """Without a home platformdirs raises an error, or (older versions) returns a path with "~"."""

    def homeless(*_: Any, **__: Any) -> str:
        raise RuntimeError("could not determine the home directory")

    for made in (homeless, lambda *_, **__: "~/.local/share/ticodec"):
        monkeypatch.setattr("platformdirs.user_data_dir", made)
        assert user_folder() is None
        assert folders() == [SHIPPED]


def test_no_user_folder_is_no_error(user: Path) -> None:
    shipped = weights.entries(SHIPPED)
    assert weights.entries() == shipped
    user.mkdir(parents=True)  # a folder that may have only classifiers
    assert weights.entries() == shipped
    shutil.rmtree(user)
    user.parent.rmdir()
    user.parent.write_text("a file in its place")
    assert weights.entries() == shipped


def test_a_folder_named_by_the_variable_must_exist(user: Path, monkeypatch) -> None:
    monkeypatch.setenv("TICODEC_WEIGHTS", str(user))
    with pytest.raises(BadInputError, match="no manifest of weights"):
        weights.entries()


@pytest.mark.parametrize("text", ["{", "[]", '{"models": {"x": 3}}', "\udcff", '{"models": {}'])
def test_a_damaged_user_manifest_is_reported_in_one_line(user: Path, run, text: str) -> None:
    write(user, {})
    (user / "manifest.json").write_text(text, errors="surrogateescape")
    run("models").fails(3, str(user / "manifest.json"), "damaged manifest of weights")


def test_a_name_finds_the_first_of_that_name(user: Path, tmp_path: Path, monkeypatch) -> None:
    named = write(tmp_path / "named", {"x": fields("a")})
    monkeypatch.setenv("TICODEC_WEIGHTS", str(named))
    write(user, {"x": fields("b", earlier=[fields("c")]), "y": fields("d")}, "x")
    assert weights.find("x").sha256[0] == "a"
    assert weights.find("y").sha256[0] == "d"
    rows = {e.sha256[0]: (e.name, e.current, e.superseded) for e in weights.entries()}
    assert rows["a"] == ("x", True, False)
    assert rows["b"] == ("x", False, False)
    assert rows["c"] == ("x", False, True)
    for digit in "abcd":
        entry = weights.find_fingerprint(bytes.fromhex(digit * 8), "tic-lite")
        assert entry.path.name == f"{digit}.safetensors"


def test_an_earlier_version_is_not_found_by_its_name(user: Path) -> None:
    write(user, {"x": fields("b", earlier=[fields("c"), fields("d")])})
    assert [e.sha256[0] for e in weights.entries(user)] == ["b", "c", "d"]
    assert [e.current for e in weights.entries(user)] == [True, False, False]
    assert weights.find("x").sha256[0] == "b"


def test_exactly_one_default(user: Path, tmp_path: Path, monkeypatch, run) -> None:
    def shown() -> list[tuple[str, str]]:
        rows = json.loads(run("models", "--json").out)
        found = [(row["name"], row["weights"]) for row in rows if row["default"]]
        entry = weights.find(None)
        assert found == [(entry.name, entry.fingerprint.hex())]
        assert run("models").out.count("(default)") == 1
        return found

    (shipped,) = shown()
    write(user, {"x": fields("b", earlier=[fields("c")])})
    assert shown() == [shipped]
    write(user, {"x": fields("b", earlier=[fields("c")])}, "x")
    assert shown() == [("x", "b" * 8)]
    monkeypatch.setenv("TICODEC_WEIGHTS", str(GOLDEN / "weights"))
    assert shown() == [("tiny", "37eb2f07")]
    # A default is a name, and finds the first weights of that name.
    monkeypatch.delenv("TICODEC_WEIGHTS")
    write(user, {shipped[0]: fields("b")})
    assert shown() == [(shipped[0], "b" * 8)]
    write(user, {"x": fields("b")}, "gone")
    assert shown() == [shipped]


def test_models_shows_where_each_is_from(user: Path, tmp_path: Path, monkeypatch, run) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    named = write(tmp_path / "named", {"x": fields("a")})
    monkeypatch.setenv("TICODEC_WEIGHTS", str(named))
    write(user, {"x": fields("b", earlier=[fields("c")])})
    rows = {row["weights"][0]: row for row in json.loads(run("models", "--json").out)}
    assert (rows["a"]["origin"], rows["a"]["state"]) == ("TICODEC_WEIGHTS", "current")
    assert (rows["b"]["origin"], rows["b"]["state"]) == ("user", "hidden")
    assert (rows["c"]["origin"], rows["c"]["state"]) == ("user", "earlier")
    assert rows["c"]["file"] == str(user / "c.safetensors")
    assert {row["origin"] for row in rows.values()} == {"TICODEC_WEIGHTS", "user", "shipped"}
    table = run("models").out
    assert "user, hidden" in table
    assert "user, earlier" in table
    assert "files that these encoded still decode" in table
    monkeypatch.delenv("TICODEC_WEIGHTS")
    shutil.rmtree(user)
    assert "hidden" not in run("models").out


def test_looking_up_imports_no_torch() -> None:
    script = (
        "import sys; from ticodec import weights; weights.find(); weights.entries();"
        "assert not {'torch', 'safetensors', 'filelock'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "ab"}, "x: sha256 must be 64 hexadecimal digits"),
        ({"sha256": None}, "x: sha256 must be a string"),
        ({"file": 3}, "x: file must be a string"),
        ({"parameters": True}, "x: parameters must be a whole number"),
        ({"parameters": 1.5}, "x: parameters must be a whole number"),
        ({"labels": -1}, "x: labels must be a whole number"),
        ({"qualities": [8, 1]}, "x: qualities must be null or two numbers"),
        ({"qualities": [1]}, "x: qualities must be null or two numbers"),
        ({"qualities": ["1", "8"]}, "x: qualities must be null or two numbers"),
        ({"qualities": [0.5, 8]}, "x: qualities must be null or two numbers from 1"),
        ({"qualities": [1, 10**400]}, "x: qualities must be null or two numbers from 1"),
        ({"qualities": [1, 16]}, "x: qualities must be null or two numbers from 1"),
        ({"history": "long"}, "x: history must be a list"),
        ({"history": [3]}, "x: history must be an object"),
        ({"head": []}, "x: head must be an object"),
        ({"head": {"file": "h"}}, "x: head: sha256 is missing"),
        ({"preview": "p"}, "x: preview must be an object"),
        ({"preview": {"file": "p"}}, "x: preview: sha256 is missing"),
        ({"earlier": {}}, "x: earlier must be a list"),
        ({"earlier": [{}]}, "x: earlier: model is missing"),
    ],
)
def test_every_field_is_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(Path("f"), {"models": {"x": fields("a", **changes)}})


@pytest.mark.parametrize("name", ["model", "file", "sha256", "parameters", "qualities", "trained"])
def test_required_fields(name: str) -> None:
    given = fields("a")
    del given[name]
    with pytest.raises(ValueError, match=f"x: {name} is missing"):
        parse(Path("f"), {"models": {"x": given}})


@pytest.mark.parametrize("manifest", [[], {"default": "x"}, {"default": 3, "models": {}}])
def test_the_top_level_is_checked(manifest: Any) -> None:
    with pytest.raises(ValueError, match=r"object|missing|string"):
        parse(Path("f"), manifest)


def test_manifests_of_earlier_versions_are_read() -> None:
    golden = {entry.name: entry for entry in weights.entries(GOLDEN / "weights")}
    assert golden["tiny"].default
    assert golden["tiny"].qualities == (1, 8)
    assert golden["tiny-icat"].preview is None
    shipped = {entry.name: entry for entry in weights.entries(SHIPPED)}
    head = shipped["tic-lite"].head
    assert head is not None
    assert (head.labels, head.earlier) == (10, ())
    assert len(shipped["icat-lite"].history) > 3


def test_no_weights_of_that_name(user: Path) -> None:
    write(user, {"x": fields("b", earlier=[fields("c")])})
    with pytest.raises(UsageError, match=r"no weights for model 'y'; installed: x, tic-plus"):
        weights.find("y")


def test_names_in_a_manifest_are_not_markup(user: Path, run) -> None:
    write(user, {"[/b]": fields("a"), "[red]x": fields("b")})
    shown = run("models")
    assert shown.code == 0
    assert "[/b]" in shown.out
    assert "[red]x" in shown.out


def test_a_manifest_that_is_nested_too_deeply(user: Path, run) -> None:
    user.mkdir(parents=True)
    (user / "manifest.json").write_text("[" * 200_000)
    run("models").fails(3, "damaged manifest of weights")


def test_a_file_of_an_impossible_name(user: Path, run, photo: Path) -> None:
    write(user, {"x": fields("a", file="a\0b")})
    run("encode", photo, "-m", "x").fails(3, "null byte")


def test_a_manifest_that_cannot_be_read(user: Path, run) -> None:
    (user / "manifest.json").mkdir(parents=True)
    run("models").fails(3, "manifest.json: cannot be read: Is a directory")


def test_too_long_a_file_name_in_a_manifest(user: Path, run, photo: Path) -> None:
    """The file is listed as missing, like any file that does not exist."""
    write(user, {"x": fields("a", file="n" * 300)})
    rows = json.loads(run("models", "--json").out)
    assert [row["installed"] for row in rows if row["name"] == "x"] == [False]
    run("encode", photo, "-m", "x").fails(3, "n" * 300, "missing: File name too long")


@pytest.mark.parametrize("qualities", [[9, 12], [1, 9], None])
def test_qualities_that_the_weights_do_not_have(
    user: Path, run, photo: Path, qualities: object
) -> None:
    shutil.copytree(GOLDEN / "weights", user)
    manifest = json.loads((user / "manifest.json").read_text())
    manifest["models"]["tiny"]["qualities"] = qualities
    (user / "manifest.json").write_text(json.dumps(manifest))
    run("encode", photo, "-m", "tiny").fails(
        3, "tiny has the qualities 1 to 8, but its manifest says otherwise"
    )


def test_labels_are_read_from_headers() -> None:
    found = {entry.name: weights.read_labels(entry) for entry in weights.entries(SHIPPED)}
    assert {name: len(labels) for name, labels in found.items()} == {
        "icat-lite": 10, "tic-lite": 10, "tic-plus": 10
    }  # fmt: skip
    assert len(set(found.values())) == 1
