"""The process in which templates that compute are rendered: `python -m ...template_child PARENT`.

Each line of stdin asks for one rendering, each line of stdout answers. The system ends the process
once a rendering has taken its processor time, wherever it is, and refuses it more memory than it
may have. It has no key in its environment. A trial has no values, takes what is missing for
nothing, and answers with the names that the template uses too.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Any

import jinja2
from jinja2 import meta

from pipeline import signals
from pipeline.template_limits import CPU_S, MAX_CHARACTERS
from pipeline.templates import ENVIRONMENT

LAX = ENVIRONMENT.overlay(undefined=jinja2.ChainableUndefined)
"""For trials: what is missing is taken for nothing."""
MEMORY = 2**30
"""Bytes that may be held beside what the interpreter holds at its start."""


Compiled = dict[tuple[str, bool], jinja2.Template]
"""Templates by their text, and whether they are for trials."""


def main() -> None:
    """Answer until nobody asks any more."""
    signals.leave_to(int(sys.argv[1]))
    _limit_memory()
    compiled: Compiled = {}
    for line in sys.stdin.buffer:
        answer = _answer(json.loads(line), compiled)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _answer(asked: dict[str, Any], compiled: Compiled) -> dict[str, Any]:
    """What is answered to one line: a text, what took too long, or an error."""
    key = asked["text"], asked["is_trial"]
    environment = LAX if asked["is_trial"] else ENVIRONMENT
    answer: dict[str, Any] = {}
    signal.setitimer(signal.ITIMER_PROF, CPU_S)  # SIGPROF is left to end the process
    try:
        if asked["is_trial"]:
            tree = environment.parse(asked["text"])
            answer["used"] = sorted(meta.find_undeclared_variables(tree))
        if key not in compiled:
            compiled[key] = environment.from_string(asked["text"])
        text = compiled[key].render(asked["values"])
        if len(text) > MAX_CHARACTERS:
            answer["long"] = f"writes more than {MAX_CHARACTERS} characters"
        else:
            answer["text"] = text
    except MemoryError:
        answer["long"] = f"takes more than {MEMORY // 2**20} MiB of memory"
    except Exception as error:  # noqa: BLE001 - it is handed on to who asked
        line_number = getattr(error, "lineno", None)
        said = str(error)[:500]
        answer |= {"error": type(error).__name__, "said": said, "line": line_number}
    signal.setitimer(signal.ITIMER_PROF, 0)
    return answer


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY + _held()
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _held() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one number
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
