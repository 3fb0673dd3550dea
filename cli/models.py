"""`ticodec models`: which networks are installed. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .output import Json, print_json

if TYPE_CHECKING:
    from ticodec.weights import Entry


def models(as_json: Json = False) -> None:
    """List the installed models."""
    from ticodec import weights

    entries = weights.entries()
    rows = [facts(entry) for entry in entries]
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "qualities", "parameters", "weights", "from", "labels", "trained")
    for entry, row in zip(entries, rows, strict=True):
        low_high = entry.qualities
        table.add_row(
            f"{entry.name}{' (default)' if entry.default else ''}",
            f"{low_high[0]:g} … {low_high[1]:g}" if low_high else "fixed",
            f"{entry.parameters:,}",
            row["weights"] if row["installed"] else "missing",
            row["from"] + {"hidden": ", hidden", "earlier": ", earlier"}.get(row["state"], ""),
            str(row["labels"] or "–"),
            f"{entry.trained}{'; classifier: ' if row['classifier'] else ''}{row['classifier']}",
            style=None if entry.current else "dim",
        )
    Console().print(table)
    states = {row["state"] for row in rows}
    if "hidden" in states:
        print("hidden: the name stands for weights of a folder that is searched earlier")
    if "earlier" in states:
        print("earlier: other weights have taken over the name; what these wrote still decodes")


def facts(entry: Entry) -> dict[str, Any]:
    """What `--json` prints of an entry."""
    from ticodec.weights import store

    folder = entry.path.parent
    origin = {store.user_folder(): "user", store.SHIPPED: "shipped"}.get(folder, store.VARIABLE)
    state = "earlier" if entry.superseded else "current" if entry.current else "hidden"
    return {
        "name": entry.name,
        "model": entry.model,
        "default": entry.default,
        "state": "default" if entry.default else state,
        "from": origin,
        "qualities": entry.qualities,
        "parameters": entry.parameters,
        "weights": entry.fingerprint.hex(),
        "file": str(entry.path),
        "installed": entry.path.exists(),
        "trained": entry.trained,
        "labels": entry.head.labels if entry.head else entry.labels,
        "classifier": entry.head.trained if entry.head else "",
        "classifier_file": str(entry.head.path) if entry.head else "",
        "earlier_classifiers": [str(head.path) for head in entry.head.earlier]
        if entry.head
        else [],
    }
