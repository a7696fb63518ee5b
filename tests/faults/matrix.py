"""Run the whole product against a teacher that misbehaves, and recount what came of it.

The server's own history and bill are the witness: how often a fault fired, how many requests came,
when, and what was billed. Of the product only its published files are read, and its ledger is
compared with the bill.
"""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.errors import SynthError
from pipeline.run.events import Event
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.teacher.journal import Journal
from tests.run import books
from tests.teacher_server.process import Server

C = 8  # requests in flight at most
WINDOW = 16
MODEL = "test-model"
THREE_ITEMS = {"items": 3}
CLASSIFY = r"Is it classification\?\s*\Z"  # a request of the stage `classify`
SHORT = (
    "bootstrap.target=40",
    f"bootstrap.window={WINDOW}",
    f"teacher.concurrency={C}",
    "teacher.connect_timeout_s=0.5",
    "teacher.timeout_s=1",
    "teacher.idle_timeout_s=0.5",
    "teacher.outage_limit_s=3",
)
DEADLINE_S = 20.0


class HungError(KeyboardInterrupt):
    """A run passed its deadline. A kind of interrupt, so that no event loop swallows it."""


@dataclass
class Ran:
    """How a run ended, and what the server saw of it alone."""

    out: Path
    error: SynthError | None
    seconds: float
    requests: int  # to the model, by the server's count
    faults: Counter[str]
    billed: Counter[str]

    @property
    def code(self) -> int:
        """The exit code that the command would end with."""
        return self.error.exit_code if self.error else 0

    def rows(self, stage: str, half: str = "kept") -> list[dict[str, Any]]:
        """Published rows of a stage."""
        return books.rows(self.out, stage, half)

    def dropped(self, stage: str) -> Counter[str]:
        """Dropped rows of a stage by reason, counted from its shards."""
        return Counter(row["drop_reason"] for row in self.rows(stage, "dropped"))


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Break off what takes longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except HungError:
        raise AssertionError(f"not done after {seconds} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def say(figure: str) -> None:
    """Show a figure that was measured; `pytest -s` lets it through."""
    sys.stdout.write(f"\n{figure}\n")


def ignore(event: Event) -> None:
    """A listener that does not listen."""


def run(
    server: Server,
    out: Path,
    *settings: str,
    until: str | None = "classify",
    environment: Mapping[str, str] | None = None,
    deadline_s: float = DEADLINE_S,
    url: str | None = None,
    base: Sequence[str] = SHORT,
    may_stall: bool = False,
    listener: Callable[[Event], object] = ignore,
) -> Ran:
    """Run the built-in recipe here, with `base` and `settings`, up to the stage `until`."""
    before = server.counts()
    began = time.monotonic()
    options = Options(
        recipe="self-instruct",
        out=str(out),
        teacher=f"openai:{MODEL}@{url or server.url}",
        settings=[*base, *settings],
        until=until,
        may_stall=may_stall,
    )
    error = None
    with deadline(deadline_s):
        try:
            execute(prepare(options, environment or {}), listener)
        except SynthError as caught:
            error = caught
    seconds = time.monotonic() - began
    if list(out.glob("stages/*/stage.json")):
        books.check(out)
    after = _settled_counts(server)
    return Ran(
        out,
        error,
        seconds,
        _asked(after) - _asked(before),
        Counter(after["faults"]) - Counter(before["faults"]),
        Counter(after["billed"]) - Counter(before["billed"]),
    )


def _asked(counts: Mapping[str, Any]) -> int:
    return int(counts.get("requests_chat", 0)) + int(counts.get("requests_completion", 0))


def _settled_counts(server: Server) -> dict[str, Any]:
    """The counters once the server has noticed that nobody waits for an answer any more."""
    until = time.monotonic() + 5
    counts, later = server.counts(), {}
    while (counts["in_flight"] or counts != later) and time.monotonic() < until:
        time.sleep(0.03)  # a busy one may not have read yet what was sent and given up
        counts, later = server.counts(), counts
    return counts


@dataclass(frozen=True)
class Books:
    """The ledger's tokens: (input, output)."""

    sent: int
    confirmed: tuple[int, int]
    unknown: tuple[int, int]


def ledger(out: Path) -> Books:
    """What the run itself says that it spent."""
    sent, found = 0, {"confirmed": [0, 0], "unknown": [0, 0]}
    with closing(Journal(out / "journal.sqlite")) as journal:
        for book, _, requests, n_in, n_out in journal.spent():
            if book == "sent":
                sent += requests
            else:
                found[book][0] += n_in
                found[book][1] += n_out
    confirmed, unknown = (tuple(pair) for pair in found.values())
    return Books(sent, confirmed, unknown)  # type: ignore[arg-type]


def check_interval(*runs: Ran, exact: bool = False) -> None:
    """What was billed lies between confirmed and confirmed + unknown; `exact`: is confirmed.

    `runs` are those that one run directory took.
    """
    stated = ledger(runs[-1].out)
    for index, name in enumerate(("prompt_tokens", "completion_tokens")):
        billed = sum(ran.billed[name] for ran in runs)
        low = stated.confirmed[index]
        assert low <= billed <= low + stated.unknown[index], (name, billed, stated)
        if exact:
            assert billed == low, (name, billed, stated)
    if exact:
        assert stated.unknown == (0, 0)
    unseen = stated.sent - sum(ran.requests for ran in runs)
    # what was sent and given up after its time is not seen where a busy server had not read it yet
    assert 0 <= unseen <= (0 if exact else _timeouts(runs[-1].out)), (unseen, stated)


def _timeouts(out: Path) -> int:
    notes = (json.loads(r["note"]) for r in books.records(out) if r["kind"] == "failure")
    return sum(note["outcome"] == "timeout" for note in notes)


def without_keys(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without their request keys, which differ where a slot was asked twice."""
    found = []
    for row in rows:
        requests = [{**request, "key": ""} for request in row["requests"]]
        found.append({**row, "requests": requests})
    return found


def asked_at(server: Server) -> list[float]:
    """When each request to the model came, in seconds of the monotonic clock."""
    return [e["t"] / 1e9 for e in server.history("request") if e["kind"] in ("chat", "completion")]


def hashes_hit(server: Server, fault: str, **match: object) -> set[str]:
    """The requests that a fault hit, by what the server calls them."""
    return {
        event["hash"]
        for event in server.history("fault")
        if event["fault"] == fault and all(event[name] == value for name, value in match.items())
    }
