"""Bugs to plant into a copy of the tree, and the scenarios in which the harness looks for them."""

import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crash import campaign, checker, published, syscalls
from tests.crash.workload import ROOT, Workload
from tests.teacher_server.process import running_server

PARTS = ("pipeline", "filters", "prompts", "seeds", "pyproject.toml")
CAP_TOKENS = 6000
LEASE_S = 1.5

Scenario = Callable[[Path, Path], list[str]]
"""A tree and an empty folder in, the violations out."""


@dataclass(frozen=True)
class Bug:
    """Substitutions (file, text, replacement) that make one bug, and where it shows."""

    name: str
    patches: tuple[tuple[str, str, str], ...]
    scenario: Scenario


def plant(bug: Bug, folder: Path) -> Path:
    """A copy of the tree with the bug in it. Fails where a text is not there exactly once."""
    root = folder / "tree"
    root.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part)  # compiled kernels too: times are kept
        else:
            shutil.copy2(source, root / part)
    for name, text, replacement in bug.patches:
        path = root / name
        content = path.read_text(encoding="utf-8")
        n = content.count(text)
        assert n == 1, f"{bug.name}: {text!r} stands {n} times in {name}: mend the patch"
        path.write_text(content.replace(text, replacement), encoding="utf-8")
    return root


# scenarios


def write_order(root: Path, folder: Path) -> list[str]:
    """An offline run under strace."""
    workload = Workload(target=20, shard_rows=20, concurrency=4, root=root)
    calls = syscalls.trace(workload, folder / "run")
    return syscalls.order_violations(calls, folder / "run")


def journal_order(root: Path, folder: Path) -> list[str]:
    """A run under strace that asks one request at a time."""
    workload = Workload(target=4, concurrency=1, median_s=0.0, root=root)
    with running_server(folder / "server.jsonl") as server:
        calls = syscalls.trace(workload, folder / "run", server.url, ",sendto,sendmsg")
    return syscalls.sends_before_the_journal_is_durable(calls)


def kills(root: Path, folder: Path) -> list[str]:
    """Six kills, against a run of the same tree that was not killed."""
    workload = Workload(target=60, concurrency=8, shard_rows=15, median_s=0.1, root=root)
    with running_server(folder / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, folder / "clean")
        history = campaign.killed(workload, server, folder / "run", "planted", 6, clean)
    return checker.violations(clean) + checker.violations(history)


def _undisturbed(workload: Workload, folder: Path) -> list[str]:
    with running_server(folder / "server.jsonl") as server:
        return checker.violations(campaign.unkilled(workload, server, folder / "run"))


def nothing_wrong(root: Path, folder: Path) -> list[str]:
    """A run with no fault at all."""
    return _undisturbed(Workload(target=30, median_s=0.02, root=root), folder)


def bad_replies(root: Path, folder: Path) -> list[str]:
    """One reply in six is no JSON."""
    rule = {"fault": "invalid_json", "match": {"probability": 0.17, "attempt": 1}}
    return _undisturbed(Workload(target=30, median_s=0.02, rules=(rule,), root=root), folder)


def failures(root: Path, folder: Path) -> list[str]:
    """One request in ten fails once."""
    rule = {"fault": "status", "status": 503, "match": {"probability": 0.1, "attempt": 1}}
    return _undisturbed(Workload(target=30, median_s=0.02, rules=(rule,), root=root), folder)


def retry_after(root: Path, folder: Path) -> list[str]:
    """Two pauses are asked for, one after the other is over."""
    rules = tuple(
        {"fault": "rate_limit", "retry_after": seconds, "match": {"nth": nth}}
        for nth, seconds in ((4, 1), (12, 4))
    )
    workload = Workload(target=4, concurrency=8, median_s=0.05, rules=rules, root=root)
    with running_server(folder / "server.jsonl") as server:
        history = campaign.unkilled(workload, server, folder / "run")
    assert any(e["event"] == "fault" for e in history.events)
    return checker.early_requests(history, margin_s=0.3)


def cap(root: Path, folder: Path) -> list[str]:
    """A cap that the first burst of requests would pass."""
    settings = (f"budget.tokens={CAP_TOKENS}",)
    workload = Workload(target=60, median_s=0.05, settings=settings, root=root)
    with running_server(folder / "server.jsonl") as server:
        history = campaign.unkilled(workload, server, folder / "run")
    assert history.exit_codes == [3], f"the cap was not reached: {history.exit_codes}"
    return checker.overspent(history, CAP_TOKENS)


