"""The command that looks on while a run works, from another shell: `top`."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated

import typer

from pipeline import signals
from pipeline.cli.look import RunArgument, status_text
from pipeline.cli.progress import line_of
from pipeline.terminal import safe

OVER = 15
"""Rates are those of so many looks."""


def top(
    run: RunArgument,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between looks.")] = 2.0,
) -> None:
    """Look on while a run works: its stages, rates and what is left; ends with it, or with ^C."""
    signals.look_on()
    is_live = sys.stdout.isatty()
    for text in _looks(run, every, whole=is_live):
        if is_live:
            height = shutil.get_terminal_size().lines
            lines = text.split("\n")[: max(height - 1, 1)]
            sys.stdout.write("\x1b[H\x1b[2J" + "\n".join(lines) + "\n")  # the screen, from its top
        else:
            sys.stdout.write(text)
        sys.stdout.flush()


def _looks(run: str, every: float, *, whole: bool) -> Iterator[str]:
    """What there is to be seen, look by look, until nobody works on the run.

    `whole` is its status each time; otherwise that comes last, and before it a line a look.
    """
    from pipeline.inspect import open_run
    from pipeline.run.events import noted
    from pipeline.status import holder, stage_statuses

    seen: deque[tuple[float, int, int]] = deque(maxlen=OVER)
    while True:
        found = open_run(run)
        worker = holder(found.path)
        progress = noted(found.path) if worker is not None else None
        stages = stage_statuses(found)
        asked = sum(stage.requests for stage in stages)
        tokens = sum(stage.input_tokens + stage.output_tokens for stage in stages)
        seen.append((time.monotonic(), asked, tokens))
        line = ""
        if progress is not None:
            line = safe(f"{line_of(progress)}{_rates(seen)}", keep_lines=False) + "\n"
        if worker is None or whole:
            yield status_text(found, stages, worker) + line
        else:
            yield line
        if worker is None:
            return
        time.sleep(every)


def _rates(seen: deque[tuple[float, int, int]]) -> str:
    """Requests and tokens a second over the looks there were.

    >>> _rates(deque([(10.0, 5, 100), (12.0, 9, 300)]))
    '; 2.0 requests and 100 tokens a second'
    >>> _rates(deque([(10.0, 5, 100)]))
    ''
    """
    (began, first, had), (now, last, has) = seen[0], seen[-1]
    if now <= began or last <= first:
        return ""
    took = now - began
    return f"; {(last - first) / took:.1f} requests and {(has - had) / took:.0f} tokens a second"
