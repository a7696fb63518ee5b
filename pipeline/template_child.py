"""The process in which templates that compute are rendered: `python -m ...template_child PARENT`.

Each line of stdin asks for one rendering, each line of stdout answers. The system ends the process
once a rendering has taken its processor time, wherever it is, and refuses it more memory than it
may have. It has no key in its environment. A trial has no values, takes what is missing for
nothing, and answers with the names that the template uses too.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

import jinja2
from jinja2 import meta

from pipeline.signals import ENDING
from pipeline.template_limits import CPU_S, MAX_CHARACTERS
from pipeline.templates import ENVIRONMENT

PR_SET_PDEATHSIG = 1
MEMORY = 2**30
"""Bytes that may be held beside what the interpreter holds at its start."""


def main() -> None:
    """Answer until nobody asks any more."""
    for number in ENDING:  # the parent ends this process; and it ends with the parent
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY + _held()
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    lax = ENVIRONMENT.overlay(undefined=jinja2.ChainableUndefined)
    compiled: dict[tuple[str, bool], jinja2.Template] = {}
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        key = asked["text"], asked["is_trial"]
        environment = lax if asked["is_trial"] else ENVIRONMENT
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # SIGPROF is left to end the process
        answer: dict[str, Any] = {}
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
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _held() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one number
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
