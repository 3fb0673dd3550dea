"""Accuracy of classification: by which classifier, from which bytes, over which images."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from evaluation.heads import RANKING, RANKS, forget, write_head
from ticodec import api
from ticodec.errors import BadInputError
from ticodec.evaluation import accuracy, measure, report_files, report_tables, summary
from ticodec.evaluation.accuracy_plot import accuracy_plot
from ticodec.evaluation.folder_labels import PixelFile, folder_class, rank_of
from ticodec.evaluation.measurements import OF_CLASSES, Store
from ticodec.evaluation.registry import CoderSpec, make
from ticodec.evaluation.summary import Point


def specs(name: str = "tiny") -> list[CoderSpec]:
    return [CoderSpec(name, True, "cpu", (1.0, 8.0)), CoderSpec("webp")]


def rows_of(done: measure.Evaluation) -> Iterator[tuple]:
    for source in done.sources:
        for coder in done.coders:
            for setting in coder.ladder:
                yield source, coder, done.measured(source, coder, setting)


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """A list that gets a coder's name for every measurement that is made."""
    names: list[str] = []
    real = measure.measure

    def counting(spec, source, setting):
        names.append(spec.name)
        return real(spec, source, setting)

    monkeypatch.setattr(measure, "measure", counting)
    return names


def test_names_are_compared_without_case_and_underscores() -> None:
    assert folder_class("golf_ball/a.png") == "golf ball"
    assert folder_class("tench/Golf  BALL/a.png") == "golf ball"
    assert folder_class("a.png") is None
    labels = ["crane", "Golf_ball", "Crane"]
    assert rank_of("golf ball", labels) == 2
    assert rank_of("crane", labels) == 1
    assert rank_of("golf", labels) is None


