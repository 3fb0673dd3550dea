"""A progress bar on stderr for work that takes long. Quick work shows none."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ticodec.progress import Progress
from ticodec.shown import shown

if TYPE_CHECKING:
    from rich.progress import Progress as Display

#: Seconds after which the bar appears.
DELAY = 2.0


@contextmanager
def bar(text: str, hidden: bool) -> Iterator[Progress]:
    """Shows on a terminal how far the work inside is. The bar vanishes when the work has ended.

    Args:
        text: what the work is.
        hidden: whether to show nothing.

    Yields a function, to be called with the share of the work that is done, 0 … 1.
    """
    drawn = Bar(text)
    if hidden or not sys.stderr.isatty():
        yield drawn.update
        return
    timer = threading.Timer(DELAY, drawn.begin)
    timer.daemon = True
    timer.start()
    try:
        yield drawn.update
    finally:
        timer.cancel()
        drawn.end()


class Bar:
    """The bar for one piece of work.

    The thread of a timer calls `begin`, and the thread that works calls `update` and `end`.
    """

    def __init__(self, text: str) -> None:
        self.text, self.share, self.ended = shown(text), 0.0, False
        self.lock = threading.Lock()
        self.display: Display | None = None

    def begin(self) -> None:
        """Show the bar, unless the work has ended."""
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Display
        from rich.table import Column

        # The text gets the rest of the line, so a long name does not push out the numbers.
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        name = TextColumn("{task.description}", markup=False, table_column=rest)
        with self.lock:
            if self.ended:
                return
            self.display = Display(
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                name,
                console=Console(file=sys.stderr),
                transient=True,
                expand=True,
                redirect_stdout=False,  # a picture may be written there
                redirect_stderr=False,
            )
            # Without a total the bar moves to and fro, until a share is known.
            self.display.add_task(self.text, total=None)
            self._show()
            self.display.start()

    def update(self, share: float) -> None:
        """Set the share that is done, 0 … 1."""
        with self.lock:
            self.share = share
            self._show()

    def end(self) -> None:
        """Hide the bar for good."""
        with self.lock:
            self.ended = True
            if self.display is not None:
                self.display.stop()

    def _show(self) -> None:
        if self.display is not None and self.share > 0:
            self.display.update(self.display.task_ids[0], completed=self.share, total=1.0)
