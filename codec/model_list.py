"""Lists the installed models. Imports no torch."""

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
        name: the name that `load` and `encode` take.
        model: the stable name of the architecture.
        default: whether these weights are used if no name is given.
        state: "default"; "current" if the name means these weights; "hidden" if the name means
            weights in a folder that is searched earlier; "earlier" if newer weights took over the
            name. Files that hidden and earlier weights wrote can still be decoded.
        origin: where the weights were found: "user" (the user's folder), "shipped", or the name of
            the environment variable.
        qualities: the lowest and the highest. None if there is one fixed quality.
        parameters: the number of parameters.
        weights: the fingerprint, as `info` returns it.
        file: the path of the weights.
        installed: whether that file exists.
        trained: one line on how the weights were trained.
        labels: how many classes the model distinguishes. 0 if it cannot classify.
        classifier: one line on how the classifier was trained, if it is a separate file. Else "".
        classifier_file: the path of that file, or "".
        earlier_classifiers: the paths of the classifiers that it replaced.
        native: whether the C extension is used. If not, PyTorch and Python do its work.
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
    """List all installed models, in the order in which they are searched.

    Raises BadInputError if a manifest is damaged.
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
        installed=os.path.exists(entry.path),  # noqa: PTH110  False for impossible names, too
        trained=entry.trained,
        labels=head.labels if head else entry.labels,
        classifier=head.trained if head else "",
        classifier_file=str(head.path) if head else "",
        earlier_classifiers=tuple(str(earlier.path) for earlier in head.earlier) if head else (),
        native=native.active(),
    )
