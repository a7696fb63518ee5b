"""What the processes begin and end with that a run starts for work that is better done apart.

Each is told its work on stdin, as JSON, and answers on stdout; its parent's number is its first
argument, and it ends with it. What libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from pipeline import redact, signals

Tell = Callable[[dict[str, Any]], None]
"""Says one thing to the parent."""


def given_work() -> dict[str, Any]:
    """What this process is to do. From now on it ends with its parent, and knows its keys."""
    signals.leave_to(int(sys.argv[1]))
    given: dict[str, Any] = json.load(sys.stdin)
    for key in given.pop("keys"):
        redact.remember(key)
    return given


def own_stdout() -> TextIO:
    """Stdout, for us alone: from now on what others print goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answer


def leave(code: int) -> NoReturn:
    """End at once, without what libraries do at their end."""
    sys.stdout.flush()
    os._exit(code)
