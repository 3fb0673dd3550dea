"""The `ticodec` command: its subcommands, its errors and its exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from ticodec import __version__
from ticodec.errors import TicodecError

from . import decode, encode, export, info, models, train

HELP = """A learned Transformer image codec: photos to small .tic files, and back.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input (unreadable, damaged, not a .tic,
wrong weights)."""

app = typer.Typer(
    help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.command("encode")(encode.encode)
app.command("decode")(decode.decode)
app.command("info")(info.info)
app.command("models")(models.models)
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
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except TicodecError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except MemoryError:
        _fail("not enough memory for this image", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own errors, wherever click comes from
            _fail(f"{error.format_message()} (see ticodec --help)", 2)
        if os.environ.get("TICODEC_DEBUG"):
            raise
        name = type(error).__name__
        _fail(f"internal error, please report it: {name}: {error} (TICODEC_DEBUG=1 shows more)", 1)


def _fail(message: str, code: int) -> None:
    print("ticodec: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
