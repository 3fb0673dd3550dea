"""Which models are installed, as plain facts. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ticodec import weights
from ticodec.entropy import native
from ticodec.weights import store


@dataclass(frozen=True)
class InstalledModel:
    """One installed set of weights.

    Args:
        name: as `load` and `encode` take it; model: the architecture's stable name.
        default: whether it is used when no name is given.
        state: "default"; "current": its name stands for it; "hidden": its name stands for weights
            of a folder that is searched earlier; "earlier": other weights took over the name.
            Files that hidden and earlier ones wrote still decode.
        origin: where it was found: "user" (the user's folder), "shipped", or the variable's name.
        qualities: lowest and highest; None: one fixed quality.
        parameters: number of parameters; weights: fingerprint, as `info` gives it.
        file: path of the weights; installed: whether that file exists.
        trained: one line on how it was made.
        labels: number of classes that it distinguishes; 0: it does not classify.
        classifier: one line on how its classifier was made, if that is a separate file; else "".
        classifier_file: the path of that file, or ""; earlier_classifiers: paths of those that it
            replaced.
        native: whether the C extension is used here; else PyTorch and Python do its work.
    """

    name: str
    model: str
    default: bool
    state: str
    origin: str
    qualities: tuple[float, float] | None
    parameters: int
    weights: str
    file: str
    installed: bool
    trained: str
    labels: int
    classifier: str
    classifier_file: str
    earlier_classifiers: tuple[str, ...]
    native: bool


def list_models() -> list[InstalledModel]:
    """All installed models, in the order in which they are searched.

    Raises BadInputError when a manifest is damaged.
    """
    return [_facts(entry) for entry in weights.entries()]


def _facts(entry: weights.Entry) -> InstalledModel:
    origins = {store.user_folder(): "user", store.SHIPPED: "shipped"}
    state = "earlier" if entry.superseded else "current" if entry.current else "hidden"
    head = entry.head
    return InstalledModel(
        name=entry.name,
        model=entry.model,
        default=entry.default,
        state="default" if entry.default else state,
        origin=origins.get(entry.path.parent, store.VARIABLE),
        qualities=entry.qualities,
        parameters=entry.parameters,
        weights=entry.fingerprint.hex(),
        file=str(entry.path),
        installed=os.path.exists(entry.path),  # noqa: PTH110  also False for impossible names
        trained=entry.trained,
        labels=head.labels if head else entry.labels,
        classifier=head.trained if head else "",
        classifier_file=str(head.path) if head else "",
        earlier_classifiers=tuple(str(earlier.path) for earlier in head.earlier) if head else (),
        native=native.active(),
    )
