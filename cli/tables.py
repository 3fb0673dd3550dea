"""Prints tables on stdout. No text is cut off, however narrow the terminal is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: The least width of a column whose cells may be broken into lines, in characters.
LEAST_WIDTH = 16


def print_table(table: Table) -> None:
    """Print a whole table.

    Cells of columns whose `overflow` is "fold" may be broken into lines. If the table is still too
    wide for the terminal, the cells of each row are printed below each other. In files and pipes a
    table is as wide as it needs to be.
    """
    from rich.console import Console

    console = Console()
    needed = _width(table, console)
    if needed <= console.width:
        console.print(table)
    elif console.is_terminal or "COLUMNS" in os.environ:
        _print_cells(table, console)
    else:
        console.width = needed
        console.print(table)


def _width(table: Table, console: Console) -> int:
    """The least width of a table, in characters."""
    widths = [column.max_width for column in table.columns]
    for column in table.columns:
        if column.overflow == "fold":
            column.max_width = LEAST_WIDTH
    needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    for column, width in zip(table.columns, widths, strict=True):
        column.max_width = width
    return needed


def _print_cells(table: Table, console: Console) -> None:
    """Print the first cell of each row, and below it one line per other cell with its heading."""
    from rich.padding import Padding
    from rich.table import Column
    from rich.table import Table as RichTable

    if table.title:
        console.print(table.title)
    first, *others = table.columns
    cells = [list(column.cells) for column in others]
    for number, heading in enumerate(first.cells):
        console.print(heading)
        lines = RichTable.grid(Column(overflow="fold"), Column(overflow="fold"), padding=(0, 2))
        for column, of_column in zip(others, cells, strict=True):
            lines.add_row(str(column.header).replace("\n", " "), of_column[number])
        console.print(Padding(lines, (0, 0, 1, 2), expand=False))
