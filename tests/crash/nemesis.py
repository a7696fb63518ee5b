"""When to kill: a schedule drawn from one seed, each kill after something that was seen to happen.

Times drawn evenly over the wall clock hit the start of a process most of all. So every kill waits
for an event (the launch's first request, its nth reply, its nth journal record, a shard staged, a
stage begun) and then for a random moment, and the phases have their shares. Where the phase is one
in which requests are open, the signal waits until the server's log shows one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash import hosts, published
from tests.crash.history import Tail
from tests.crash.workload import Workload

START, REPLAY, STEADY, SEAL, EXPORT = "start-up", "replay", "steady", "seal", "export"
SHARES = {START: 0.06, REPLAY: 0.16, STEADY: 0.5, SEAL: 0.22, EXPORT: 0.06}
SHARES_WITHOUT_TEACHER = {START: 0.1, STEADY: 0.25, SEAL: 0.5, EXPORT: 0.15}
ALONE, ELSEWHERE = 0.12, 0.5
"""Shares of kills that hit the parent alone, and of launches under another host's name."""
DELAY_S = {
    "launched": (0.0, 0.9),
    "contact": (0.0, 0.1),
    "request": (0.0, 0.1),
    "reply": (0.0, 0.12),
    "record": (0.0, 0.06),
    "staged": (0.0, 0.006),
    "stage": (0.03, 0.3),  # the stage's first requests leave in the first moments
    "export": (0.0, 0.04),
}
CLOCKS = ("UTC", "Asia/Kathmandu", "America/St_Johns")
TONGUES = ("C", "en_US.UTF-8", "tr_TR.UTF-8")


@dataclass(frozen=True)
class Kill:
    """One kill: `delay_s` after the `nth` `event` of its launch; of a stage, `nth` is its number.

    `whom` is "group" (the whole process group) or "parent": only the process that was started, a
    shell, whose child then lives on while the same command is tried again. `host` is where the run
    is launched, `waits` whether the signal waits for an open request.
    """

    phase: str
    event: str
    nth: int
    delay_s: float
    whom: str
    host: str = hosts.HERE
    waits: bool = False
    variables: dict[str, str] = field(default_factory=dict)


def schedule(seed: str, n: int, workload: Workload) -> list[Kill]:
    """The kills of one run in order; equal for equal arguments where hosts can have names."""
    rng = Random(f"kills:{seed}")
    shares = SHARES if workload.asks else SHARES_WITHOUT_TEACHER
    wanted = {phase: int(share * n) for phase, share in shares.items()}
    for phase in (START, EXPORT):
        wanted[phase] = max(wanted[phase], int(n >= 8))
    wanted[STEADY] += n - sum(wanted.values())
    phases = [phase for phase, count in wanted.items() for _ in range(count) if phase != EXPORT]
    rng.shuffle(phases)
    phases += [EXPORT] * wanted[EXPORT]
    alone = _some(rng, n, ALONE)
    elsewhere = _some(rng, n, ELSEWHERE if workload.lease_s and not hosts.missing() else 0)
    n_stages = 0
    kills = []
    for number, phase in enumerate(phases):
        event, nth = _event(rng, phase, workload)
        due = number >= (n_stages + 1) * len(phases) // 3
        if phase == SEAL and workload.asks and n_stages + 2 < workload.ends_from and due:
            event, nth, n_stages = "stage", n_stages + 2, n_stages + 1
        is_open = phase == STEADY or event in ("request", "stage")
        kills.append(
            Kill(
                phase=phase,
                event=event,
                nth=nth,
                delay_s=rng.uniform(*DELAY_S[event]),
                whom="parent" if number in alone else "group",
                host=rng.choice(hosts.NAMES) if number in elsewhere else hosts.HERE,
                waits=is_open and workload.asks,
                variables={
                    "PYTHONHASHSEED": str(rng.randint(0, 9)),
                    "TZ": rng.choice(CLOCKS),
                    "LANG": rng.choice(TONGUES),
                },
            )
        )
    return kills


def _event(rng: Random, phase: str, workload: Workload) -> tuple[str, int]:
    if not workload.asks and phase == STEADY:
        return "stage", rng.randint(1, workload.ends_from - 1)
    return {
        START: ("launched", 1),
        REPLAY: (rng.choice(["contact", "request", "request", "request"]), 1),
        STEADY: (rng.choice(["reply", "reply", "record"]), rng.randint(1, 14)),
        SEAL: ("staged", rng.choice([1, 1, 2] if workload.asks else [1, 2, 4])),
        EXPORT: ("export", rng.randint(1, 2) if workload.asks else 1),
    }[phase]


def _some(rng: Random, n: int, share: float) -> set[int]:
    """Numbers below `n`: their share of them, one at least where `n` is 8 or more."""
    wanted = max(round(share * n), int(share > 0 and n >= 8))
    return set(rng.sample(range(n), wanted))


def watch(kill: Kill, workload: Workload, run: Path, tail: Tail) -> Callable[[], bool]:
    """A question that is true once the event of a kill, of the launch that begins now, was seen."""
    tail.read()
    from_t = time.monotonic_ns()
    n_records = published.last_record(run)
    stages = published.stages_begun(run)
    n_shards = published.shards_published(run)

    def is_seen() -> bool:
        if kill.event == "launched":
            return True
        if kill.event in ("contact", "request", "reply"):
            tail.read()
            event = "reply" if kill.event == "reply" else "request"
            paid = kill.event != "contact"
            return len(tail.since(event, from_t, paid_only=paid)) >= kill.nth
        if kill.event == "record":
            return published.last_record(run) >= n_records + kill.nth
        if kill.event == "stage" and not any(int(name[:2]) >= kill.nth for name in stages):
            begun = published.stages_begun(run)
            return any(int(name[:2]) >= kill.nth for name in begun)
        if kill.event == "export":
            ends = {name for name in published.stages_begun(run) if is_end(name)}
            if ends - stages:
                return len(ends) >= kill.nth
            return bool(stages & ends) and published.is_staging(run)
        n_staged = 1 if kill.event == "stage" else kill.nth
        if published.is_staging(run) and n_staged == 1:
            return True
        return published.shards_published(run) >= n_shards + 2 * n_staged - 1

    def is_end(folder: str) -> bool:
        return int(folder[:2]) >= workload.ends_from

    return is_seen
