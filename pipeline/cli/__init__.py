"""The `synth` command: parse, call one function, print; errors become one message and an exit code.

This package imports nothing heavy at the top: `synth --help` must not wait for polars or openai,
and a signal must not find a process that does not yet listen.
"""

from __future__ import annotations

import ctypes
import gc
import io
import os
import resource
import sys
from contextlib import suppress

from pipeline import signals

PR_SET_DUMPABLE = 4
SELDOM = (20_000, 20, 20)
"""When garbage is looked for: imports, which make many objects and none, were a tenth slower."""


def main() -> None:
    """Run the command line; ends the process with the exit code of what happened.

    Without the interpreter's own end: threads that pyarrow has just started abort the process in
    one of fifty, with another exit code than ours.
    """
    gc.set_threshold(*SELDOM)
    _leave_no_core()
    _make_streams_usable()
    signals.install()
    from pipeline.cli.commands import run  # takes a while

    code = run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # said already, by `run`
            stream.flush()
    os._exit(code)


def _leave_no_core() -> None:
    """Let no crash write this process's memory to a file: a key stands in it.

    A limit of 0 is not heeded where cores go to a program; a process that is not dumpable has none,
    and nobody but root reads its memory or its environment.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(AttributeError, OSError):  # Linux has it
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)


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
