"""The command lines of the documents, and what they need to run as written on toy data.

    documents ─► blocks of ```sh ─► lines ─┬─► `ticodec …`  run, or only parsed
                                           └─► other programs, which tests do not start

A document names files such as `photo.jpg` and folders such as `PHOTOS`. `MAKERS` says how each is
made. Model names stand for toy networks, which `make_weights` puts into a weights folder.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image
from support import CPU, GOLDEN, ROOT, make_pixels
from toys import LEARNED, RUN, VIT, saved, write_toys

from ticodec import encode, weights
from ticodec.models import config, families
from ticodec.models.config import HeadConfig, IcatConfig, ModelConfig
from ticodec.training.codec_trainer import Trainer
from ticodec.training.export.weights_file import export, export_head
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.options import TrainOptions
from ticodec.training.parts import PartOptions
from ticodec.training.pretrained import find_codec
from ticodec.training.snapshots import Snapshots

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
#: The labels of the toy icat-lite and of the toy classifiers, and folders with these names.
LABELS = ("English springer", "French horn", "cassette player")
CLASSES = tuple(label.replace(" ", "_") for label in LABELS)


class Line(NamedTuple):
    """One command line.

    Args:
        block: the document, and the number of the block in the document, counted from 1.
        number: the number of the line in its block, counted from 0.
        text: the line without its comment. Lines that a backslash joins count as one line.
    """

    block: tuple[str, int]
    number: int
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    def __str__(self) -> str:
        return f"{self.block[0]}, block {self.block[1]}: {self.text}"


def lines_of(name: str, text: str) -> Iterator[Line]:
    """The command lines in the ```sh blocks of a document."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for block, body in enumerate(blocks, 1):
        lines = [
            line for raw in body.replace("\\\n", " ").splitlines() if (line := without_comment(raw))
        ]
        for number, line in enumerate(lines):
            yield Line((name, block), number, line)


def without_comment(line: str) -> str:
    """A line without its comment, which begins with ` #`. Quoted words may contain ` #` too."""
    return re.sub(r"""^((?:[^'"#]|'[^']*'|"[^"]*"|(?<=\S)#)*)(?:#.*)?$""", r"\1", line).strip()


LINES = [
    line
    for path in DOCUMENTS
    for line in lines_of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
]


# -- toy weights ----------------------------------------------------------------------


def toy_presets() -> dict[str, ModelConfig | IcatConfig]:
    """Small networks in place of presets. They have the dimensions of the golden weights."""
    fields = {e.name: weights.read_config(e) for e in weights.entries(GOLDEN / "weights")}
    tic = ModelConfig.from_dict(fields["tiny"])
    icat = replace(IcatConfig.from_dict(fields["tiny-icat"]), labels=())
    presets = {name: replace(tic, model=name) for name in ("tic", "tic-plus", "tic-lite")}
    return {**presets, "icat-lite": icat, "icat": replace(icat, M=24)}


def use_toy_presets(patch: pytest.MonkeyPatch) -> None:
    """Make `ticodec train` use small networks."""
    for name, preset in toy_presets().items():
        patch.setitem(families.PRESETS, name, preset)
    for name in config.VITS:
        patch.setitem(config.VITS, name, VIT)


def make_weights(folder: Path, work: Path, patch: pytest.MonkeyPatch) -> None:
    """A weights folder with toys called tic, tic-plus (the default), tic-lite and icat-lite.

    The tic models have the weights of the golden network, and a classifier each.
    """
    shutil.copytree(GOLDEN / "weights", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    models = manifest["models"]
    renamed = {"tic-lite": models["tiny"], "icat-lite": models["tiny-icat"]}
    (folder / "manifest.json").write_text(json.dumps({"default": "tic-lite", "models": renamed}))
    patch.setenv("TICODEC_WEIGHTS", str(folder))
    floats, options = find_codec("tic-lite").floats, TrainOptions(**LEARNED)
    classes = write_toys(work / "classes", 2, CLASSES)
    for name in ("tic-lite", "tic-plus", "tic"):
        if name != "tic-lite":
            codec = Trainer(toy_presets()[name], options, CPU)
            codec.average.load_state_dict(floats)
            codec.calibration = torch.from_numpy(make_pixels(128, 128))[None]
            codec.save(work / "codec.pt")
            export([work / "codec.pt"], folder, name, name == "tic-plus", force=True)
        reads = {"codec": name, "fingerprint": weights.find(name).fingerprint.hex()}
        sizes = HeadConfig("latents", 16, VIT, LABELS, halving=True, **reads)
        checkpoint = saved(HeadTrainer(sizes, options, CPU), classes, work / "head.pt", 1)
        export_head([checkpoint], folder)


# -- files that documents name ----------------------------------------------------------


def make_photo(path: Path, seed: int = 0) -> None:
    """A photo that is large enough for MS-SSIM."""
    Image.fromarray(make_pixels(176, 192, seed)).save(path)


def make_photos(folder: Path) -> None:
    """A tree of two small photos."""
    (folder / "2024").mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "2024/b.png")):
        Image.fromarray(make_pixels(64, 96, seed)).save(folder / name)


def make_kodak(folder: Path) -> None:
    """One very small photo: documents measure every effort with it."""
    folder.mkdir()
    Image.fromarray(make_pixels(16, 32)).save(folder / "kodim01.png")


