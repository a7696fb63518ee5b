"""Have a template rendered in a process of its own (`template_child.py`), one for all of them."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from pipeline import errors
from pipeline.errors import StorageError
from pipeline.template_limits import CPU_S, TooLongError

RAISED = {
    name: kind
    for name, kind in vars(jinja2.exceptions).items()
    if isinstance(kind, type) and issubclass(kind, jinja2.TemplateRuntimeError)
}
"""What can be raised again under its own name."""

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None


def names_used(text: str) -> set[str]:
    """The names that a template needs values for, after a trial without any.

    Much that takes for ever does so then too. Raises as `render`, but where it lacks values.
    """
    answer = _answer({"text": text, "values": {}, "is_trial": True})
    if "long" in answer or "used" not in answer or answer.get("line") is not None:
        _text_of(answer)
    return set(answer["used"])


def render(text: str, values: Mapping[str, Any]) -> str:
    """The text of a template.

    Raises `TooLongError` where it takes too much, `jinja2.TemplateError` where Jinja2 does.
    """
    return _text_of(_answer({"text": text, "values": values, "is_trial": False}))


def _text_of(answer: Mapping[str, Any]) -> str:
    if "text" in answer:
        return str(answer["text"])
    if "long" in answer:
        raise TooLongError(answer["long"])
    if answer["line"] is not None:
        raise jinja2.TemplateSyntaxError(answer["said"], answer["line"])
    said = answer["said"]
    kind = RAISED.get(answer["error"])
    raise kind(said) if kind else jinja2.TemplateRuntimeError(f"{answer['error']}: {said}")


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    with _lock:
        return _ask(json.dumps(asked).encode() + b"\n")


def _ask(line: bytes) -> dict[str, Any]:
    global _child
    if _child is None or _child.poll() is not None:
        _child = _start()
    assert _child.stdin is not None
    assert _child.stdout is not None
    try:
        _child.stdin.write(line)
        _child.stdin.flush()
        answer = _child.stdout.readline()
    except BrokenPipeError:
        answer = b""
    if answer:
        return dict(json.loads(answer))
    code = _end(_child)
    _child = None
    if code == -signal.SIGPROF:
        return {"long": f"takes more than {CPU_S:g} s of processor time"}
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return {"long": f"ended the process that renders it ({how})"}


def _start() -> subprocess.Popen[bytes]:
    place = str(Path(errors.__file__).parents[1])
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.template_child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": place},
        )
    except OSError as error:
        raise StorageError(
            f"no process can be started for a template: {error}. Start the same command again "
            "once there is room."
        ) from error


def _end(child: subprocess.Popen[bytes]) -> int:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # what it was asked last did not reach it
                continue
    return child.wait()


@atexit.register
def close() -> None:
    """End the process, where there is one; the next rendering starts another."""
    global _child
    if _child is not None:
        _child.kill()
        _end(_child)
        _child = None
