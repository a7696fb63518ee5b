"""Kill one run again and again, finish it, and write down what happened."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.dataset as ds

from tests.crash import hosts, published
from tests.crash.history import Cap, Death, History, Refusal, Tail
from tests.crash.nemesis import Kill, schedule, watch
from tests.crash.workload import Workload
from tests.run import books
from tests.teacher_server.process import Server

Process = subprocess.Popen[bytes]
LONGEST_RUN_S = 300.0
LOCKED, CAPPED = 8, 3
"""Exit codes: another process works on the run, the budget is spent."""


def unkilled(workload: Workload, server: Server, out: Path) -> History:
    """Run a workload to its end with nothing in its way."""
    history = History(workload, "none")
    begin = len(server.history())
    server.set_plan(workload.plan())
    _finish(history, server, out)
    _close(history, server, out, begin)
    history.clean_files, history.clean_rows = history.files, history.rows
    history.clean_times = Counter(e["hash"][:24] for e in history.paid_requests())
    history.clean_asks = frozenset(
        (r.stage, r.slot, r.key) for r in history.journal if r.kind == "intent"
    )
    return history


def killed(
    workload: Workload, server: Server, out: Path, seed: str, n: int, clean: History
) -> History:
    """Run a workload through `n` kills (fewer, where it ends before) and to its end."""
    return killed_by(schedule(seed, n, workload), workload, server, out, seed, clean)


def killed_by(
    kills: Sequence[Kill],
    workload: Workload,
    server: Server,
    out: Path,
    seed: str,
    clean: History,
) -> History:
    """Run a workload through these kills, as many as come before its end, and to its end."""
    history = History.beside(clean, workload, seed)
    begin = len(server.history())
    server.set_plan(workload.plan())
    _kill(history, kills, server, Tail(server.history_path), out)
    _finish(history, server, out)
    before = books.all_files(out)
    _finish(history, server, out)
    after = books.all_files(out)
    history.changed_when_run_again = sorted(name for name, _ in before.items() ^ after.items())
    _close(history, server, out, begin)
    return history


def killed_under_caps(
    workload: Workload,
    server: Server,
    out: Path,
    seed: str,
    caps: Sequence[int],
    kills_per_cap: int,
    clean: History,
) -> History:
    """Kill a run while its budget of tokens runs out, raise that, and at last take it away."""
    history = History.beside(clean, workload, seed)
    begin = len(server.history())
    server.set_plan(workload.plan())
    tail = Tail(server.history_path)
    for number, cap in enumerate(caps):
        capped = replace(workload, settings=(*workload.settings, f"budget.tokens={cap}"))
        history.workload = capped
        _kill(history, schedule(f"{seed}:{number}", kills_per_cap, capped), server, tail, out)
        _finish(history, server, out)
        time.sleep(0.1)  # the server sees the last connections go
        history.caps.append(Cap(cap, time.monotonic_ns(), tuple(history.exit_codes)))
        history.exit_codes.clear()
    history.workload = workload
    _finish(history, server, out)
    _close(history, server, out, begin)
    return history


def killed_often(
    workload: Workload, server: Server, folder: Path, *, seed: str, kills: int, clean: History
) -> list[History]:
    """As many runs as it takes until all kills of a schedule have landed, in its order."""
    found: list[History] = []
    left = schedule(seed, kills, workload)
    while left:
        out = folder / f"run-{len(found)}"
        history = killed_by(left, workload, server, out, f"{seed}:{len(found)}", clean)
        assert history.deaths, f"{left[0]} did not land: the workload is too short"
        found.append(history)
        left = left[len(history.deaths) :]
    return found


def start(line: Sequence[str], workload: Workload, said: Path, **variables: str) -> Process:
    """Start a command in a process group of its own; what it says goes to a file."""
    with said.open("ab") as file:
        return subprocess.Popen(
            line,
            cwd=workload.root,
            env=workload.environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _kill(history: History, kills: Sequence[Kill], server: Server, tail: Tail, out: Path) -> None:
    for kill in kills:
        death = _kill_once(history, kill, server, tail, out)
        if death is None:
            history.missed += 1
            break
        history.deaths.append(death)


def _kill_once(history: History, kill: Kill, server: Server, tail: Tail, out: Path) -> Death | None:
    """Start the run, wait for the kill's event, kill; None where the run ended before."""
    launch = _launch(history, kill, server, tail, out)
    if launch is None:
        return None
    process, launched, starved = launch
    second = None
    if kill.whom == "parent":
        second = _start_beside_the_orphan(process, history.workload, kill, server, out)
    if kill.waits:
        _wait_for_an_open_request(process, tail, launched)
    starved_s = starved.lately_s()
    killed_at = time.monotonic_ns()
    _kill_group(process.pid)
    process.wait()
    left = _wait_until_gone(process.pid)
    rows, problems = read_naively(out)
    return Death(
        kill=kill,
        launched=launched,
        killed=killed_at,
        journal=published.journal(out),
        files=published.data_files(out),
        rows=rows,
        problems=problems,
        left_alive=left,
        holder=published.holder(out),
        second_start=second,
        starved_s=starved_s,
        over=time.monotonic_ns(),
    )


