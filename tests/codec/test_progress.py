"""The progress that the codec reports."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ticodec import container, refinement
from ticodec.progress import ignored, part
from ticodec.targets import Target


def test_shares_of_stages(tiny, picture) -> None:
    one, two, three = ([] for _ in range(3))
    data = tiny.encode(picture(70, 90), progress=one.append)
    assert one == [0, 0.8, 1.0]
    tiny.decode(data, progress=two.append)
    assert two == [pytest.approx(0.2), 1.0]
    tiny.containers([picture(70, 90), picture(9, 9)], progress=three.append)
    assert three == [0, 0.4, 0.4, 0.8, 1.0]
    assert tiny.encode(picture(70, 90)) == data
    assert (tiny.picture(container.read(data), tiny.latents(container.read(data)))).pixels.any()


def test_rows_of_the_transforms(monkeypatch, tiny, picture) -> None:
    """With small bands there are many reports. No share is smaller than the one before."""
    for transform in (tiny.g_a, tiny.g_s):
        monkeypatch.setattr(transform, "band_bytes", 1)
    for call in (
        lambda report: tiny.encode(picture(300, 64), progress=report),
        lambda report: tiny.decode(tiny.encode(picture(300, 64)), progress=report),
    ):
        seen: list[float] = []
        call(seen.append)
        assert len(seen) > 10
        assert seen == sorted(seen)
        assert max(b - a for a, b in pairwise(seen)) < 0.3
        assert seen[-1] == 1


@pytest.mark.parametrize("quality", [4, Target("bpp", 0.6, nearest=True)])
def test_refining_reports_every_gradient(
    monkeypatch, tiny, picture, quality: float | Target
) -> None:
    """Also with several pictures, blocks and trials no share is smaller than the one before."""
    monkeypatch.setattr(refinement, "BLOCK", 12)
    monkeypatch.setattr(tiny.g_a, "band_bytes", 1)
    seen: list[float] = []
    tiny.containers([picture(250, 64), picture(40, 40)], quality, 3, seen.append)
    assert len(set(seen)) > 10
    assert seen == sorted(seen)
    assert seen[-1] == 1
    if quality == 4:
        assert sum(share < 0.05 for share in seen) > 4, "g_a takes little of it"
        assert max(b - a for a, b in pairwise(seen)) < 0.21


def test_classifying_reports_its_end(joint, picture) -> None:
    seen: list[float] = []
    joint.classify(joint.encode(picture(40, 40), 2), progress=seen.append)
    assert seen == [1.0]


def test_progress_of_a_part_of_a_part() -> None:
    seen: list[float] = []
    inner = part(part(seen.append, 0.5, 1), 0, 0.5)
    for share in (0, 0.5, 1):
        inner(share)
    assert seen == [0.5, 0.625, 0.75]
    assert part(None, 0, 1) is ignored
