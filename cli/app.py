"""The `ticodec` command: its subcommands, its errors and its exit codes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from ticodec import __version__
from ticodec.errors import TicodecError, UsageError, is_memory_short

from . import batch, classify, compare, decode, encode, evaluate, export, info, models, train
from .flags import with_flags

HELP = """A learned Transformer image codec: photos to small .tic files, back, and to labels.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input (unreadable, damaged, not a .tic, \
wrong weights), 130 interrupted."""

#: The base class of click's errors. Newer versions of typer contain click, older ones depend on it;
#: `typer.BadParameter` is one of those errors in both.
ClickException: Any = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

app = typer.Typer(
    help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.command("encode")(encode.encode)
app.command("decode")(decode.decode)
app.command("classify")(classify.classify)
app.add_typer(batch.app, name="batch")
app.command("info")(info.info)
app.command("models")(models.models)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("train")(train.train)
app.command("export")(export.export)


def _version(asked: bool) -> None:
    if asked:
        print(f"ticodec {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every failure is one line on stderr and a documented exit code."""
    _prepare_streams()
    try:
        _refuse_empty_arguments(sys.argv[1:])
        code = typer.main.get_command(app).main(prog_name="ticodec", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # typer returns this after Ctrl-C
            raise KeyboardInterrupt
    except TicodecError as error:
        _fail(with_flags(str(error), names=sys.argv[1:]), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except MemoryError:
        _fail("not enough memory for this image", 1)
    except BrokenPipeError:
        _fail("", 1)  # the program that reads the output has ended
    except OSError as error:  # of stdout; errors of files are TicodecErrors
        _fail(f"the output cannot be written: {error.strerror or error}", 1)
    except ClickException as error:
        message = error.format_message()
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "ticodec"
        _fail(f"{message} (see {command} --help)" if message else "", 2)
    except Exception as error:
        if is_memory_short(error):
            _fail("not enough memory for this image on this device", 1)
        if os.environ.get("TICODEC_DEBUG"):
            raise
        name = type(error).__name__
        _fail(f"internal error, please report it: {name}: {error} (TICODEC_DEBUG=1 shows more)", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_empty_arguments(arguments: list[str]) -> None:
    """Raises UsageError for `--out ""`, which a script passes whose variable is not set.

    As a path it would be the current folder.
    """
    if any(re.fullmatch(r"(--[\w-]+=)?", argument) for argument in arguments):
        raise UsageError("'' is no file, name or number; leave it out, or say which")


def _prepare_streams() -> None:
    """Let closed streams, or streams without Unicode, not end the command; hide warnings."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not os.environ.get("TICODEC_DEBUG"):
        warnings.simplefilter("ignore")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports its font cache


def _fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and exit."""
    if message:
        print("ticodec: " + " ".join(message.split()), file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more can fail there at exit
    sys.exit(code)


if __name__ == "__main__":
    main()
