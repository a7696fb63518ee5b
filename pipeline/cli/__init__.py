"""The `synth` command: parse, call one function, print; errors become one message and an exit code.

This package imports nothing heavy at the top: `synth --help` must not wait for polars or openai.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from contextlib import suppress

import typer

from pipeline import redact
from pipeline.cli import look as look
from pipeline.cli import make as make
from pipeline.cli import tell as tell
from pipeline.errors import StorageError, SynthError
from pipeline.terminal import safe

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What the system says of a disk that is full, read-only or failing."""

app = typer.Typer(
    name="synth",
    help="Make and curate instruction-tuning data: every row traceable, no reply paid for twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(make.run)
app.command("plan")(make.plan)
app.command("replay")(make.replay)
app.command("export")(make.export)
app.command("purge")(make.purge)
app.command("status")(look.status)
app.command("show")(look.show)
app.command("why")(look.why)
app.command("verify")(look.verify)
app.command("stages")(tell.stages)
app.command("recipes")(tell.recipes)
app.command("doctor")(tell.doctor)


def main() -> None:
    """Run the command line; ends the process with the exit code of what happened.

    Without the interpreter's own end: threads that pyarrow has just started abort the process in
    one of fifty, with another exit code than ours.
    """
    _make_streams_usable()
    code = _run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # said already, by `_run`
            stream.flush()
    os._exit(code)


def _make_streams_usable() -> None:
    """Let nothing that is printed end a run: streams may be closed, or know no Unicode.

    A closed one is opened to nowhere, so that no file of a run takes its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.dup(number), "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run() -> int:
    try:
        try:
            app()
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # typer makes a 1 of it
                return 0
            code = end.code if isinstance(end.code, int) else 0
        sys.stdout.flush()
    except SynthError as error:
        sys.stderr.write(f"synth: {safe(redact.text(str(error)))}\n")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        return 0
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # polars' panics are no Exception
        if isinstance(error, OSError) and error.errno in DISK:
            sys.stderr.write(f"synth: {safe(redact.text(str(error)))}\n")
            return StorageError.exit_code
        sys.stderr.write(
            f"{safe(redact.text(traceback.format_exc()))}synth: this is a bug: report it, please.\n"
        )
        return SynthError.exit_code
    return code