def make_zip(path: Path) -> None:
    make_photos(Path("in-the-zip"))
    with zipfile.ZipFile(path, "w") as archive:
        for file in Path("in-the-zip").rglob("*.*"):
            archive.write(file, file.relative_to("in-the-zip"))


def make_tic(path: Path) -> None:
    make_photo(Path("encoded.png"))
    path.write_bytes(encode("encoded.png"))


def make_tics(folder: Path) -> None:
    folder.mkdir()
    make_tic(folder / "a.tic")


def make_classes(folder: Path) -> None:
    write_toys(folder, 2, CLASSES)


def make_own_classes(folder: Path) -> None:
    write_toys(folder, 2, ("birds", "boats", "bread"))


def make_head(path: Path) -> None:
    """A classifier of the default model's latents."""
    entry = weights.find()
    assert entry.head is not None
    shutil.copy(entry.head.path, path)


def make_parts(folder: Path) -> None:
    """Weights in parts, as a run with --part-mib leaves them."""
    trainer = Trainer(toy_presets()["tic-plus"], TrainOptions(**LEARNED), CPU)
    make_photos(Path("for-parts"))
    data, _ = trainer.load_data(Path("for-parts"), lambda total: None)
    trainer.begin_run(RUN)
    trainer.train_step(data)
    trainer.finish(data)
    snapshots = Snapshots(trainer, folder, PartOptions(part_mib=1))
    snapshots.leave()
    snapshots.finish()


def copy_first(path: Path) -> None:
    """Make the checkpoint of run b2 by copying that of run b1, which differs only in its seed."""
    shutil.copy(str(path).replace("b2", "b1"), path)


#: Functions that make the files and folders that commands read, by their names in the documents.
MAKERS: dict[str, Callable[[Path], object]] = {
    "PHOTOS": make_photos,
    "COPY": make_photos,
    "KODAK": make_kodak,
    "photos.zip": make_zip,
    "SMALL": make_tics,
    "CLASSES": make_classes,
    "PHOTOS_OF_CLASSES": make_classes,
    "OTHER_PHOTOS_OF_CLASSES": make_classes,
    "imagenette/val": make_classes,
    "MY_CLASSES": make_own_classes,
    "OTHER_PHOTOS_OF_MY_CLASSES": make_own_classes,
    "my-classes.safetensors": make_head,
    "names.txt": lambda path: path.write_text("one\ntwo\nthree\n"),
    "parts": make_parts,
    "runs/b2/annealed.pt": copy_first,
    "*.tic": lambda path: make_tic(Path("photo.tic")),
}
#: Functions that make other files, by suffix.
MAKERS_BY_SUFFIX: dict[str, Callable[[Path], object]] = {
    ".jpg": make_photo,
    ".png": make_photo,
    ".tic": make_tic,
}
#: Commands that read only the file or folder of their first argument. They write the others.
WRITING = ("encode", "decode", "compare", "batch")


def make_inputs(words: list[str]) -> None:
    """Make what a command reads, if an earlier line of the block has not made it.

    Args:
        words: the words of the command, without `ticodec`.
    """
    makers = {word: MAKERS.get(word) or MAKERS_BY_SUFFIX.get(Path(word).suffix) for word in words}
    known = [(Path(word), make) for word, make in makers.items() if make is not None]
    for path, make in known[:1] if words[0] in WRITING else known:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)


# -- commands made small -----------------------------------------------------------------

#: Values of options of `ticodec train` that would take minutes, and what the tests use instead.
SMALLER = {
    "--crop": ["--crop", "64"],
    "--batch": ["--batch", "2"],
    "--warmup": ["--warmup", "1"],
    "--max-minutes": ["--max-steps", "1"],
    "--anneal-minutes": ["--anneal-minutes", "0.0001"],
    "--minutes": ["--minutes", "0.05"],
}
#: Values of targets that toy networks can reach. Their pictures are poor.
POORER = {"--target-psnr": "15", "--target-ms-ssim": "1.5dB"}
#: Toy photos are this many times smaller than photos of the documents. So crops are smaller too.
SHRUNK = 8


def made_small(words: list[str]) -> list[str]:
    """A command that does the same with less work. It has the same options with smaller values.

    `*.tic` becomes the names of files, as in a shell. A training that would run until it is stopped
    ends after one step, with small crops. `evaluate` measures two qualities, unless the command
    names others.
    """
    small: list[str] = []
    rest = [*words]
    while rest:
        word = rest.pop(0)
        if words[0] == "train" and word in SMALLER:
            small += SMALLER[word]
            rest.pop(0)
        elif word in POORER:
            small += [word, POORER[word]]
            rest.pop(0)
        elif words[0] == "decode" and word == "--crop":
            small += [word, *(str(int(number) // SHRUNK) for number in rest[:4])]
            del rest[:4]
        elif word == "*.tic":
            small += sorted(str(path) for path in Path().glob(word))
        else:
            small.append(word)
    if words[0] == "evaluate" and "-q" not in words:
        small += ["-q", "1,8"]
    if words[0] == "train":
        small += ["--device", "cpu"]
        if not {"--max-steps", "--minutes"} & {*small}:
            small += ["--max-steps", "1"]
        if "--resume" not in small:
            given = [SMALLER[name] for name in ("--crop", "--batch") if name not in small]
            small += [word for option in given for word in option]
    return small
