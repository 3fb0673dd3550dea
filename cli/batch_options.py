"""The options of `ticodec batch encode|decode|classify`, most of which all three have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.container import MAX_PIXELS
from ticodec.errors import UsageError

from .help_pages import INPUT, MACHINE, OUTPUT, QUALITY, RAY, RUN
from .output import Device, Json, MaxPixels, Memory, Quiet

if TYPE_CHECKING:
    from ticodec.batch.messages import Action, Job
    from ticodec.batch.run import Options


class OnError(StrEnum):
    """What happens after a file has failed."""

    go_on = "continue"
    stop = "stop"


class Engine(StrEnum):
    """Where workers run: on this machine, or on a Ray cluster."""

    local = "local"
    ray = "ray"


Source = Annotated[
    str, typer.Argument(metavar="SRC", help="A folder, a file, a .zip or a URL such as s3://….")
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="DST", help="A folder or URL. It gets the same subfolders and names as SRC."
    ),
]
Quality = Annotated[
    float | None,
    typer.Option(
        "--quality",
        "-q",
        metavar="Q",
        help="1 (smallest files) to 8 (best pictures), e.g. 4.5. \\[default: 4]",
        rich_help_panel=QUALITY,
    ),
]


@dataclass(frozen=True)
class Common:
    """The options of all three commands."""

    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Take only files or folders whose name matches, e.g. '*.jpg' or '2024'. Can be "
            "given several times.",
            rich_help_panel=INPUT,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave out files or folders whose name matches. Can be given several times.",
            rich_help_panel=INPUT,
        ),
    ] = None
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            help="Enter linked folders too, each folder once.",
            rich_help_panel=INPUT,
        ),
    ] = False
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help="Also overwrite files that no earlier run of batch made from the same source.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    skip_existing: Annotated[
        bool,
        typer.Option(
            help="Leave out files whose output is up to date.",
            rich_help_panel=RUN,
        ),
    ] = True
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only print what would be done.", rich_help_panel=RUN),
    ] = False
    on_error: Annotated[
        OnError,
        typer.Option(
            help="After a file has failed: continue with the others, or stop.",
            rich_help_panel=RUN,
        ),
    ] = OnError.go_on
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a .json or .csv file with one row per file of the run.",
            rich_help_panel=RUN,
        ),
    ] = None
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="How many workers run at once. \\[default: one per core, if memory allows]",
            rich_help_panel=MACHINE,
        ),
    ] = None
    device: Device = "auto"
    memory: Memory = None
    max_pixels: MaxPixels = MAX_PIXELS
    engine: Annotated[
        Engine,
        typer.Option(help="Work on this machine or on a Ray cluster.", rich_help_panel=MACHINE),
    ] = Engine.local
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of the cluster: auto or ray://…. "
            "\\[default: $RAY_ADDRESS, or this machine]",
            rich_help_panel=RAY,
        ),
    ] = None
    cpus: Annotated[
        float,
        typer.Option(min=0, metavar="N", help="CPUs of each worker.", rich_help_panel=RAY),
    ] = 1.0
    gpus: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="N",
            help="GPUs of each worker. 0.25 lets four workers share one.",
            rich_help_panel=RAY,
        ),
    ] = 0.0
    as_json: Json = False
    quiet: Quiet = False

    def job(self, action: Action, source: str, target: str | None, **more: Any) -> Job:
        """The job that these options describe. Raises UsageError."""
        from ticodec.batch.messages import Job
        from ticodec.batch.storage import absolute
        from ticodec.inputs import check_device

        check_device(self.device)
        return Job(
            action,
            source=absolute(source),
            target=None if target is None else absolute(target),
            follow_links=self.follow_links,
            device=self.device,
            max_pixels=self.max_pixels,
            replace=self.force,
            **more,
        )

    def options(self) -> Options:
        """The options of the run itself. Raises UsageError."""
        from ticodec.batch.run import Options

        if self.engine is Engine.local and (self.address or self.cpus != 1 or self.gpus):
            raise UsageError("--address, --cpus and --gpus are for --engine ray")
        return Options(
            include=self.include or [],
            exclude=self.exclude or [],
            skip_existing=self.skip_existing,
            stop=self.on_error is OnError.stop,
            jobs=self.jobs,
            engine=self.engine.value,
            address=self.address,
            cpus=self.cpus,
            gpus=self.gpus,
        )
