"""Measuring folders: measurements that are reused, images that are left out, files written."""

from __future__ import annotations

import csv
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import make_pixels

from evaluation.conftest import AWKWARD, SPECS
from ticodec import ms_ssim
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.evaluation import measure, photo_page, report_files, summary
from ticodec.evaluation.measurements import Store
from ticodec.evaluation.peers.pillow import PillowCoder
from ticodec.evaluation.registry import CoderSpec, make
from ticodec.psnr import psnr

JPEG = [CoderSpec("jpeg")]


def test_numbers_match_the_files_on_disk(measured) -> None:
    """Each measurement is repeated from only the coded file and the original."""
    count = 0
    for source in measured.run.sources:
        original = np.array(Image.open(source.path))
        for spec in SPECS:
            coder = make(spec)
            for setting in coder.ladder:
                row = measured.run.measured(source, coder, setting)
                data = measured.run.path(source, coder, setting).read_bytes()
                assert row.bytes == len(data)
                assert row.bpp == 8 * len(data) / (original.shape[0] * original.shape[1])
                decoded = coder.decode(data)
                assert row.psnr == pytest.approx(psnr(original, decoded), abs=1e-4)
                assert row.ms_ssim == pytest.approx(ms_ssim.ms_ssim(original, decoded), abs=1e-5)
                assert row.encode_seconds > 0
                count += 1
    assert count == 2 * (3 + 11 + 11)


def test_means_are_over_images(measured) -> None:
    point = measured.summary.points["jpeg"][4]
    rows = [
        measured.run.measured(source, make(SPECS[1]), point.setting)
        for source in measured.run.sources
    ]
    assert len(rows) == 2
    assert point.bpp == pytest.approx((rows[0].bpp + rows[1].bpp) / 2)
    assert point.psnr == pytest.approx((rows[0].psnr + rows[1].psnr) / 2)
    assert point.ms_ssim_db == pytest.approx(
        ms_ssim.decibel((rows[0].ms_ssim + rows[1].ms_ssim) / 2)
    )
    assert measured.summary.published == []  # these are not Kodak's images


def test_files_of_a_report(measured) -> None:
    names = {"report.json", "report.csv", "report.md", "report.html"}
    names |= {f"rd-{m}.{s}" for m in ("psnr", "ms-ssim") for s in ("svg", "png")}
    assert set(measured.files) == names
    facts = json.loads((measured.out / "report.json").read_text())
    assert facts["images"] == 2
    assert {row["image"] for row in facts["measurements"]} == {"a.png", f"sub/{AWKWARD}"}
    assert [each["against"] for each in facts["bd"]] == ["jpeg", "jpeg2000"]
    for row in facts["measurements"]:
        assert row["ms_ssim_db"] == pytest.approx(ms_ssim.decibel(row["ms_ssim"]))
    with (measured.out / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50 + 25
    assert sum(row["image"] == "(mean)" for row in rows) == 25
    text = (measured.out / "report.md").read_text()
    for point in measured.summary.points["tiny"]:
        assert f"| tiny | quality {point.setting:g} | {point.bytes:,.0f} |" in text
    for metric in ("psnr", "ms-ssim"):
        assert ET.parse(measured.out / f"rd-{metric}.svg").getroot().tag.endswith("svg")
        assert Image.open(measured.out / f"rd-{metric}.png").width > 1000


def results(out: Path) -> list[dict]:
    """The lines of a report's measurements, without seconds."""
    rows = [json.loads(line) for line in (out / "measurements.jsonl").read_text().splitlines()]
    assert rows
    for row in rows:
        del row["encode_seconds"], row["decode_seconds"]
    return sorted(rows, key=str)


@pytest.mark.parametrize("jobs", [1, 2])
def test_measuring_again_gives_the_same_bytes_and_numbers(photos, tmp_path, jobs: int) -> None:
    harder = CoderSpec("tiny", True, "cpu", (2.0,), effort=2)
    specs = [CoderSpec("tiny", True, "cpu", (2.0, 6.0)), harder, *JPEG]
    for name in ("first", "again"):
        measure.evaluate(photos, specs, tmp_path / name, jobs)
    assert results(tmp_path / "first") == results(tmp_path / "again")


def test_stored_measurements_are_not_repeated(photos, tmp_path, monkeypatch) -> None:
    out = tmp_path / "report"
    first = measure.evaluate(photos, JPEG, out)
    asked: list[float] = []
    real = measure.measure

    def counting(spec, source, setting):
        asked.append(setting)
        return real(spec, source, setting)

    monkeypatch.setattr(measure, "measure", counting)
    again = measure.evaluate(photos, JPEG, out)
    assert asked == []
    assert again.store.known == first.store.known
    damaged = first.path(first.sources[0], first.coders[0], 50.0)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with (out / "measurements.jsonl").open("a") as file:
        file.write('{"image": "cut sho')  # as if it was killed while writing
    measure.evaluate(photos, JPEG, out)
    assert asked == [50.0]
    asked.clear()
    measure.evaluate(photos, JPEG, out)
    assert asked == []
    measure.evaluate(photos, JPEG, out, fresh=True)
    assert len(asked) == 22


def test_a_changed_image_is_measured_again(tmp_path) -> None:
    folder, out = tmp_path / "in", tmp_path / "report"
    folder.mkdir()
    Image.fromarray(make_pixels(40, 40)).save(folder / "a.png")
    first = measure.evaluate(folder, JPEG, out)
    Image.fromarray(make_pixels(40, 40, 9)).save(folder / "a.png")
    second = measure.evaluate(folder, JPEG, out)
    assert len(second.store.known) == 2 * len(make(JPEG[0]).ladder)
    rows = [each.measured(each.sources[0], each.coders[0], 50.0) for each in (first, second)]
    assert rows[0].stream != rows[1].stream


def test_a_report_is_not_deleted_if_the_new_one_fails(photos, tmp_path, monkeypatch) -> None:
    first = measure.evaluate(photos, JPEG, tmp_path / "report")
    measure.ready.cache_clear()

    def broken(self, pixels, setting):
        raise OSError("encoder error -2")

    monkeypatch.setattr(PillowCoder, "encode", broken)
    for fresh in (False, True):
        with pytest.raises(UsageError, match=r"(jpeg|webp): OSError: encoder error -2; leave this"):
            measure.evaluate(photos, [*JPEG, CoderSpec("webp")], tmp_path / "report", fresh=fresh)
    assert Store(tmp_path / "report").known == first.store.known
    monkeypatch.undo()
    measure.ready.cache_clear()


@pytest.mark.usefixtures("unrendered")
def test_unreadable_images_are_left_out(tmp_path) -> None:
    folder = tmp_path / "in"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "folder.png").mkdir()
    Image.fromarray(make_pixels(40, 40)).save(folder / "a.png")
    (folder / ".hidden" / "b.png").write_bytes(b"not looked at")
    (folder / "._a.png").write_bytes(b"hidden: not looked at")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "bad.jpg").write_bytes(b"no image")
    (folder / "broken.png").symlink_to("nowhere.png")
    # The second report is made beside the first, which has images, and then over itself.
    for out in (folder / "report", folder / "report2", folder / "report2"):
        found = measure.evaluate(folder, JPEG, out)
        assert [source.name for source in found.sources] == ["a.png"]
        assert found.failed == {
            "bad.jpg": "not an image that Pillow can read; it seems to be text",
            "broken.png": "cannot be read: No such file or directory",
        }
        (out / "rd-psnr.png").write_bytes((folder / "a.png").read_bytes())


