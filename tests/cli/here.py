"""The command line in this process: as quick as a call, with its own messages and exit codes."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from pipeline.cli import commands


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


def synth(*arguments: object, columns: int = 80) -> Ended:
    """Run `synth` with these arguments, on a terminal of so many columns."""
    out, err = io.StringIO(), io.StringIO()
    line = ["synth", *map(str, arguments)]
    with (
        patch.object(sys, "argv", line),
        patch.dict("os.environ", {"COLUMNS": str(columns)}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = commands.run()
    return Ended(code, out.getvalue(), err.getvalue())
