"""The progress bar of a training run."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from ticodec.training.run_log import progress_bar

STATS = "step 50  3.5 crops/s  loss 54.349  1.210 bpp  12.48 dB  1.203 bpp rounded  skipped 0"


def test_the_bar_fits_80_columns() -> None:
    console = Console(file=StringIO(), width=80)
    bar = progress_bar(console)
    bar.add_task("annealing", total=None, stats=STATS)
    console.print(bar.get_renderable())
    printed = console.file.getvalue()
    assert "…" not in printed
    assert "annealing" in printed
    assert [word for word in STATS.split() if word not in printed.split()] == []
