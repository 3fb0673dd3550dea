"""`ticodec models`: which networks are installed. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict

from .help_pages import examples
from .output import Json, print_json

EXAMPLES = examples(
    ("List the models in a table.", "ticodec models"),
    ("Print all facts about them, and how they were trained.", "ticodec models --json"),
)


def models(as_json: Json = False) -> None:
    """List the models that are installed. `encode --model NAME` takes their names."""
    from ticodec.entropy import native as exact
    from ticodec.extension import turned_off
    from ticodec.model_list import list_models
    from ticodec.models import native as kernels

    listed = list_models()
    if as_json:
        print_json([asdict(model) for model in listed])
        return
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    from ticodec.shown import shown

    from .tables import print_table

    # The table has no room for how a model was trained. --json and the model cards have that.
    others = ("qualities", "parameters", "weights", "from", "classes")
    columns = [Column("model", overflow="fold"), *(Column(name, no_wrap=True) for name in others)]
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for model in listed:
        low_high = model.qualities
        table.add_row(
            Text(shown(model.name) + (" (default)" if model.default else "")),
            f"{low_high[0]:g} … {low_high[1]:g}" if low_high else "fixed",
            f"{model.parameters:,}",
            model.weights if model.installed else "missing",
            model.origin + (f", {model.state}" if model.state in ("hidden", "earlier") else ""),
            str(model.labels or "–"),
            style="dim" if model.state in ("hidden", "earlier") else None,
        )
    print_table(table)
    if listed:
        off = " (TICODEC_NATIVE=0)" if turned_off() else ""
        without = f"without the C extension{off}, more slowly"
        path, transforms = exact.module(), kernels.module()
        where = f"in the C extension ({path.INSTRUCTIONS[0]})" if path else without
        print(f"entropy coding runs {where}")
        where = f"in the C extension ({transforms.SETS[0][0]})" if transforms else without
        print(f"the transforms run {where}")
    states = {model.state for model in listed}
    if "hidden" in states:
        print("hidden: the name stands for weights in a folder that is searched before this one")
    if "earlier" in states:
        print("earlier: other weights took over the name; files that these encoded still decode")
