"""Decides which files a run has to do, and names their outputs.

SRC ─► list ─► suffix, include, exclude ─► names of outputs ─► items ─► `existing`: up to date?
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ticodec import weights
from ticodec.effort import checked_effort
from ticodec.errors import UsageError
from ticodec.image_files import SUFFIXES
from ticodec.quality import check_quality
from ticodec.writers import writer_of

from .messages import Action, Item, Job, Row
from .storage import Local, place

TIC = ".tic"
INPUTS: dict[Action, set[str]] = {
    "encode": SUFFIXES,
    "decode": {TIC},
    "classify": SUFFIXES | {TIC},
}


@dataclass
class Plan:
    """The files to do, and the rows of files that cannot be done.

    Args:
        others: the number of files that are left out because of their suffix, by suffix.
        excluded: the number of files that the user's patterns leave out.
    """

    items: list[Item] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    excluded: int = 0


def check(job: Job, dry: bool = False) -> None:
    """Check that workers can do a job. Loads no network. Raises TicodecError if they cannot.

    Unless `dry` is true, it also makes the target ready for writing.
    """
    source = place(job.source)
    if not source.exists():
        raise UsageError(f"{job.source} does not exist")
    if job.delete_source and not isinstance(source, Local):
        raise UsageError(f"{job.source}: only files on this machine can be deleted after a check")
    if job.action != "decode":
        check_quality(job.entry(), job.quality)
        checked_effort(job.effort)
    else:
        writer_of(job.format).checked_quality(job.output_quality)
    if job.head is not None:
        weights.read_head(Path(job.head), None)
    if job.target is not None:
        target = place(job.target)
        target.check_writable()
        if job.delete_source and not target.shared:
            raise UsageError(
                f"{job.target} does not outlive the run, so no source may be deleted; "
                "name another target"
            )
        if not dry:
            target.prepare()


def make_plan(job: Job, include: list[str], exclude: list[str]) -> Plan:
    """List the source and name the outputs. Reads no file.

    If the source is a single file, it is taken whatever its suffix is.

    Args:
        include, exclude: shell patterns for names and paths.

    Raises TicodecError when the source cannot be listed.
    """
    plan, inputs = Plan(), []
    source = place(job.source, job.follow_links)
    named = isinstance(source, Local) and source.only is not None

    def unwanted(name: str) -> bool:
        return (bool(include) and not _matches(name, include)) or _matches(name, exclude)

    for file in source.files():
        suffix = PurePosixPath(file.name).suffix.lower()
        if named or suffix in INPUTS[job.action] or file.name.endswith("/"):
            inputs.append(file)
        elif unwanted(file.name):
            plan.excluded += 1
        else:
            plan.others[suffix] += 1
    inputs.sort(key=lambda file: file.name)
    # Every output is named before the patterns apply, because names must not depend on them.
    outputs = output_names([file.name for file in inputs], _suffix(job))
    for file, output in zip(inputs, outputs, strict=True):
        if unwanted(file.name):
            plan.excluded += 1
        elif file.problem is not None:
            plan.rows.append(Row(file.name, "", "failed", error=file.problem))
        else:
            facts = (file.size, file.modified, file.permissions)
            plan.items.append(Item(file.name, output, *facts))
    return plan


def _suffix(job: Job) -> str:
    """The suffix of a job's outputs, or "" for labels, which go into one table."""
    if job.action == "decode":
        return writer_of(job.format).suffixes[0]
    return TIC if job.action == "encode" else ""


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches the path or the name of a file, or of a folder above it."""
    path = PurePosixPath(name)
    candidates = [name, path.name, *map(str, path.parents), *(p.name for p in path.parents)]
    return any(
        fnmatchcase(candidate, pattern.rstrip("/"))
        for pattern in patterns
        for candidate in candidates
    )


def output_names(names: list[str], suffix: str) -> list[str]:
    """The names of outputs: `suffix` replaces the suffix of the input.

    If two outputs would share a name, both keep their old suffix before the new one:

    a.jpg, b.jpg, b.png ─► a.tic, b.jpg.tic, b.png.tic

    Names that differ only in case or Unicode form count as equal, because they are equal in some
    file systems. If the `.tic` file of another photo already exists, `existing` takes the name with
    the old suffix.
    """
    whole = [name + suffix for name in names]
    if not suffix:
        return whole
    short = [str(PurePosixPath(name).with_suffix(suffix)) for name in names]
    chosen = short
    while True:
        counts = Counter(map(folded, chosen))
        better = [
            full if counts[folded(name)] > 1 else name
            for name, full in zip(chosen, whole, strict=True)
        ]
        if better == chosen:
            return chosen
        chosen = better


def folded(name: str) -> str:
    """A name in the form in which names are compared, without case and in one Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()
