"""The `synth` command: parse, call one function, print; errors become one message and an exit code.

This package imports nothing heavy at the top: `synth --help` must not wait for polars or openai.
"""

from __future__ import annotations

import sys

import typer

from pipeline.cli import look as look
from pipeline.cli import make as make
from pipeline.cli import tell as tell
from pipeline.errors import SynthError
from pipeline.terminal import safe

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
app.command("export")(make.export)
app.command("status")(look.status)
app.command("show")(look.show)
app.command("why")(look.why)
app.command("verify")(look.verify)
app.command("stages")(tell.stages)
app.command("recipes")(tell.recipes)
app.command("doctor")(tell.doctor)


def main() -> None:
    """Run the command line; ends the process with the exit code of what happened."""
    try:
        app()
    except SynthError as error:
        sys.stderr.write(f"synth: {safe(str(error))}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        sys.stderr.close()
        sys.exit(0)
