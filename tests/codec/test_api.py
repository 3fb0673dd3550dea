"""The public functions: arguments that they take and refuse, and the exported names."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import container, weights
from ticodec.codec import Codec
from ticodec.device import pick_device
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.picture import Picture

PIXELS = make_pixels(20, 30)


class PathLike:
    """A class of the user's own that stands for a path. Its path is bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


def encode(image: object) -> bytes:
    return ticodec.encode(image, model="tiny", device="cpu")  # type: ignore[arg-type]


def as_files(path: Path) -> list[object]:
    """A file in every form that the functions take."""
    data = path.read_bytes()
    forms = [path, str(path), PathLike(path), data, bytearray(data), memoryview(data)]
    twice = np.repeat(np.frombuffer(data, np.uint8), 2)
    return [*forms, memoryview(twice)[::2], io.BytesIO(data), path.open("rb")]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    return path


@pytest.fixture
def tic(tmp_path: Path, tiny) -> Path:
    path = tmp_path / "a.tic"
    path.write_bytes(tiny.encode(PIXELS))
    return path


def test_encode_takes_files_and_images(png: Path) -> None:
    images = [PIXELS, Image.fromarray(PIXELS), Image.open(png), ticodec.Picture(PIXELS)]
    assert len({encode(image) for image in [*as_files(png), *images]}) == 1


def test_decode_and_info_take_files(tic: Path) -> None:
    for function in (lambda data: ticodec.decode(data, device="cpu").tobytes(), ticodec.info):
        results = [function(data) for data in as_files(tic)]
        assert all(result == results[0] for result in results)
    parsed = container.read(tic.read_bytes())
    assert ticodec.info(parsed) == ticodec.info(tic)


def test_classify_takes_tics_and_images(joint, png: Path, tmp_path: Path, monkeypatch) -> None:
    tic = tmp_path / "b.tic"
    tic.write_bytes(joint.encode(PIXELS, 2))
    answers = [ticodec.classify(data, device="cpu") for data in as_files(tic)]
    assert all(answer == answers[0] for answer in answers)
    assert {type(label) for label in answers[0]} == {ticodec.Label}
    entry = weights.find("joint")
    monkeypatch.setattr(weights, "find_for", lambda model, head: entry)
    images = [*as_files(png), PIXELS, Image.open(png)]
    answers = [ticodec.classify(image, device="cpu") for image in images]
    assert all(answer == answers[0] for answer in answers)


def test_a_file_object_is_read_from_its_position(tic: Path) -> None:
    file = io.BytesIO(b"before" + tic.read_bytes())
    file.seek(6)
    assert ticodec.info(file)["width"] == 30
    with pytest.raises(BadInputError, match="empty"):
        ticodec.info(file)


class Reads:
    """An object like a file, whose `read` returns a given value."""

    def __init__(self, value: object) -> None:
        self.value = value

    def read(self) -> object:
        return self.value


def closed() -> io.BytesIO:
    file = io.BytesIO()
    file.close()
    return file


@pytest.mark.parametrize("function", [encode, ticodec.decode, ticodec.info, ticodec.classify])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, r"must be .*a path, bytes.*, not int"),
        (None, ", not None"),
        (3.5, ", not float"),
        (True, ", not bool"),
        ([], ", not list"),
        ({}, ", not dict"),
        (object(), ", not object"),
        (closed(), "closed file"),
        (io.StringIO("text"), r"text mode; open it in binary mode"),
        (Reads("text"), r"text mode"),
        (Reads(5), "returns bytes, not int"),
        (Reads(None), "no data yet"),
        (io.BytesIO, "not the class BytesIO"),
        ("no\0such", "null byte"),
        ("no/such/file", "No such file"),
    ],
)
def test_wrong_arguments_give_one_clear_line(function, value: object, message: str) -> None:
    with pytest.raises(TicodecError, match=message) as error:
        function(value)
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("function", [encode, ticodec.decode, ticodec.info, ticodec.classify])
def test_wrong_files(function, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="directory"):
        function(tmp_path)
    path = tmp_path / "file"
    with path.open("wb") as file, pytest.raises(UsageError, match="not open for reading"):
        function(file)
    with path.open() as file, pytest.raises(UsageError, match="text mode"):
        function(file)