@pytest.mark.usefixtures("unrendered")
def test_a_classifier_of_pixels_classifies_every_codec_and_the_originals(classes, tmp_path, pixels):
    """The classifier always gives the same ranking, so that every number is known in advance."""
    done = measure.evaluate(classes, specs(), tmp_path / "report", classifier=pixels)
    for source, coder, row in rows_of(done):
        label = folder_class(source.name)
        rank = RANKS.get(label)
        assert (row.label, row.rank) == (label if rank else None, None)
        assert row.pixel_rank == row.original_rank == rank
        assert coder.version.endswith(f"classifier {pixels.digest[:8]}")
    means = summary.summarise(done)
    assert means.original == accuracy.Accuracy(top1=2 / 4, top5=3 / 4, images=4)
    for point in (*means.points["tiny"], *means.points["webp"]):
        assert (point.top1, point.top5) == (None, None)
        assert (point.pixel_top1, point.pixel_top5) == (0.5, 0.75)
    files = report_files.write_report(done, means, str(classes), 0)
    assert {"rate-accuracy.svg", "rate-accuracy.png"} <= set(files)
    table = report_files.tables_of(done, means)[-1]
    assert table.header[5:9] == ("MS-SSIM", "in dB", "pixels top-1, %", "pixels top-5, %")
    assert [row[7:9] for row in table.rows] == [("50.0", "75.0")] * len(table.rows)
    assert table.rows[-1] == ("original", *["–"] * 6, "50.0", "75.0", "–", "–")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Accuracies are over 4 of 6 images" in text
    assert "On the original pixels its accuracies are 50.0% and 75.0%." in text
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["original"] == {"top1": 0.5, "top5": 0.75, "images": 4}
    assert {row["pixel_top5"] for row in facts["means"]} == {0.75}
    with (tmp_path / "report" / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    saw = {row["image"]: (row["label"], row["pixel_rank"]) for row in lines}
    assert saw["deep/chain saw/3.png"] == ("chain saw", "7")
    assert saw["holiday/4.png"] == saw["5.png"] == ("", "")
    assert next(row["pixel_top1"] for row in lines if row["image"] == "(mean)") == "0.5"


def test_pixel_ranks_are_from_decoded_pixels(classes, tmp_path) -> None:
    write_head(tmp_path / "head", seed=3)
    pixels = PixelFile.checked(tmp_path / "head", "cpu")
    done = measure.evaluate(classes, specs(), tmp_path / "report", classifier=pixels)
    classifier, moved = pixels.classifier(), 0
    for source, coder, row in rows_of(done):
        decoded = coder.decode(done.path(source, coder, row.setting).read_bytes())
        for seen, rank in (
            (decoded, row.pixel_rank),
            (np.array(Image.open(source.path)), row.original_rank),
        ):
            names = [each.label for each in classifier.of_pixels(seen, 7)]
            known = {name.casefold(): number + 1 for number, name in enumerate(names)}
            assert rank == (known[row.label] if row.label else None)
        moved += row.pixel_rank != row.original_rank
    assert moved  # otherwise they could not be told apart


@pytest.mark.parametrize("jobs", [1, 2])
def test_bitstream_ranks_are_from_the_measured_files(classes, tmp_path, headed, jobs) -> None:
    entry = headed(seed=1)
    write_head(tmp_path / "head", RANKING)
    pixels = PixelFile.checked(tmp_path / "head", "cpu")
    done = measure.evaluate(classes, specs("headed"), tmp_path / "report", jobs, classifier=pixels)
    codec, ranks = api.loaded(entry, "cpu"), []
    for source, coder, row in rows_of(done):
        if coder.name == "headed" and row.label:
            assert entry.head.sha256[:8] in coder.version
            data = done.path(source, coder, row.setting).read_bytes()
            names = [each.label.casefold() for each in codec.classify(data, 7)]
            assert row.rank == names.index(row.label) + 1
            assert row.pixel_rank == RANKS[row.label]
            ranks.append(row.rank)
        else:
            assert row.rank is None
    assert len(ranks) == 8
    assert len(set(ranks)) > 2
    means = summary.summarise(done)
    first = means.points["headed"][0]
    assert first.top1 == np.mean([rank == 1 for rank in ranks[::2]])
    assert first.top5 == np.mean([rank <= 5 for rank in ranks[::2]])
    assert means.points["webp"][0].top1 is None
    header = report_files.tables_of(done, means)[-1].header
    assert header[7:11] == tuple(report_tables.ACCURACIES.values())
    notes = " ".join(report_files.notes_of(done, "val"))
    assert "For headed the labels are read from the bitstream" in notes


def test_peers_keep_their_measurements_when_a_model_gets_a_head(
    classes, tmp_path, headed, asked
) -> None:
    """Only the model of the head is measured again. Each head has its own ranks."""
    out = tmp_path / "report"
    entry = headed(ranking=RANKING)
    measure.evaluate(classes, specs("headed"), out)
    rows = [row for row in Store(out).known.values() if row.coder == "headed" and row.label]
    assert {row.label: row.rank for row in rows} == RANKS
    asked.clear()
    measure.evaluate(classes, specs("headed"), out)
    assert asked == []
    forget()
    other = headed(ranking=RANKING[::-1])
    assert other.head.sha256 != entry.head.sha256
    done = measure.evaluate(classes, specs("headed"), out)
    assert asked == ["headed"] * 12
    ranks = {row.label: row.rank for _, coder, row in rows_of(done) if coder is done.coders[0]}
    assert ranks == {"tench": 7, "golf ball": 6, "chain saw": 1, None: None}


@pytest.mark.usefixtures("unrendered")
def test_measurements_belong_to_one_classifier(classes, tmp_path, pixels, asked) -> None:
    out = tmp_path / "report"
    plain = measure.evaluate(classes, specs(), out)
    everything = len(asked)
    assert not any(row.label for row in plain.store.known.values())
    write_head(tmp_path / "other", RANKING[::-1])
    other = PixelFile.checked(tmp_path / "other", "cpu")
    for classifier, count, top1 in (
        (pixels, everything, 0.5),
        (other, everything, 0.25),
        (pixels, 0, 0.5),
        (None, 0, None),
    ):
        asked.clear()
        done = measure.evaluate(classes, specs(), out, classifier=classifier)
        assert len(asked) == count
        means = summary.summarise(done)
        assert {each.pixel_top1 for rows in means.points.values() for each in rows} == {top1}
        report_files.write_report(done, means, str(classes), 0)
        assert (out / "rate-accuracy.png").exists() == (classifier is not None)


def test_the_class_of_an_image_is_its_present_folder(classes, tmp_path, pixels, asked) -> None:
    """This holds for the same image in two folders too, although its measurements share a file."""
    shutil.copy(classes / "tench" / "0.png", classes / "Golf_Ball" / "0.png")
    done = measure.evaluate(classes, specs()[:1], tmp_path / "report", classifier=pixels)
    ranks = {source.name: row.pixel_rank for source, _, row in rows_of(done)}
    assert (ranks["tench/0.png"], ranks["Golf_Ball/0.png"]) == (1, 2)
    asked.clear()
    measure.evaluate(classes, specs()[:1], tmp_path / "report", classifier=pixels)
    assert asked == []
    (classes / "deep" / "chain saw").rename(classes / "church")
    done = measure.evaluate(classes, specs()[:1], tmp_path / "report", classifier=pixels)
    ranks = {source.name: row.pixel_rank for source, _, row in rows_of(done)}
    assert ranks["church/3.png"] == 3
    assert len(asked) == 2


@pytest.mark.usefixtures("unrendered")
def test_without_classes_a_report_is_the_same(photos, tmp_path, headed, pixels, asked) -> None:
    """A head or a classifier does not change a report of images outside class folders."""
    out = tmp_path / "report"
    measure.evaluate(photos, specs("tiny")[1:], out)
    first = measure.evaluate(photos, specs(), out)
    facts = report_tables.facts(first, summary.summarise(first), "x")
    headed(ranking=RANKING)
    text = (out / "measurements.jsonl").read_text()
    assert not any(f'"{name}"' in text for name in OF_CLASSES)
    asked.clear()
    again = measure.evaluate(photos, specs(), out, classifier=pixels)
    means = summary.summarise(again)
    assert asked == []
    assert report_tables.facts(again, means, "x") == facts
    assert set(facts["means"][0]) == {
        "coder", "knob", "setting", "bytes", "bpp", "psnr", "ms_ssim", "ms_ssim_db",
        "encode_seconds", "decode_seconds",
    }  # fmt: skip
    assert report_tables.csv_text(facts).splitlines()[0].endswith(",stream,file")
    assert report_files.tables_of(again, means)[-1].header == (
        "codec", "setting", "bytes", "bpp", "PSNR, dB", "MS-SSIM", "in dB", "encode, s",
        "decode, s",
    )  # fmt: skip
    (out / "rate-accuracy.svg").write_text("of an earlier run")
    files = report_files.write_report(again, means, "x", 0)
    assert not [name for name in files if "accuracy" in name]
    assert not (out / "rate-accuracy.svg").exists()
    notes = report_files.notes_of(again, "x")
    assert notes[-1].startswith("No accuracy of pixels.safetensors: no image is in a folder")
    assert report_files.notes_of(first, "x") == notes[:-1]
    assert make(CoderSpec("headed", True, "cpu")).version == make(specs()[0]).version


def test_a_damaged_classifier_is_an_error_unlike_a_missing_one(classes, tmp_path, headed) -> None:
    headed(ranking=RANKING).head.path.write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="damaged weights: not the file that"):
        measure.evaluate(classes, specs("headed"), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def point(bpp: float, **fields) -> Point:
    return Point("x", "quality", 1, 9, bpp, 30, None, None, 0, 0, **fields)


def test_accuracies_over_different_images_are_noted(classes, tmp_path, headed) -> None:
    """A model and a classifier of pixels have different classes."""
    headed(ranking=RANKING)
    write_head(tmp_path / "head", labels=("tench", "holiday"), ranking=("holiday", "tench"))
    pixels = PixelFile.checked(tmp_path / "head", "cpu")
    done = measure.evaluate(classes, specs("headed"), tmp_path / "report", classifier=pixels)
    means = summary.summarise(done)
    assert means.original == accuracy.Accuracy(top1=1 / 3, top5=1, images=3)
    assert {each.top1 for each in means.points["headed"]} == {2 / 4}
    assert report_files.notes_of(done, "val")[-1] == (
        "Number of images, of 6, whose class a classifier knows: headed 4, pixels 3. Other images "
        "do not count."
    )


def test_plot_of_accuracy() -> None:
    points = {
        "tiny": [point(0.2, top1=0.6, pixel_top1=0.5), point(0.1, top1=0.4)],
        "jpeg": [point(0.3, pixel_top1=0.7)],
        "webp": [point(0.3)],
    }
    best = accuracy.Accuracy(0.9, 1, 10)
    for format, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        drawn = accuracy_plot(points, best, "$t$", format)
        assert drawn.startswith(start)
        assert drawn == accuracy_plot(points, best, "$t$", format)
        assert drawn != accuracy_plot(points, None, "$t$", format)
    assert accuracy_plot({"webp": points["webp"]}, None, "t") is None
