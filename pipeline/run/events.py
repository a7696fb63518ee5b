"""What a run says while it works: events, and those who listen.

A listener is anything with `__call__(event)`. The terminal, `--json` and `log.jsonl` are listeners;
a run itself prints nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

PROGRESS = "progress.json"
"""How far the stage at work is, for `synth status` elsewhere; gone once the run has ended."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stage is. `total` is its target or its rows, null where nobody knows.

    `of` is what `done` and `total` count where that is not rows. `running`, `waiting` and
    `tokens_per_s` are what a server of the run's own says of itself: the requests that it works at
    and that it has waiting, and the tokens a second that it writes.
    """

    stage: str
    done: int
    total: int | None
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    cost_usd: str | None = None
    requests: int = 0
    seconds: float = 0.0
    running: int | None = None
    waiting: int | None = None
    tokens_per_s: float | None = None
    state: str = "running"
    of: str = ""

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the present rate, where that can be said."""
        if not self.total or not self.done or self.done >= self.total:
            return None
        return self.seconds / self.done * (self.total - self.done)


@dataclass(frozen=True, slots=True)
class Message:
    """Something that a person should read once."""

    text: str


@dataclass(frozen=True, slots=True)
class Starting:
    """How the start of a server goes: seconds so far, what it said last, "running" or "done"."""

    server: str
    seconds: float
    said: str
    state: str = "running"


Event = Progress | Message | Starting
Listener = Callable[[Event], None]


def to_all(*listeners: Listener) -> Listener:
    """One listener that tells several."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def note(run: Path, progress: Progress) -> None:
    """Leave the newest progress in the run's folder; it need not outlive a power cut."""
    with tempfile.NamedTemporaryFile("w", dir=run, prefix=".new-", delete=False) as file:
        file.write(json.dumps(asdict(progress)))
    Path(file.name).replace(run / PROGRESS)


def noted(run: Path) -> Progress | None:
    """The progress that a run at work has left, null where there is none."""
    try:
        return Progress(**json.loads((run / PROGRESS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
