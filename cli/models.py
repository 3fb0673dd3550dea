"""`ticodec models`: which networks are installed. Imports no torch."""

from __future__ import annotations

from .output import Json, print_json


def models(as_json: Json = False) -> None:
    """List the installed models."""
    from ticodec import weights

    rows = [
        {
            "name": entry.name,
            "model": entry.model,
            "default": entry.default,
            "qualities": entry.qualities,
            "parameters": entry.parameters,
            "weights": entry.fingerprint.hex(),
            "file": str(entry.path),
            "installed": entry.path.exists(),
            "trained": entry.trained,
            "labels": entry.head.labels if entry.head else entry.labels,
            "classifier": entry.head.trained if entry.head else "",
        }
        for entry in weights.entries()
    ]
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "qualities", "parameters", "weights", "labels", "trained")
    for row in rows:
        low_high = row["qualities"]
        table.add_row(
            f"{row['name']}{' (default)' if row['default'] else ''}",
            f"{low_high[0]:g} … {low_high[1]:g}" if isinstance(low_high, tuple) else "fixed",
            f"{row['parameters']:,}",
            str(row["weights"]) if row["installed"] else "missing",
            str(row["labels"] or "–"),
            f"{row['trained']}{'; classifier: ' if row['classifier'] else ''}{row['classifier']}",
        )
    Console().print(table)
