"""What happened: the server's log, the processes, and the directory as each kill left it."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.crash.published import Record

if TYPE_CHECKING:
    from tests.crash.nemesis import Kill
    from tests.crash.workload import Workload

Event = dict[str, Any]
ENDS = ("reply", "cut", "abort")
"""What ends a request at the server."""


class Tail:
    """The server's log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._open: dict[int, int] = {}
        self._path = path
        self._at = 0

    def read(self) -> list[Event]:
        """Take in what is new; gives all events so far."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        new = [json.loads(line) for line in whole.splitlines()]
        for event in new:
            if event["event"] == "request" and event["kind"] == "chat":
                self._open[event["req"]] = event["t"]
            elif event["event"] in ENDS:
                self._open.pop(event["req"], None)
        self.events += new
        return self.events

    def n_open(self, t: int) -> int:
        """How many paid requests that came after a moment have no answer yet."""
        self.read()
        return sum(came > t for came in self._open.values())

    def since(self, event: str, t: int, *, paid_only: bool = True) -> list[Event]:
        """Events of one name from a moment on; requests and replies only of what is paid for."""
        found = []
        for entry in reversed(self.events):
            if entry["t"] < t:
                break
            is_paid = entry.get("kind") == "chat" or ("hash" in entry and event == "reply")
            if entry["event"] == event and (is_paid or not paid_only):
                found.append(entry)
        return found


@dataclass
class Death:
    """One kill that landed, and what lay in the directory before anything was started again.

    Times are CLOCK_MONOTONIC in nanoseconds, as the server's log has them: `launched`, just before
    the signal (`killed`), and once the process was gone and all this read (`over`): until then the
    server may still write replies to a connection that nobody holds any more. `holder` is the
    host of the process that still holds the lease. `second_start` is the exit code of a second
    process that came while an orphan lived. `starved_s`: how long the run's
    threads had been ready in the last two seconds while others had the processors.
    """

    kill: "Kill"
    launched: int
    killed: int
    over: int
    journal: list[Record]
    files: dict[str, str]
    rows: dict[str, int]
    problems: list[str]
    left_alive: list[int]
    holder: str | None = None
    second_start: int | None = None
    starved_s: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """A start on `host` that ended with 8: the lease of one that died elsewhere was not over."""

    host: str
    began: int
    ended: int


@dataclass(frozen=True)
class Cap:
    """A budget of tokens that held until `until`; how the starts under it ended."""

    tokens: int
    until: int
    exit_codes: tuple[int, ...]


@dataclass
class History:
    """One run from its first launch to its end."""

    workload: "Workload"
    seed: str
    events: list[Event] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    caps: list[Cap] = field(default_factory=list)
    missed: int = 0
    exit_codes: list[int] = field(default_factory=list)
    said: str = ""
    journal: list[Record] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    clean_files: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    clean_rows: dict[str, str] = field(default_factory=dict)
    clean_asks: frozenset[tuple[str, int, str]] = frozenset()
    clean_times: Counter[str] = field(default_factory=Counter)
    changed_when_run_again: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)

    @classmethod
    def beside(cls, clean: "History", workload: "Workload", seed: str) -> "History":
        """One that is to end as `clean` did, which was not killed."""
        return cls(
            workload,
            seed,
            clean_files=clean.files,
            clean_rows=clean.rows,
            clean_asks=clean.clean_asks,
            clean_times=clean.clean_times,
        )

    def paid_requests(self) -> list[Event]:
        """Requests that a teacher would bill."""
        return [e for e in self.events if e["event"] == "request" and e["kind"] == "chat"]

    def replies(self) -> list[Event]:
        """Whole answers to them, good or bad."""
        asked = {e["req"] for e in self.paid_requests()}
        return [e for e in self.events if e["event"] == "reply" and e["req"] in asked]

    def in_flight(self, death: Death) -> int:
        """How many requests were at the server, unanswered, when the signal was sent."""
        ends = {e["req"]: e["t"] for e in self.events if e["event"] in ENDS}
        return sum(
            e["t"] < death.killed < ends.get(e["req"], death.killed + 1)
            for e in self.paid_requests()
        )
