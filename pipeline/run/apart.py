"""Judge rows by filters of the user's own, in a process of its own.

Their code may hang, in Python or in C with the interpreter locked, or take its process down. So it
runs in a child (`judge_child`), which is killed when its time is over or the run is told to end;
where it then was, the child itself says (`faulthandler`, which needs no interpreter).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from pipeline import errors, redact
from pipeline.errors import BrokenStageError, SynthError
from pipeline.run.judge_child import BEGAN
from pipeline.signals import Ending
from pipeline.stages import filter as filter_stage

LOOK_EVERY_S = 0.1
START_S = 60.0
"""How much longer the child may take until it begins; a busy machine starts it slowly."""
SAY_S = 2.0
"""How long the child may take to say where it is."""
FRAME = re.compile(r'File "(?P<path>.+)", line (?P<line>\d+) in (?P<function>.+)')


def judge_apart(
    name: str, config: filter_stage.Config, shards: list[Path], staging: Path, ending: Ending
) -> pl.DataFrame:
    """One verdict a row of `shards`, in order; `name` is the stage's.

    Raises `BrokenStageError` where the filters have not come back in the time that they have,
    `InterruptedRunError` once a signal has come, and what the stage itself raises.
    """
    staging.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        out = Path(folder) / "verdicts"
        given = {
            "name": name,
            "config": config.model_dump(mode="json"),
            "shards": [str(path) for path in shards],
            "out": str(out),
            "keys": redact.remembered(),  # on stdin alone, which nobody else reads
        }
        child = _start(json.dumps(given))
        try:
            said = _wait(child, name, config, ending)
        finally:
            child.kill()
            child.wait()
        if child.returncode != 0:
            raise _error(name, child.returncode, said)
        return pl.read_ipc(out.read_bytes())


def _start(given: str) -> subprocess.Popen[str]:
    """The child, with this very code, told what to do."""
    places = [str(Path(errors.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline.run.judge_child", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead: its exit code says so
        child.stdin.write(given)
        child.stdin.close()
    child.stdin = None
    return child


def _wait(
    child: subprocess.Popen[str], name: str, config: filter_stage.Config, ending: Ending
) -> str:
    """What the child says as it ends."""
    until = time.monotonic() + START_S + config.own_timeout_s
    has_begun = False
    while True:
        try:
            return child.communicate(timeout=LOOK_EVERY_S)[0].removeprefix(BEGAN)
        except subprocess.TimeoutExpired as early:
            ending.check()
            if not has_begun and early.stdout:
                has_begun, until = True, time.monotonic() + config.own_timeout_s
        if time.monotonic() > until:
            raise BrokenStageError(
                f"{name}: the filters of your own have not come back after "
                f"{config.own_timeout_s:g} s{_where(child, config)}. What was made before stays. "
                f"Give them more time with --set {name}.own_timeout_s=SECONDS, or mend the file "
                "and make a new run with --from, which asks nothing again."
            )


def _where(child: subprocess.Popen[str], config: filter_stage.Config) -> str:
    """At which line of the user's files the child is, as far as it can say."""
    child.send_signal(signal.SIGUSR2)
    time.sleep(LOOK_EVERY_S)
    try:
        child.communicate(timeout=SAY_S)
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
    else:
        return ""  # it has just ended
    own = {os.path.realpath(path) for path in filter_stage.files(config)}
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    for found in FRAME.finditer(text):
        if os.path.realpath(found["path"]) in own:
            return f": {found['function']} is at line {found['line']} of {found['path']}"
    return ""


def _error(name: str, code: int, said: str) -> SynthError:
    """The error with which the child ended."""
    try:
        found = json.loads(said)
        kind: type[SynthError] = getattr(errors, found["error"])
        return kind(found["text"])
    except (ValueError, KeyError, TypeError):
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return SynthError(f"{name}: the process of the filters of your own ended with {how}.")
