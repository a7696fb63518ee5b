"""How a run shows itself: live in a terminal, a plain line now and then, JSON for machines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline import redact
from pipeline.counted import counted
from pipeline.run.events import Event, Listener, Message, Progress, Starting
from pipeline.terminal import safe

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

PLAIN_EVERY_S = 5.0
JSON_EVERY_S = 0.5
WIDE = 100


@contextmanager
def shown(*, as_json: bool) -> Iterator[Listener]:
    """A listener for as long as the run works: JSON on stdout, else progress on stderr."""
    if as_json:
        yield to_json(sys.stdout)
    elif sys.stderr.isatty():
        with _live() as listener:
            yield listener
    else:
        yield Plain(sys.stderr)


def to_json(stream: TextIO) -> Listener:
    """One JSON object a line, each whole at once; two a second of a stage, and its end."""
    told: dict[str, float] = {}

    def tell(event: Event) -> None:
        if not isinstance(event, Message):
            now, what = time.monotonic(), _what(event)
            if event.state != "done" and now - told.get(what, 0.0) < JSON_EVERY_S:
                return
            told[what] = now
        line = {"event": type(event).__name__.lower()} | dataclasses.asdict(event)
        if isinstance(event, Progress):
            line["eta_s"] = event.eta_s
        _say(stream, redact.text(json.dumps(line)) + "\n")  # escaped: as `synth show --json` is

    return tell


def _what(event: Progress | Starting) -> str:
    """What an event tells of: a stage, or a server."""
    return event.stage if isinstance(event, Progress) else event.server


def to_log(path: Path) -> Listener:
    """Append messages and finished stages to the run's `log.jsonl`."""

    def tell(event: Event) -> None:
        if not isinstance(event, Message) and event.state != "done":
            return
        with path.open("a", encoding="utf-8") as file:
            line = {"time": time.time()} | dataclasses.asdict(event)
            file.write(redact.text(json.dumps(line)) + "\n")

    return tell


def line_of(event: Progress | Starting) -> str:
    """One stage, or the start of a server, as a line of text."""
    if isinstance(event, Starting):
        return start_of(event)
    total = f"/{event.total}" if event.total is not None else ""
    of = f" {event.of}" if event.of else ""
    parts = [f"{event.stage}: {event.done}{total}{of}", f"kept {event.kept}"]
    if event.dropped:
        parts.append("dropped " + dropped_text(event.dropped, most=4))
    if event.requests:
        parts.append(counted(event.requests, "request"))
    if event.tokens:
        parts.append(f"{event.tokens} tokens")
    if event.cost_usd is not None:
        parts.append(f"${event.cost_usd}")
    if load := load_of(event):
        parts.append(load)
    if event.eta_s is not None:
        parts.append(f"{event.eta_s:.0f} s left")
    elif event.state == "done":
        parts.append(f"{event.seconds:.1f} s")
    return ", ".join(parts)


def start_of(event: Starting) -> str:
    """The start of a server as a line of text."""
    if event.state == "done":
        return f"{event.server} answers, after {event.seconds:.1f} s"
    said = f": {event.said}" if event.said else ""
    return f"{event.server} starts, {event.seconds:.0f} s{said}"


def load_of(event: Progress) -> str:
    """How busy the run's own server is, where it says so and the stage is at work."""
    if event.running is None or event.state == "done":
        return ""
    waiting = f" and {event.waiting} waiting" if event.waiting else ""
    rate = f", {event.tokens_per_s:.0f} tokens/s" if event.tokens_per_s else ""
    return f"{event.running} in the engine{waiting}{rate}"


def dropped_text(dropped: dict[str, int], most: int) -> str:
    """Dropped rows by rule, the commonest first."""
    named = [f"{reason} {n}" for reason, n in list(dropped.items())[:most]]
    if len(dropped) > most:
        left = len(dropped) - most
        named.append(f"{left} more rule{'s' if left > 1 else ''}")
    return f"{sum(dropped.values())} ({', '.join(named)})" if dropped else "0"


def _say(stream: TextIO, text: str) -> None:
    """Write, if anybody still reads: a run does not end because `head` has seen enough."""
    with contextlib.suppress(BrokenPipeError):
        stream.write(text)
        stream.flush()


def last_word(text: str, *, as_json: bool, **facts: object) -> None:
    """Say how the run ended, after all else."""
    if as_json:
        line = {"event": "end", "text": text} | facts
        _say(sys.stdout, redact.text(json.dumps(line)) + "\n")
    else:
        _say(sys.stderr, safe(text) + "\n")


class Plain:
    """A line every few seconds and one at each stage's end."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Print the event if it is time to."""
        if isinstance(event, Message):
            _say(self._stream, safe(redact.text(event.text)) + "\n")
        else:
            now, what = time.monotonic(), _what(event)
            first = self._told.setdefault(what, now)
            if event.state != "done" and now - first < PLAIN_EVERY_S:
                return
            self._told[what] = now
            _say(self._stream, safe(line_of(event), keep_lines=False) + "\n")


@contextmanager
def _live() -> Iterator[Listener]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False)
    stages: dict[str, Progress] = {}
    with Live(console=console, refresh_per_second=8, transient=False) as live:

        def tell(event: Event) -> None:
            if isinstance(event, Message):
                live.console.print(safe(redact.text(event.text)))
            elif isinstance(event, Starting):
                said = safe(redact.text(start_of(event)), keep_lines=False)
                live.update(_with_line(_table(stages, console.width), said))
            else:
                stages[event.stage] = event
                said = safe(load_of(event))
                live.update(_with_line(_table(stages, console.width), said))

        yield tell


def _with_line(table: Table, said: str) -> Group:
    """The table, and below it a line where there is something to say."""
    from rich.console import Group
    from rich.text import Text

    line = Text(said, style="dim", overflow="ellipsis", no_wrap=True)
    return Group(table, *([line] if said else []))


def _table(stages: dict[str, Progress], width: int) -> Table:
    """The stages as a table; what does not fit is left out, the counts never are."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    is_wide = width >= WIDE
    table.add_column("stage", no_wrap=True)
    for name in ("done", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("dropped by rule" if is_wide else "dropped", no_wrap=not is_wide)
    for name in ("requests", "tokens", "cost", "time") if is_wide else ("time",):
        table.add_column(name, justify="right", no_wrap=True)
    for event in stages.values():
        done = f"{event.done}/{event.total}" if event.total is not None else str(event.done)
        done += f" {event.of}" if event.of else ""
        left = f"{event.seconds:.1f} s ✓" if event.state == "done" else ""
        if event.eta_s is not None:
            left = f"{event.eta_s:.0f} s left"
        dropped = (
            dropped_text(event.dropped, most=3) if is_wide else str(sum(event.dropped.values()))
        )
        asked = (
            str(event.requests or ""),
            str(event.tokens or ""),
            "" if event.cost_usd is None else f"${event.cost_usd}",
        )
        table.add_row(
            Text(safe(event.stage), style="bold" if event.state != "done" else ""),
            done,
            str(event.kept),
            Text(safe(dropped, keep_lines=False), style="dim"),
            *(asked if is_wide else ()),
            left,
        )
    return table