@pytest.mark.parametrize("function", [encode, ticodec.decode, ticodec.info, ticodec.classify])
def test_errors_about_a_file_begin_with_its_path_once(
    function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.jpg").write_text("no image")
    Path("none.tic").write_text("no file of ours")
    for name in ("text.jpg", "none.tic", "missing.jpg"):
        for path in (name, f"./{name}", Path(name)):
            with pytest.raises(BadInputError) as error:
                function(path)
            assert str(error.value).startswith((f"{name}: ", f"./{name}: "))
            assert str(error.value).count(name) == 1


def test_a_tic_is_no_image_to_encode(tic: Path) -> None:
    for data in as_files(tic):
        with pytest.raises(BadInputError, match=r"not an image but a \.tic file; decode it"):
            encode(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "5"}, "quality must be a number or a `Target`, not str"),
        ({"quality": True}, "quality must be a number or a `Target`, not bool"),
        ({"max_pixels": "x"}, "`max_pixels` must be a whole number, not str"),
        ({"max_pixels": 0}, "`max_pixels` must be at least 1"),
        ({"max_pixels": 599}, r"30×20 pixels, more than the limit of 599; raise `max_pixels`"),
        ({"device": 3}, r"device must be a name \(str\), not int"),
        ({"device": []}, r"device must be a name \(str\), not list"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"device": "cuda:x"}, "unknown device 'cuda:x'"),
        ({"model": 7}, r"model must be a name \(str\), not int"),
    ],
)
def test_wrong_options_of_encode(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ticodec.encode(PIXELS, **{"model": "tiny", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": "x"}, "`top` must be a whole number, not str"),
        ({"top": 2.5}, "`top` must be a whole number, not float"),
        ({"top": 0}, "`top` must be at least 1, not 0"),
        ({"head": 5}, "`head` must be a path, not int"),
    ],
)
def test_wrong_options_of_classify(tiny, tic: Path, options: dict, message: str) -> None:
    for classify in (ticodec.classify, tiny.classify):
        with pytest.raises(UsageError, match=message):
            classify(tic, **options)


def test_options_must_be_given_by_name(tic: Path) -> None:
    calls = (
        lambda: ticodec.encode(PIXELS, 5),
        lambda: ticodec.decode(tic, "cpu"),
        lambda: ticodec.classify(tic, 1),
        lambda: ticodec.info(tic, 100),
        lambda: ticodec.load("tiny", "cpu"),
    )
    for call in calls:
        with pytest.raises(TypeError, match="positional"):
            call()


def test_a_codec_returns_pictures_and_the_function_an_image(tiny, tic: Path) -> None:
    picture = tiny.decode(tic)
    assert type(picture) is ticodec.Picture
    image = ticodec.decode(tic, device="cpu")
    assert isinstance(image, Image.Image)
    assert image.mode == picture.to_image().mode == "RGB"


def test_models_are_listed() -> None:
    models = {model.name: model for model in ticodec.list_models()}
    tiny = models["tiny"]
    assert (tiny.model, tiny.weights, tiny.qualities) == ("tic-lite", "37eb2f07", (1, 8))
    assert sum(model.default for model in models.values()) == 1
    default = next(name for name, model in models.items() if model.default)
    assert default == weights.find().name
    assert models["icat-lite"].labels == 10
    import ticodec.models as networks

    assert networks.__file__.endswith("models/__init__.py"), "it shadows the package"


WITHOUT_TORCH = """
import sys, ticodec
ticodec.list_models(); ticodec.info(sys.argv[1]); ticodec.Picture; ticodec.UsageError
assert "torch" not in sys.modules
assert ticodec.Codec.__name__ == "Codec" and ticodec.Label.__name__ == "Label"
assert "torch" in sys.modules
assert set(ticodec.__all__) <= set(dir(ticodec))
for name in ticodec.__all__: getattr(ticodec, name)
try: ticodec.nothing
except AttributeError: print("done")
"""


def test_exports_and_which_of_them_import_torch(golden: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(golden / "v1" / "photo-q5.tic")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_python_m_ticodec_is_the_command() -> None:
    command = [sys.executable, "-m", "ticodec", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"ticodec {ticodec.__version__}\n"
    done = subprocess.run([*command[:3], "info", "none.tic"], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("ticodec: none.tic: cannot be read")


def test_one_of_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("cuda") == pick_device("auto") == torch.device("cuda")
    with pytest.raises(UsageError, match="no device cuda:2: the last one is cuda:1"):
        pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        pick_device("cuda:0")
    assert pick_device("auto") == torch.device("cpu")


def test_bugs_are_not_reported_as_damaged_weights(tiny, monkeypatch) -> None:
    def broken(*arguments: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr("ticodec.codec.build", broken)
    with pytest.raises(TypeError, match="a mistake of ours"):
        Codec(tiny.entry, "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": None}, "pixels must be uint8"),
        ({"pixels": PIXELS.astype(float)}, "pixels must be uint8"),
        ({"pixels": PIXELS[..., 0]}, r"pixels must be \(H, W, 3\), not \(20, 30\)"),
        ({"alpha": PIXELS[:3, :3, 0]}, r"alpha must be \(20, 30\), not \(3, 3\)"),
        ({"alpha": np.ones((20, 30))}, "alpha must be uint8"),
        ({"metadata": {"icc": "text"}}, "metadata 'icc' must be bytes, not str"),
    ],
)  # fmt: skip
def test_a_picture_that_would_not_decode_is_refused(tiny, changes: dict, message: str) -> None:
    picture = Picture(**{"pixels": PIXELS, **changes})
    for encoding in (encode, lambda image: tiny.encode_many([image])):
        with pytest.raises(UsageError, match=message):
            encoding(picture)


def test_encoding_many_takes_a_list_of_pictures(tiny) -> None:
    with pytest.raises(UsageError, match="pictures must be `Picture`s, not str"):
        tiny.encode_many(["photo.png"])


def test_a_classifier_of_an_impossible_name(joint, tic: Path) -> None:
    with pytest.raises(BadInputError, match="null byte"):
        ticodec.classify(tic, head="a\0b")


def test_an_empty_path_is_not_the_current_folder(tic: Path) -> None:
    for call in (encode, ticodec.decode, ticodec.classify, ticodec.info):
        with pytest.raises(UsageError, match="is an empty path"):
            call("")
    with pytest.raises(UsageError, match="`head` is an empty path"):
        ticodec.classify(tic, head="")


def test_a_url_is_reported_as_a_url() -> None:
    for call in (encode, ticodec.decode, ticodec.classify, ticodec.info, ticodec.read_picture):
        with pytest.raises(UsageError, match=r"is a URL, https://a\.b/c\.jpg"):
            call("https://a.b/c.jpg")


def test_a_codec_cannot_be_made_from_a_name() -> None:
    with pytest.raises(UsageError, match=r"not str; Codec.load takes a model's name"):
        Codec("tiny")  # type: ignore[arg-type]
