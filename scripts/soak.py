"""Kill runs over and over, on loopback only, and check that nothing was lost or bought again.

    python scripts/soak.py --kills 200 --concurrency 32  until 200 kills landed in flight
    python scripts/soak.py --kills 50 --readers          with naive readers beside the run
    python scripts/soak.py --kills 50 --recipe evol-instruct   a recipe of long conversations
    python scripts/soak.py --kills 50 --recipe curate    a run from a file, without a teacher
    python scripts/soak.py --sweep --target 20           die at every system call (needs strace)

Prints a table and ends with 0 where everything held, 1 where something did not (with the seed and
the command that repeats it; the run directory is kept), 2 where too few kills landed in flight.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.crash import campaign, checker, hosts, published, syscalls
from tests.crash.history import History
from tests.crash.nemesis import SHARES
from tests.crash.readers import installed
from tests.crash.reading import reading
from tests.crash.workload import Workload, curating, evolving
from tests.teacher_server.process import Server, running_server

IN_FLIGHT_AT_LEAST = 0.7
LEASE_S = 1.0  # instead of a minute: a start on another host waits for its end


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="that land in flight")
    recipes = ("self-instruct", "evol-instruct", "curate")
    parser.add_argument("--recipe", choices=recipes, default=recipes[0])
    parser.add_argument("--kills-per-run", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument(
        "--target",
        type=int,
        help="rows of the first stage; default 150, or 4 times the concurrency",
    )
    parser.add_argument("--seed", default="0")
    parser.add_argument("--run", type=int, help="only this run of the seed: to repeat a failure")
    parser.add_argument("--readers", action="store_true", help="four naive readers beside the run")
    parser.add_argument("--hz", type=float, default=30, help="reads a second of each reader")
    parser.add_argument("--sweep", action="store_true", help="die at system calls instead")
    parser.add_argument("--step", type=int, default=1, help="of the sweep: every n-th call")
    parser.add_argument("--minutes", type=float, default=60, help="begin no new run after this")
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    return parser.parse_args()


def main() -> int:
    """Kill, check, print."""
    given = parse_arguments()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="synth-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    code = sweep(given, folder) if given.sweep else kill(given, folder)
    if code == 0 and given.keep is None:
        shutil.rmtree(folder)
    elif code:
        print(f"kept: {folder}")
    return code


def kill(given: argparse.Namespace, folder: Path) -> int:
    """Kill runs `--kills` times in all."""
    began = time.monotonic()
    workload = workload_of(given, folder)
    histories: list[History] = []
    reports: list[dict[str, Any]] = []
    print(f"{'run':>4} {'kills':>5} {'in flight':>9} {'requests':>8} {'asked again':>11} "
          f"{'seconds':>7}  violations")  # fmt: skip
    with running_server(folder / "server.jsonl", max_seconds=given.minutes * 60 + 900) as server:
        clean = campaign.unkilled(workload, server, folder / "clean")
        wrong = checker.violations(clean)
        number = given.run or 0
        while (left := given.kills - sum(map(landed_at_work, histories))) > 0:
            out = folder / f"run-{number}"
            start = time.monotonic()
            with reading(out, given.hz) if given.readers else nullcontext([]) as seen:
                history = run_once(
                    workload, server, out, f"{given.seed}:{number}", left, given, clean
                )
            reports += seen
            histories.append(history)
            found = checker.violations(history)
            print(f"{number:>4} {len(history.deaths):>5} {landed_at_work(history):>9} "
                  f"{len(history.paid_requests()):>8} {checker.sent_again(history):>11} "
                  f"{time.monotonic() - start:>7.1f}  {len(found)}", flush=True)  # fmt: skip
            wrong += found
            if found:
                print("\n".join(found[:20]))
                print(f"seed {history.seed}: {campaign.reproduce(history)}")
            number += 1
            if found or given.run is not None or not history.deaths:
                break
            if time.monotonic() - began > given.minutes * 60:
                print(f"stopped after {given.minutes} minutes")
                break
    report(histories, clean)
    wrong += report_readers(reports) if given.readers else []
    landed = sum(len(history.deaths) for history in histories)
    if wrong:
        return 1
    enough = sum(map(landed_at_work, histories)) >= IN_FLIGHT_AT_LEAST * landed
    return 0 if landed and enough else 2


def run_once(
    workload: Workload,
    server: Server,
    out: Path,
    seed: str,
    left: int,
    given: argparse.Namespace,
    clean: History,
) -> History:
    """One run with its kills."""
    return campaign.killed(workload, server, out, seed, min(left, given.kills_per_run), clean)


def workload_of(given: argparse.Namespace, folder: Path) -> Workload:
    """What is killed; its starts come from several hosts where this machine can pretend so."""
    if given.recipe == "curate":
        return replace(curating(folder), lease_s=LEASE_S)
    if given.recipe == "evol-instruct":
        rows = given.target or max(60, 2 * given.concurrency)
        return evolving(folder, rows, concurrency=given.concurrency, lease_s=LEASE_S)
    target = given.target or max(150, 4 * given.concurrency)  # more than one window of requests
    return Workload(target=target, concurrency=given.concurrency, lease_s=LEASE_S)


def landed_at_work(history: History) -> int:
    """How many kills landed while requests were open; all, where nothing is asked."""
    if not history.workload.asks:
        return len(history.deaths)
    return sum(history.in_flight(death) > 0 for death in history.deaths)


def report(histories: list[History], clean: History) -> None:
    """Print the figures of all runs together."""
    deaths = [(history, death) for history in histories for death in history.deaths]
    landed = [(h, d) for h, d in deaths if h.in_flight(d)]
    print(f"\nkills {len(deaths)}, {len(landed)} of them with requests in flight "
          f"({100 * len(landed) / max(len(deaths), 1):.0f} %), "
          f"{sum(h.in_flight(d) for h, d in deaths)} requests lost in them")  # fmt: skip
    for phase in SHARES:
        hit = [d for _, d in deaths if d.kill.phase == phase]
        open_then = sum(h.in_flight(d) > 0 for h, d in deaths if d.kill.phase == phase)
        print(f"  {phase:<9} {len(hit):>4}, in flight {open_then}")
    whom = Counter(death.kill.whom for _, death in deaths)
    refused = sum(death.second_start == 8 for _, death in deaths)
    print(f"  of the group {whom['group']}, of the parent alone {whom['parent']} "
          f"({refused} second starts refused with 8 while the child lived)")  # fmt: skip
    quick = sum(d.killed - d.launched < 2e9 for _, d in deaths)
    resumed = sum(d.killed - d.launched < 2e9 for h in histories for d in h.deaths[1:])
    print(f"  within 2 s of a start {quick}, of a start that resumed a run {resumed}")
    elsewhere = sum(bool(d.kill.host) for _, d in deaths)
    refusals = sum(len(h.refusals) for h in histories)
    print(f"  of runs started under another host's name {elsewhere}; refused with 8 until a lease "
          f"ended {refusals}" if hosts.missing() is None else f"  {hosts.missing()}")  # fmt: skip
    settled = sum(len(checker.journalled_replies_are_never_asked_again(h)) for h in histories)
    older = sum(len(checker.old_replies_are_never_asked_again(h)) for h in histories)
    slots = sum(len(checker.asked_slots(history)) for history in histories)
    requests = sum(len(h.paid_requests()) for h in histories)
    kills_times = sum(h.workload.concurrency * len(h.deaths) for h in histories)
    print(f"journalled replies asked again {settled}, replies older than 250 ms {older}")
    print(
        f"requests {requests}; slots {slots} + C x kills {kills_times} allow {slots + kills_times}"
    )
    digests = {tuple(sorted(h.files.items())) for h in (clean, *histories)}
    print(f"digests of all data files, the unkilled run's included: {len(digests)}")


def report_readers(reports: list[dict[str, Any]]) -> list[str]:
    """Print what the readers saw; gives what was wrong."""
    absent = [name for name, is_there in installed().items() if not is_there]
    wrong: list[str] = []
    by_engine: dict[str, list[dict[str, Any]]] = {}
    for seen in reports:
        by_engine.setdefault(seen["engine"], []).append(seen)
        wrong += [f"{seen['engine']}: {text}" for text in seen["errors"] + seen["fell"]]
    for engine, several in by_engine.items():
        reads = sum(seen["reads"] for seen in several)
        seconds = sum(seen["seconds"] for seen in several)
        print(f"  {engine:<8} {reads:>6} reads, {reads / max(seconds, 0.1):.0f} a second, "
              f"{sum(len(s['errors']) for s in several)} exceptions, rows fell "
              f"{sum(len(s['fell']) for s in several)} times")  # fmt: skip
    if absent:
        print(f"  not installed here: {', '.join(absent)}")
    print("\n".join(wrong[:10]))
    return wrong


def sweep(given: argparse.Namespace, folder: Path) -> int:
    """Die at every `--step`-th system call of each kind until a run ends untouched."""
    if (reason := syscalls.missing()) is not None:
        print(reason)
        return 2
    workload = Workload(target=given.target or 150, shard_rows=20, concurrency=4)
    clean = folder / "clean"
    there = syscalls.counts(syscalls.trace(workload, clean))
    files = published.data_files(clean)
    wrong: list[str] = []
    began = time.monotonic()
    for call in syscalls.CALLS:
        died = nth = 0
        for nth in range(1, there[call] + 2, given.step):
            if time.monotonic() - began > given.minutes * 60:
                print(f"stopped after {given.minutes} minutes")
                break
            out = folder / f"{call}-{nth}"
            code = syscalls.die_at(call, nth, workload, out)
            died += code in syscalls.KILLED
            found = check_swept(workload, out, code, files)
            wrong += [f"{call} {nth}: {text}" for text in found]
            if not found:
                shutil.rmtree(out)
            if code not in syscalls.KILLED:
                break  # no thread calls it so often
        print(
            f"{call:<10} {there[call]:>5} calls, died at {died} of them, up to number {nth}",
            flush=True,
        )
    print("\n".join(wrong[:20]) or "every run ended with the same files and lost no record")
    return 1 if wrong else 0


def check_swept(workload: Workload, out: Path, code: int, clean: dict[str, str]) -> list[str]:
    """What is wrong with a run that died at a system call, now and once it has been resumed."""
    found = [] if code in (0, *syscalls.KILLED) else [f"ended with {code}"]
    there = published.data_files(out)
    found += [f"{name} is torn" for name, digest in there.items() if clean.get(name) != digest]
    before = published.journal(out)
    resumed = campaign.start(workload.command(out, None), workload, out.with_suffix(".said"))
    if resumed.wait(120):
        return [*found, f"resuming ended with {resumed.returncode}"]
    if published.data_files(out) != clean:
        found.append("the files differ from the unkilled run's")
    if published.journal(out)[: len(before)] != before:
        found.append("the journal lost records")
    return found


if __name__ == "__main__":
    sys.exit(main())
