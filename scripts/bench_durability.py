"""What durability costs: the recipe with and without the journal's fsync and the ledger.

    python scripts/bench_durability.py --rounds 5 --target 500

Runs alternate against one loopback teacher that makes no faults. Without: a child process opens the
journal with `PRAGMA synchronous = OFF` and its ledger does nothing; no setting of synth does that.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.crash.workload import CLI, ROOT, Workload
from tests.teacher_server.process import running_server

SWITCHED_OFF = """
from pipeline.teacher import journal, ledger

opened = journal.open_database

def open_unsynced(path):
    database = opened(path)
    database.execute("PRAGMA synchronous = OFF")
    return database

async def reserve(self, *_, **__):
    return None

journal.open_database = open_unsynced
ledger.Ledger.reserve = reserve
ledger.Ledger.settle = lambda self, *_, **__: None
"""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, alternating")
    parser.add_argument("--target", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a reply takes")
    parser.add_argument("--goal", type=float, default=1.15)
    return parser.parse_args()


def one(workload: Workload, out: Path, url: str, *, durable: bool) -> tuple[float, float]:
    """Seconds of the run as it states them, and of the whole process."""
    line = workload.command(out, url)
    if not durable:
        line[line.index(CLI)] = SWITCHED_OFF + CLI
    start = time.monotonic()
    subprocess.run(
        line, cwd=ROOT, env=workload.environment(), capture_output=True, check=True, timeout=600
    )
    took = time.monotonic() - start
    return json.loads((out / "run.json").read_bytes())["seconds"], took


def main() -> int:
    """Measure and print."""
    given = parse_arguments()
    workload = Workload(target=given.target, concurrency=given.concurrency, shard_rows=10_000)
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with (
        tempfile.TemporaryDirectory(prefix="synth-bench-") as folder,
        running_server(Path(folder) / "server.jsonl") as server,
    ):
        server.set_plan({"latency": given.latency, "content": {"items": 3}})
        one(workload, Path(folder) / "warm", server.url, durable=True)
        for number in range(given.rounds):
            for durable in (True, False) if number % 2 == 0 else (False, True):
                out = Path(folder) / f"run-{number}-{durable}"
                found[durable].append(one(workload, out, server.url, durable=durable))
        n_requests = server.counts()["requests_chat"] // (2 * given.rounds + 1)
    print(f"{given.rounds} runs each, {n_requests} requests a run, {given.concurrency} at once")
    ratios = {}
    for index, name in enumerate(("the run", "the process")):
        times = {durable: sorted(pair[index] for pair in found[durable]) for durable in found}
        for durable, label in ((True, "with"), (False, "without")):
            low, middle, high = (
                times[durable][0],
                statistics.median(times[durable]),
                times[durable][-1],
            )
            print(f"  {name:<11} {label:<7} fsync and ledger: quickest {low:.2f} s, "
                  f"median {middle:.2f}, slowest {high:.2f}")  # fmt: skip
        ratios[name] = (
            times[True][0] / times[False][0],
            statistics.median(times[True]) / statistics.median(times[False]),
        )
    quickest, median = ratios["the run"]
    print(f"ratio of the run: {quickest:.3f} (quickest of each), {median:.3f} (medians); "
          f"goal {given.goal}, judged by the quickest: others use this machine too")  # fmt: skip
    return 0 if quickest <= given.goal else 1


if __name__ == "__main__":
    sys.exit(main())
