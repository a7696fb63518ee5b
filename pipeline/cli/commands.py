"""All commands of `synth`, and what becomes of their errors."""

from __future__ import annotations

import errno
import sys
import traceback
from contextlib import suppress
from typing import Annotated

import typer

from pipeline import redact
from pipeline.cli import differ, look, make, pages, people, tell, watch
from pipeline.errors import StorageError, SynthError
from pipeline.shortage import shortage
from pipeline.terminal import safe
from pipeline.version import VERSION

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


def _version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"synth {VERSION}\n")
        raise typer.Exit


@app.callback()
def synth(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


app.command("run")(make.run)
app.command("plan")(make.plan)
app.command("replay")(make.replay)
app.command("export")(make.export)
app.command("purge")(make.purge)
app.command("status")(look.status)
app.command("top")(watch.top)
app.command("show")(look.show)
app.command("why")(look.why)
app.command("report")(pages.report)
app.command("diff")(differ.diff)
app.command("review")(people.review)
app.command("push")(people.push)
app.command("verify")(look.verify)
app.command("repair")(make.repair)
app.command("stages")(tell.stages)
app.command("recipes")(tell.recipes)
app.command("doctor")(tell.doctor)


def run() -> int:
    """Run the command line and give the exit code of what happened, said on stderr."""
    try:
        try:
            app()
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # typer makes a 1 of it
                return 0
            code = end.code if isinstance(end.code, int) else 0
        sys.stdout.flush()
    except SynthError as error:
        _say(f"synth: {safe(redact.text(str(error)))}\n")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        return 0
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # polars' panics are no Exception
        try:
            return _told(error)
        except MemoryError as none_left:  # for the report, after an error that does not say so
            return _told(none_left)
    return code


def _told(error: BaseException) -> int:
    """Say of an error that is not our own what it is, and give its exit code."""
    if isinstance(error, OSError) and error.errno in DISK:
        _say(f"synth: {safe(redact.text(str(error)))}\n")
        return StorageError.exit_code
    if (what := shortage(error)) is not None:
        _say(
            f"synth: this process may have no more {what}. Nothing that was received is lost; "
            "start the same command again where it may have more.\n"
        )
        return StorageError.exit_code
    trace = "".join(traceback.format_exception(error))
    _say(f"{safe(redact.text(trace))}synth: this is a bug: report it, please.\n")
    return SynthError.exit_code


def _say(text: str) -> None:
    """Say why the command ends; where not even that can be written, its exit code says so alone."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