def _launch(
    history: History, kill: Kill, server: Server, tail: Tail, out: Path
) -> tuple[Process, int, "Starved"] | None:
    """Start the run and wait for the kill's event and moment; None where the run ended before."""
    workload = history.workload
    line = hosts.on(kill.host, workload.command(out, server.url))
    if kill.whom == "parent":  # a shell that waits for its child, as schedulers start things
        line = ["/bin/sh", "-c", f"{shlex.join(line)}; exit $?"]
    said = out.with_suffix(".said")
    while True:
        is_seen = watch(kill, workload, out, tail)
        launched = time.monotonic_ns()
        process = start(line, workload, said, **kill.variables)
        starved = Starved(process.pid)
        if _has_come(kill, process, is_seen, starved):
            return process, launched, starved
        if not _is_refused(history, kill.host, process.returncode, launched):
            _note_end(history, process.returncode, said)
            return None


def _has_come(
    kill: Kill, process: Process, is_seen: Callable[[], bool], starved: "Starved"
) -> bool:
    """Wait for the event of a kill and its delay; false where the process ended before."""
    deadline = time.monotonic() + LONGEST_RUN_S
    pause_s = 0.0003 if kill.event in ("staged", "export") else 0.002
    while not is_seen():
        starved.look()
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"{kill.event} did not happen within {LONGEST_RUN_S} s")
        time.sleep(pause_s)
    time.sleep(kill.delay_s / 2)
    starved.look()
    time.sleep(kill.delay_s / 2)
    return process.poll() is None


def _wait_for_an_open_request(process: Process, tail: Tail, launched: int) -> None:
    """Until the server's log shows one, or nobody is left who could ask."""
    deadline = time.monotonic() + LONGEST_RUN_S
    while not tail.n_open(launched) and _group(process.pid):
        assert time.monotonic() < deadline, f"no request within {LONGEST_RUN_S} s"
        time.sleep(0.001)


def _is_refused(history: History, host: str, code: int, launched: int) -> bool:
    """Whether a start was refused for the lease of a process that died on another host.

    Nobody there can see that it is dead, so the lease has to end: wait for that, once a death.
    """
    if code != LOCKED or not history.deaths:
        return False
    death = history.deaths[-1]
    is_first = not history.refusals or history.refusals[-1].began < death.killed
    if death.holder in (None, hosts.name(host)) or not is_first:
        return False
    history.refusals.append(Refusal(host, launched, time.monotonic_ns()))
    lease_s = history.workload.lease_s or 0.0
    time.sleep(max(0.0, death.over / 1e9 + lease_s + 0.1 - time.monotonic()))
    return True


