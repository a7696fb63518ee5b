"""What a run says while it works: events, and those who listen.

A listener is anything with `__call__(event)`. The terminal, `--json` and `log.jsonl` are listeners;
a run itself prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stage is. `total` is its target or its rows, null where nobody knows."""

    stage: str
    done: int
    total: int | None
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    cost_usd: str | None = None
    requests: int = 0
    seconds: float = 0.0
    state: str = "running"

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


Event = Progress | Message
Listener = Callable[[Event], None]


def to_all(*listeners: Listener) -> Listener:
    """One listener that tells several."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