def zombie(root: Path, folder: Path) -> list[str]:
    """A process is stopped for longer than its lease, another takes the run over, it wakes up."""
    workload = Workload(
        target=40, concurrency=8, shard_rows=15, median_s=0.2, root=root, lease_s=LEASE_S
    )
    out = folder / "run"
    with running_server(folder / "server.jsonl") as server:
        clean = campaign.unkilled(workload, server, folder / "clean")
        begin = len(server.history())
        line = workload.command(out, server.url)
        stopped = campaign.start(line, workload, folder / "stopped.said")
        _wait_until(lambda: published.last_record(out) >= 20, stopped)
        _stop_between_commits(stopped, out)
        had = published.last_record(out)
        time.sleep(LEASE_S + 1)
        second = campaign.start(line, workload, folder / "second.said")
        _wait_until(lambda: published.last_record(out) >= had + 8, second)
        stopped.send_signal(signal.SIGCONT)
        codes = [stopped.wait(60), second.wait(60)]
        n_chat = [e for e in server.history()[begin:] if e.get("kind") == "chat"]
    found = checker.violations(clean)
    if codes != [8, 0]:
        found.append(f"the stopped process ended with {codes[0]}, the second with {codes[1]}")
    records = published.journal(out)
    if [record.number for record in records] != list(range(1, len(records) + 1)):
        found.append("the journal's numbers are not consecutive")
    if published.data_files(out) != clean.files:
        found.append("the files differ from those of a run that nothing disturbed")
    slots = {(record.stage, record.slot) for record in records if record.kind == "intent"}
    if len(n_chat) > len(slots) + 2 * workload.concurrency:
        found.append(f"{len(n_chat)} requests for {len(slots)} slots")
    return found


def _stop_between_commits(process: campaign.Process, run: Path) -> None:
    """Stop it; once more where it holds a lock of the kernel's, which nobody can take from it."""
    while True:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        if not published.is_locked(run):
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.02)


def _wait_until(is_so: Callable[[], bool], process: campaign.Process) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.01)


STORE, BUYER = "pipeline/store.py", "pipeline/teacher/buyer.py"
DURABLE = "pipeline/durable.py"
SYNC = '            os.fsync(file.fileno())\n        crashpoint("file_written")'
BUGS = (
    Bug("no fsync", ((DURABLE, SYNC, '        crashpoint("file_written")'),), write_order),
    Bug(
        "no fsync of the journal",
        (("pipeline/teacher/journal.py", "synchronous = FULL", "synchronous = OFF"),),
        journal_order,
    ),
    Bug(
        "rename before fsync",
        (
            (DURABLE, SYNC, '        crashpoint("file_written")'),
            (
                DURABLE,
                "        written.replace(target)\n",
                '        written.replace(target)\n        with target.open("r+b") as file:\n'
                "            os.fsync(file.fileno())\n",
            ),
        ),
        write_order,
    ),
    Bug(
        "no intent record",
        ((BUYER, "noted = self._note(INTENT, call, key, note)", "noted = asyncio.sleep(0)"),),
        nothing_wrong,
    ),
    Bug(
        "lock without fence",
        (("pipeline/teacher/journal.py", "if latest != self._epoch:", "if latest is None:"),),
        zombie,
    ),
    Bug(
        "budget checked after",
        (
            (
                "pipeline/teacher/ledger.py",
                "books = (self.confirmed, self.unknown, self.reserved)",
                "books = (self.confirmed, self.unknown)",
            ),
            (
                "pipeline/teacher/ledger.py",
                "taken[model] = taken.get(model, Spend()) + worst",
                "taken[model] = taken.get(model, Spend())",
            ),
        ),
        cap,
    ),
    Bug(
        "pool read at arrival order",
        (
            (
                "pipeline/run/drafting.py",
                "self.pool.drafts_at(slot - self.window)",
                "self.pool.drafts_at(slot)",
            ),
        ),
        kills,
    ),
    Bug(
        "drop on parse error",
        (
            (
                BUYER,
                "        durable = self.journal.append(REPLY, key",
                "        durable = asyncio.get_running_loop().create_future()\n"
                "        durable.set_result(None)\n"
                "        if isinstance(found, Answer):\n"
                "            durable = self.journal.append(REPLY, key",
            ),
        ),
        bad_replies,
    ),
    Bug(
        "retry without count",
        (("pipeline/teacher/transport.py", "max_retries=0", "max_retries=2"),),
        failures,
    ),
    Bug(
        "temp file in data dir",
        ((STORE, 'staging = run / ".staging"', "staging = target.parent"),),
        write_order,
    ),
    Bug(
        "stale Retry-After",
        (
            (
                "pipeline/teacher/pace.py",
                "if wait_s and now + wait_s > self._resume_at:",
                "if wait_s and self._resume_at == self._began:",
            ),
        ),
        retry_after,
    ),
)