@pytest.mark.parametrize(
    "name",
    [
        "with space.png", "-leading.png", "a|b.png", "ünï çødé.png", "n" * 251 + ".png",
        "📷" * 60 + ".png", os.fsdecode(b"caf\xe9.png"), "new\nline.png",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("unrendered")
def test_names_may_be_anything(name: str, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"cost$_$ x \xff")  # matplotlib takes $_$ for mathematics
    folder.mkdir()
    Image.fromarray(make_pixels(40, 40)).save(folder / "a.png")
    (folder / "a.png").rename(folder / name)
    (folder / "bad.png").write_bytes(b"x")
    done = measure.evaluate(folder, JPEG, tmp_path / "report")
    assert [source.name for source in done.sources] == [name]
    report_files.write_report(done, summary.summarise(done), str(folder), 24)
    assert len(json.loads((tmp_path / "report" / "report.json").read_text())["measurements"]) == 11


def test_too_large_images_are_left_out(photos, tmp_path) -> None:
    found = measure.evaluate(photos, JPEG, tmp_path / "report", max_pixels=176 * 240)
    assert not found.failed
    with pytest.raises(BadInputError, match="raise `max_pixels`"):
        measure.evaluate(photos, JPEG, tmp_path / "report", max_pixels=176 * 240 - 1)


def test_images_that_a_codec_cannot_code_are_left_out_of_every_mean(photos, tmp_path, monkeypatch):
    coder = make(JPEG[0])
    real = type(coder).encode

    def failing(self, pixels, setting):
        if pixels.shape[0] == 240 and setting == 50:
            raise ValueError("does not like it")
        return real(self, pixels, setting)

    monkeypatch.setattr(type(coder), "encode", failing)
    found = measure.evaluate(photos, JPEG, tmp_path / "report")
    assert [source.name for source in found.sources] == ["a.png"]
    assert found.failed == {f"sub/{AWKWARD}": "at quality 50, jpeg: ValueError: does not like it"}


@pytest.mark.usefixtures("unrendered")
def test_images_that_are_gone_are_not_on_the_page(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        Image.fromarray(make_pixels(40, 40, number)).save(tmp_path / "in" / f"{number}.png")
    done = measure.evaluate(tmp_path / "in", JPEG, tmp_path / "report")
    (tmp_path / "in" / "0.png").unlink()
    measure.pixels_of.cache_clear()
    report_files.write_report(done, summary.summarise(done), "in", 24)
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count('class="card"') == 1
    assert "Pictures of 1 of 2 images." in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["images"] == 2


@pytest.mark.usefixtures("unrendered")
def test_lossless_and_all_but_lossless_results(tmp_path) -> None:
    """No number of dB is infinite. A lossless result has none, and is left out of the curves."""
    folder = tmp_path / "in"
    folder.mkdir()
    box = np.full((200, 200, 3), 255, np.uint8)
    box[80:120, 80:120] = 20
    Image.fromarray(box).save(folder / "box.png")
    Image.fromarray(box[:1, :1]).save(folder / "dot.png")
    specs = [CoderSpec("tiny", True, "cpu", (2.0, 8.0)), CoderSpec("jpeg2000"), CoderSpec("webp")]
    done = measure.evaluate(folder, specs, tmp_path / "report")
    means = summary.summarise(done)
    assert any(point.psnr is None for points in means.points.values() for point in points)
    report_files.write_report(done, means, "in", 24)
    text = (tmp_path / "report" / "report.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    page, rows, failed = photo_page.compare(folder / "box.png", specs, (2.0, 8.0))
    assert b'class="plots"' in page
    assert len(rows) == 2
    assert failed == {}


@pytest.mark.usefixtures("unrendered")
def test_compare_leaves_out_codecs_that_cannot_code_the_photo(tmp_path) -> None:
    Image.fromarray(make_pixels(2, 17000)).save(tmp_path / "wide.png")
    specs = [CoderSpec("tiny", True, "cpu"), CoderSpec("webp"), CoderSpec("jpeg")]
    page, rows, failed = photo_page.compare(tmp_path / "wide.png", specs)
    assert [row.coder for row in rows[0]] == ["tiny", "jpeg"]
    assert list(failed) == ["webp"]
    assert b"Left out: webp: " in page
    assert b"<h1>wide.png: tiny against jpeg</h1>" in page


@pytest.mark.usefixtures("unrendered")
def test_small_images_have_no_ms_ssim(tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(make_pixels(20, 30)).convert("L").save(folder / "grey.png")
    done = measure.evaluate(folder, JPEG, tmp_path / "report")
    means = summary.summarise(done)
    assert all(point.ms_ssim is None for point in means.points["jpeg"])
    assert report_files.notes_of(done, "in")[-1] == (
        "No mean MS-SSIM, because images with fewer than 161 pixels on a side have none: grey.png."
    )
    (tmp_path / "report" / "rd-ms-ssim.svg").write_text("of an earlier run")
    files = report_files.write_report(done, means, "in", 24)
    assert "rd-ms-ssim.svg" not in files
    assert not (tmp_path / "report" / "rd-ms-ssim.svg").exists()
    assert "rd-psnr.svg" in files


def test_folders_that_cannot_be_measured(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_text("x")
    for name, why in {
        "empty": "no images in it",
        "texts": "no images in it",
        "damaged": "no image in it can be read; a.png: not an image",
        "missing": "it does not exist",
    }.items():
        with pytest.raises(BadInputError, match=why):
            measure.evaluate(tmp_path / name, JPEG, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_other_folders_are_not_written_into(photos, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for fresh in (False, True):
        with pytest.raises(UsageError, match="holds other files than a report"):
            measure.evaluate(photos, JPEG, tmp_path / "mine", fresh=fresh)
    with pytest.raises(UsageError, match="is a file"):
        measure.evaluate(photos, JPEG, tmp_path / "file")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_no_usable_image_is_an_error(tmp_path, monkeypatch) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(make_pixels(8, 8)).save(tmp_path / "in" / "a.png")
    coder = make(JPEG[0])
    monkeypatch.setattr(type(coder), "decode", lambda self, data: make_pixels(1, 1))
    with pytest.raises(TicodecError, match=r"a\.png: .*jpeg: decoded to \(1, 1, 3\)"):
        measure.evaluate(tmp_path / "in", JPEG, tmp_path / "report")


def test_earlier_measurements_are_read(tmp_path: Path) -> None:
    """A line written by ticodec 0.1.0, and one of a classified image."""
    line = (
        '{"image": "ab12", "coder": "jpeg", "version": "Pillow 11.3.0, libjpeg 3.1.1", '
        '"setting": 50.0, "stream": "cd34", "bytes": 5120, "bpp": 0.9697, "psnr": 31.2401, '
        '"ms_ssim": 0.97312, "encode_seconds": 0.0021, "decode_seconds": 0.0019}'
    )
    known = line.replace("cd34", "ef56")[:-1] + ', "label": "tench", "rank": 2, "pixel_rank": 1}'
    (tmp_path / "measurements.jsonl").write_text(f"{line}\n{known}\n")
    store = Store(tmp_path)
    key = ("ab12", "jpeg", "Pillow 11.3.0, libjpeg 3.1.1", 50.0)
    assert {one: row.stream for one, row in store.known.items()} == {
        (*key, None): "cd34",
        (*key, "tench"): "ef56",
    }
    assert [json.dumps(row.as_dict()) for row in store.known.values()] == [line, known]