class Starved:
    """How long the threads of a process group were ready to run and did not get a processor."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._seen: list[tuple[float, float]] = []

    def look(self) -> None:
        """Read the kernel's accounts, at most twenty times a second."""
        now = time.monotonic()
        if not self._seen or now - self._seen[-1][0] > 0.05:
            self._seen.append((now, self._waited_s()))

    def lately_s(self) -> float:
        """Seconds of waiting over the last two."""
        now = time.monotonic()
        since = [waited for t, waited in self._seen if t <= now - 2] or [0.0]
        return max(self._waited_s() - since[-1], 0.0)

    def _waited_s(self) -> float:
        waited = 0
        for pid in _group(self._group):
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError, IndexError):
                    waited += int(path.read_text().split()[1])
        return waited / 1e9


def _start_beside_the_orphan(
    process: Process, workload: Workload, kill: Kill, server: Server, out: Path
) -> int | None:
    """Kill the parent alone and start the same command while its child goes on, slowly."""
    children = [pid for pid in _group(process.pid) if pid != process.pid]
    process.kill()
    process.wait()
    if not children or not (out / "run.json").exists():
        return None  # the shell had not got that far, or the lock may not be held yet
    server.set_plan(replace(workload, median_s=20 * workload.median_s).plan())
    line = hosts.on(kill.host, workload.command(out, server.url))
    second = start(line, workload, out.with_suffix(".second"))
    code = second.wait(LONGEST_RUN_S)
    server.set_plan(workload.plan())
    return None if not _group(process.pid) else code  # the orphan finished the run meanwhile


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # only the parent was left, and it is dead


def _group(group: int) -> list[int]:
    """The processes of a group that are alive, from the process table."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def _wait_until_gone(group: int) -> list[int]:
    deadline = time.monotonic() + 5
    while (left := _group(group)) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def _note_end(history: History, code: int, said: Path) -> None:
    history.exit_codes.append(code)
    if code:
        history.said = said.read_text(errors="replace")[-500:]


def _finish(history: History, server: Server, out: Path) -> None:
    """Start the same command on this host and let it end."""
    said = out.with_suffix(".said")
    line = history.workload.command(out, server.url)
    while True:
        launched = time.monotonic_ns()
        process = start(line, history.workload, said)
        try:
            code = process.wait(LONGEST_RUN_S)
        except subprocess.TimeoutExpired:
            _kill_group(process.pid)
            code = process.wait()
        if not _is_refused(history, hosts.HERE, code, launched):
            break
    _note_end(history, code, said)


def _close(history: History, server: Server, out: Path, begin: int) -> None:
    time.sleep(0.05)  # the server sees the last connections go
    history.events = server.history()[begin:]
    history.journal = published.journal(out)
    history.files = published.data_files(out)
    history.rows = published.rows(out)
    if not any(history.exit_codes):
        try:
            books.check(out)
        except AssertionError as error:
            history.books.append(f"the books: {str(error)[:300]}")


def read_naively(run: Path) -> tuple[dict[str, int], list[str]]:
    """Read every folder of shards as a notebook would: rows by folder, and what went wrong."""
    rows, problems = {}, []
    for folder in sorted([*run.glob("stages/*/*/"), *run.glob("data/*/")]):
        if not any(folder.iterdir()):
            continue
        name = folder.relative_to(run).as_posix()
        try:
            rows[name] = ds.dataset(folder).to_table().num_rows
            there = pl.read_parquet(f"{folder}/*").height
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            problems.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
            continue
        if there != rows[name]:
            problems.append(f"{name}: {there} rows in polars, {rows[name]} in pyarrow")
    return rows, problems


def reproduce(history: History) -> str:
    """The command that does the kills of one run again."""
    workload = history.workload
    seed, _, number = history.seed.rpartition(":")
    line = (
        f"python scripts/soak.py --seed {seed} --run {number} --kills {len(history.deaths)} "
        f"--concurrency {workload.concurrency} --target {workload.target}"
    )
    return f"{line} --recipe {workload.recipe}"
