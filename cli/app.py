"""The `ticodec` command: its subcommands, its errors and its exit codes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from ticodec import __version__
from ticodec.errors import TicodecError, UsageError, is_memory_short
from ticodec.shown import shown

from . import batch, classify, compare, decode, encode, evaluate, export, info, models, train
from .flags import with_flags
from .help_pages import Command, Group
from .interrupts import INTERRUPTED, end_at_once, raise_error
from .streams import prepare_streams, why
from .usage import command_of, with_hints

HELP = """Turn photos into small .tic files, back into pictures, and into labels.

\b[bold]Start here[/bold]
  ticodec encode photo.jpg             make photo.tic from a photo
  ticodec decode photo.tic             make photo.png from it, to look at
  ticodec classify photo.tic           name what is in it
  ticodec batch encode PHOTOS SMALL    encode a whole folder

A .tic file is lossy, as JPEG is: keep the originals that you cannot replace. \
Every command shows its options, and examples, with --help."""
EXIT_CODES = """Exit codes: 0 done, 1 failed, 2 wrong usage (also `ticodec` without a \
command), 3 bad input (unreadable, damaged, not a .tic file, wrong weights), 130 interrupted."""
#: Groups of commands.
PHOTOS, LOOK, MAKE = "Photos", "Look and measure", "Make your own models"

#: The base class of click's errors. Newer versions of typer contain click, older ones depend on
#: it. `typer.BadParameter` is one of these errors in both.
ClickException: Any = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

app = typer.Typer(
    cls=Group,
    help=HELP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},  # holds for all commands
)
for group, module, function in (
    (PHOTOS, encode, encode.encode),
    (PHOTOS, decode, decode.decode),
    (PHOTOS, classify, classify.classify),
    (LOOK, info, info.info),
    (LOOK, models, models.models),
    (LOOK, compare, compare.compare),
    (LOOK, evaluate, evaluate.evaluate),
    (MAKE, train, train.train),
    (MAKE, export, export.export),
):
    name = function.__name__
    app.command(name, cls=Command, epilog=module.EXAMPLES, rich_help_panel=group)(function)
app.add_typer(batch.app, name="batch", rich_help_panel=PHOTOS)


def _version(asked: bool) -> None:
    if asked:
        print(f"ticodec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Every failure gives one line on stderr and a documented exit code."""
    prepare_streams()
    if not os.environ.get("TICODEC_DEBUG"):
        warnings.simplefilter("ignore")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports on its font cache
    try:
        raise_error()
        _refuse_empty_arguments(sys.argv[1:])
        code = typer.main.get_command(app).main(prog_name="ticodec", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer returns this after Ctrl-C
            raise KeyboardInterrupt
        end_at_once()
    except TicodecError as error:
        _fail(with_flags(str(error), names=sys.argv[1:]), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", INTERRUPTED)
    except MemoryError:
        _fail("not enough memory for this image", 1)
    except BrokenPipeError:
        _fail("", 1)  # the program that reads the output has ended
    except OSError as error:  # errors of stdout name no file
        what = "the output cannot be written" if error.filename is None else error.filename
        _fail(f"{what}: {why(error)}", 1)
    except ClickException as error:
        message = " ".join(error.format_message().split())
        command = command_of(sys.argv[1:], typer.main.get_command(app))
        _fail(with_hints(message, command, sys.argv[1:]) if message else "", 2)
    except Exception as error:
        if isinstance(error, ImportError) and is_memory_short(error):
            _fail("not enough memory to load the libraries", 1)
        if is_memory_short(error):
            _fail("not enough memory for this image on this device", 1)
        if os.environ.get("TICODEC_DEBUG"):
            raise
        name = type(error).__name__
        text = " ".join(str(error).split())
        _fail(f"internal error, please report it: {name}: {text} (TICODEC_DEBUG=1 shows more)", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_empty_arguments(arguments: list[str]) -> None:
    """Raises UsageError for an empty word, as in `--out ""`.

    A script passes one if its variable is not set. As a path it would be the current folder.
    """
    if any(re.fullmatch(r"(--[\w-]+=)?", argument) for argument in arguments):
        raise UsageError("'' is no file, name or number; leave it out, or write one")


def _fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and exit."""
    end_at_once()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if message:
            print(f"ticodec: {shown(message)}", file=sys.stderr)
    except OSError:
        os.dup2(nowhere, 2)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os.dup2(nowhere, 1)  # so that Python's own flush at exit cannot fail
    os.close(nowhere)
    sys.exit(code)


if __name__ == "__main__":
    main()
