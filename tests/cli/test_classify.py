"""`classify` as a user runs it: lines, tables, JSON, and everything that can go wrong."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from evaluation.heads import write_head
from PIL import Image
from safetensors.torch import save_file
from support import make_pixels

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import UsageError

LABELS = ("ant", "bee", "cow")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, so that file names are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tic(here: Path, joint: Codec) -> Path:
    """A .tic file of the joint model."""
    path = Path("a.tic")
    path.write_bytes(ticodec.encode(make_pixels(70, 90), quality=2, model="joint"))
    return path


@pytest.fixture
def plain(here: Path, tiny: Codec) -> Path:
    """A .tic file of weights that have no classifier."""
    path = Path("plain.tic")
    path.write_bytes(tiny.encode(make_pixels(70, 90)))
    return path


def head_of(name: str, path: Path, **fields: object) -> Path:
    """Write the file of a classifier for the latents of installed weights."""
    entry = weights.find(name)
    channels = weights.read(entry)[0]["M"]
    given = {"stem": "latents", "channels": channels, "labels": LABELS, "codec": name}
    write_head(path, **{**given, "fingerprint": entry.fingerprint.hex(), **fields})
    return path


def lines_of(text: str) -> list[tuple[str, str]]:
    """(probability, label) of each line of the output for one file."""
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines()]


@pytest.mark.usefixtures("bf16")
def test_one_file_gives_one_line_per_label(run, tic: Path) -> None:
    result = run("classify", tic)
    assert (result.code, result.err) == (0, "")
    wanted = ticodec.classify(tic.read_bytes())
    assert lines_of(result.out) == [(f"{x.probability:.1%}", x.label) for x in wanted]
    shares = [float(share.rstrip("%")) for share, _ in lines_of(result.out)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_top(run, tic: Path) -> None:
    assert [len(run("classify", tic, "--top", n).out.splitlines()) for n in (1, 2, 9)] == [1, 2, 3]
    run("classify", tic, "--top", 0).fails(2, "--top")


def test_several_files_give_one_line_per_file(run, tic: Path) -> None:
    Path("b.tic").write_bytes(ticodec.encode(make_pixels(40, 40, 5), quality=1, model="joint"))
    result = run("classify", tic, "b.tic")
    rows = [line.split() for line in result.out.splitlines() if ".tic" in line]
    best = [ticodec.classify(Path(name).read_bytes(), top=1)[0] for name in ("a.tic", "b.tic")]
    assert rows == [
        [name, x.label, f"{x.probability:.1%}"]
        for name, x in zip(("a.tic", "b.tic"), best, strict=True)
    ]
    several = run("classify", tic, "b.tic", "--top", 2).out
    assert [several.count(name) for name in ("a.tic", "b.tic", "%")] == [1, 1, 4]


def test_json(run, tic: Path) -> None:
    found = json.loads(run("classify", tic, "--json", "--top", 2).out)
    wanted = ticodec.classify(tic.read_bytes(), top=2)
    labels = [{"label": x.label, "probability": x.probability} for x in wanted]
    assert found == [{"input": "a.tic", "model": "joint", "labels": labels}]
    both = json.loads(run("classify", tic, tic, "--json").out)
    assert [(each["input"], len(each["labels"])) for each in both] == [("a.tic", 1)] * 2


def test_other_names_of_the_classes(run, tic: Path) -> None:
    names = Path("names.txt")
    plain_names = [label for _, label in lines_of(run("classify", tic).out)]
    given = {"ant": "die Ameise", "bee": "[bold]Biene", "cow": "Kuh"}
    names.write_text("\ufeff" + "\r\n".join([*given.values(), "", ""]), encoding="utf-8")
    found = [label for _, label in lines_of(run("classify", tic, "--labels", names).out)]
    assert found == [given[name] for name in plain_names]
    table = run("classify", tic, tic, "--labels", names, "--top", 3).out
    assert table.count("[bold]Biene") == 2
    names.write_text("one\ntwo\n")
    run("classify", tic, "--labels", names).fails(2, "2 names, but the classifier has 3")
    names.write_text("\n")
    run("classify", tic, "--labels", names).fails(3, "names.txt", "no labels in it")
    names.write_bytes(b"\xff\xfe\x00")
    run("classify", tic, "--labels", names).fails(3, "names.txt", "cannot be read")
    run("classify", tic, "--labels", "no.txt").fails(3, "no.txt", "cannot be read")


def test_images_are_encoded_first(run, here: Path, joint: Codec) -> None:
    Image.fromarray(make_pixels(70, 90)).save("photo.png")
    found = json.loads(run("classify", "photo.png", "-m", "joint", "-q", 2.5, "--json").out)
    assert found[0]["model"] == "joint"
    wanted = ticodec.classify(
        ticodec.encode(make_pixels(70, 90), quality=2.5, model="joint"), top=1
    )[0]
    assert found[0]["labels"][0] == {"label": wanted.label, "probability": wanted.probability}
    assert sorted(path.name for path in here.iterdir()) == ["photo.png"]
    quality = ("classify", "photo.png", "-m", "joint", "-q", 5)
    run(*quality).fails(2, "photo.png", "quality must be from 1 to 3, not 5")
    run("classify", "photo.png", "-m", "no").fails(2, "no weights for model 'no'", "joint")
    run("classify", "photo.png", "-m", "tiny").fails(3, "photo.png", "tiny have no classifier")
    tight = ("classify", "photo.png", "-m", "joint", "--max-pixels", 100)
    run(*tight).fails(3, "90×70", "--max-pixels")


def test_model_and_quality_are_for_images(run, tic: Path) -> None:
    """A .tic file needs neither. If images are given too, the options apply to these."""
    run("classify", tic, "-m", "tiny").fails(2, "a.tic", "a .tic file already; leave out -m and -q")
    run("classify", tic, "-q", 2).fails(2, "a .tic file already")
    Image.fromarray(make_pixels(70, 90)).save("photo.png")
    found = json.loads(run("classify", tic, "photo.png", "-m", "joint", "-q", 2, "--json").out)
    assert found[0]["labels"] == found[1]["labels"]


def test_stdin(run, tic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stdin(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    stdin(tic.read_bytes())
    assert run("classify", "-").out == run("classify", tic).out
    stdin(b"text")
    run("classify", "-").fails(3, "stdin: ", "not an image")


def test_a_codec_without_a_classifier_needs_its_file(run, plain: Path) -> None:
    run("classify", plain).fails(3, "plain.tic", "tiny have no classifier", "--weights")
    head = head_of("tiny", Path("head.safetensors"))
    result = run("classify", plain, "--weights", head)
    assert {label for _, label in lines_of(result.out)} == set(LABELS)
    found = ticodec.classify(plain.read_bytes(), top=1, head=head, device="cpu")
    assert lines_of(result.out)[0][1] == found[0].label
    assert ticodec.classify(plain.read_bytes(), top=1, head=str(head), device="cpu") == found
    with pytest.raises(UsageError, match="`top` must be at least 1, not 0"):
        ticodec.classify(plain.read_bytes(), top=0, head=head, device="cpu")


@pytest.mark.usefixtures("bf16", "joint")
def test_an_image_is_encoded_by_the_model_that_a_head_reads(run, here: Path) -> None:
    """It is not encoded by the default model (here "tiny") unless -m asks for it."""
    head = head_of("joint", Path("head.safetensors"))
    pixels = make_pixels(70, 90)
    Path("photos").mkdir()
    Image.fromarray(pixels).save("photos/a.png")
    (row,) = json.loads(run("classify", "photos/a.png", "--weights", head, "--json").out)
    assert row["model"] == "joint"
    tic = ticodec.encode(pixels, model="joint")
    expected = ticodec.classify(tic, head=head)
    assert ticodec.classify(pixels, head=head) == expected
    assert [answer["label"] for answer in row["labels"]] == [x.label for x in expected]
    result = run("batch", "classify", "photos", "out.csv", "--weights", head, "-j", 1)
    assert (result.code, Path("out.csv").read_text().count(expected[0].label)) == (0, 1)
    refused = run("classify", "photos/a.png", "--weights", head, "-m", "tiny")
    refused.fails(3, "photos/a.png: head.safetensors: this classifier reads", "not the latents")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": "pixels"}, "reads pixels, not latents"),
        ({"fingerprint": ""}, "does not say whose latents it reads"),
        ({"fingerprint": "01020304".upper() + "AB"}, "does not say whose latents it reads"),
        ({"fingerprint": "zz020304"}, "does not say whose latents it reads"),
        ({"fingerprint": 5}, "does not say whose latents it reads"),
        ({"fingerprint": ["01020304"]}, "does not say whose latents it reads"),
        ({"fingerprint": "01020304", "codec": "a\n\x1b[2J"}, "weights 01020304 of model ?,"),
        ({"fingerprint": "01020304", "codec": "a" * 1000}, "weights 01020304 of model ?,"),
    ],
)
def test_a_head_that_does_not_name_its_weights(
    run, photo: Path, here: Path, fields: dict[str, object], message: str
) -> None:
    """It is refused before an image is encoded."""
    head = Path("head.safetensors")
    text = json.dumps({"stem": "latents", "fingerprint": "", "codec": "tiny"} | fields)
    save_file({"a": torch.zeros(1)}, head, metadata={"format": "1", "head": text})
    run("classify", photo, "--weights", head).fails(3, "head.safetensors", message)
    run("batch", "classify", photo.parent, "out.csv", "--weights", head).fails(3, message)


def test_a_head_whose_dimensions_are_nested_without_end(run, photo: Path, here: Path) -> None:
    head = Path("head.safetensors")
    metadata = {"format": "1", "head": "[" * 200_000}
    save_file({"a": torch.zeros(1)}, head, metadata=metadata)
    run("classify", photo, "--weights", head).fails(3, "head.safetensors: not a classifier")


def test_a_head_of_weights_that_are_not_installed(run, photo: Path, here: Path) -> None:
    head = head_of("tiny", Path("head.safetensors"), fingerprint="01020304", codec="gone")
    message = "head.safetensors: needs the weights 01020304 of model gone", "not installed"
    run("classify", photo, "--weights", head).fails(3, *message)
    run("batch", "classify", photo.parent, "out.csv", "--weights", head).fails(3, *message)


def test_heads_that_do_not_fit(run, plain: Path, tic: Path) -> None:
    joint = weights.find("joint").fingerprint.hex()
    other = head_of("joint", Path("other.safetensors"))
    run("classify", plain, "--weights", other).fails(
        3, "plain.tic", f"other.safetensors: this classifier reads weights {joint} (joint)"
    )
    pixels = Path("pixels.safetensors")
    write_head(pixels)
    reads = "pixels.safetensors: this classifier reads pixels, not the latents of tiny"
    run("classify", plain, "--weights", pixels).fails(3, reads)
    run("classify", plain, "--weights", "no.safetensors").fails(3, "no.safetensors", "missing")
    run("classify", plain, "--weights", ".").fails(3, ".: the classifier is missing")
    short = Path("short.safetensors")
    short.write_bytes(other.read_bytes()[:-50])
    run("classify", plain, "--weights", short).fails(3, "short.safetensors: not a classifier")
    codec = weights.find("tiny").path
    run("classify", plain, "--weights", codec).fails(3, f"{codec}: not a classifier")


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        "null",
        "{}",
        '{"stem": "latents"}',
        '{"stem": "latents", "channels": 8, "vit": 3, "labels": ["a", "b"], "fingerprint": "x"}',
        '{"stem": "latents", "channels": 8, "vit": {}, "labels": 5, "fingerprint": "zz"}',
        '{"stem": "latents", "channels": 8, "vit": {}, "labels": ["a", "b"], "fingerprint": "zz"}',
        '{"stem": "latents", "channels": 8, "vit": {"L": 0}, "labels": ["a", "b"]}',
        # Valid dimensions of a network that would take for ever to make.
        '{"stem": "latents", "channels": 8, "vit": {"L": 1000000000}, "labels": ["a", "b"],'
        ' "fingerprint": "00000000"}',
        '{"stem": "pixels", "channels": 8, "vit": {}, "labels": ["a", "b"], "halving": true}',
        '{"stem": "latents", "channels": 8, "vit": {}, "labels": ["a", "b"], "halving": 1}',
    ],
)
def test_damaged_dimensions_of_heads(run, plain: Path, config: str) -> None:
    import torch
    from safetensors.torch import save_file

    metadata = {"format": "1", "head": config}
    save_file({"token": torch.zeros(1)}, "bad.safetensors", metadata=metadata)
    run("classify", plain, "--weights", "bad.safetensors").fails(3, "bad.safetensors: not a class")


def test_files_that_are_not_what_they_should_be(run, tic: Path, plain: Path) -> None:
    data = tic.read_bytes()
    for number, broken in enumerate((data[:-9], data[:12], data[:40] + b"\xff" + data[41:], b"")):
        path = Path(f"bad{number}.tic")
        path.write_bytes(broken)
        run("classify", path).fails(3, str(path))
    Path("text.txt").write_text("hello")
    run("classify", "text.txt").fails(3, "text.txt: not a .tic file, nor a readable image: not")
    run("classify", "no.tic").fails(3, "no.tic: cannot be read")
    run("classify", ".").fails(3, ".: it is a folder; `ticodec batch classify . TABLE.csv`")
    run("classify").fails(2, "FILE")
    run("classify", tic, "--max-pixels", 100).fails(3, "a.tic")
    run("classify", tic, "--device", "tpu").fails(2, "unknown device 'tpu'")
    run("classify", plain, plain).fails(3, "plain.tic", "tiny have no classifier")


@pytest.mark.parametrize("as_json", [False, True])
def test_other_files_of_a_list_are_classified(run, tic: Path, plain: Path, as_json: bool) -> None:
    Path("bad.tic").write_bytes(b"bad")
    arguments = (tic, "bad.tic", plain, "no.tic", tic)
    result = run("classify", *arguments, *(["--json"] if as_json else []))
    words = ("3 of 5 files not classified", "bad.tic: ", "no.tic: ", "plain.tic: ")
    result.fails(1, *words)
    if as_json:
        assert [each["input"] for each in json.loads(result.out)] == ["a.tic", "a.tic"]
    else:
        assert result.out.count("a.tic") == 2
        assert result.out.count("%") == 2


@pytest.mark.parametrize("name", ["[red].tic", "[/b] x.tic", "a:smile:.tic", "ÄÖ 一.tic"])
def test_names_are_shown_unchanged(run, tic: Path, name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    shutil.copy(tic, name)
    assert run("classify", name, tic).out.count(name) == 1
    assert json.loads(run("classify", name, "--json").out)[0]["input"] == name
    Path(name).write_bytes(b"bad")
    run("classify", name).fails(3, f"{name}: ")


def test_a_spinner_shows_names_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    from ticodec.cli import output

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with output.working("classifying [/b].tic", False):
        pass
    assert "[/b].tic" in stream.getvalue()


def test_a_classifier_of_few_classes_says_so(run, tic: Path, monkeypatch) -> None:
    """It does so once, on a terminal only, and neither with --json nor with --quiet."""
    said = (
        "note: the classifier has only 3 classes and answers with the most similar of them: ant, "
    )
    assert said not in run("classify", tic).err
    monkeypatch.setattr("ticodec.cli.classify.on_terminal", lambda: True)
    assert run("classify", tic, tic).err.count(said) == 1
    assert said not in run("classify", tic, "--json").err
    assert said not in run("classify", tic, "--quiet").err
