"""Evolution against a loopback teacher: memory as rows come, and the share of a limited rate.

    python scripts/bench_evolve.py --rows 20000               memory, the teacher as fast as it is
    python scripts/bench_evolve.py --rows 2000 --rps 200      a teacher of 200 replies a second
    python scripts/bench_evolve.py --rows 20000 --whole       the stages after `evolve` too

Memory is the resident size of the run's process: once a tenth of the rows are through (`evolve`
commits them in order), at the end of `evolve`, the last stage here without --whole, and the highest
of all. The goal is the first and 100 MiB and 1.5 KiB a kept row. The rate counts replies from the
first to the last, all that the limiter let through, and the goal is 95 % of it. A limiter starts
with one second of replies in hand, which are left out.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.crash.workload import ROOT, Workload
from tests.teacher_server.content import Dice, instruction
from tests.teacher_server.process import running_server

CLI = "from pipeline.cli import main; main()"
MIB = 1024 * 1024
STATE = {"rows": 0, "stage": ""}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rps", type=float, help="replies a second that the teacher allows")
    parser.add_argument("--latency", type=float, default=0.05, help="median seconds of a reply")
    parser.add_argument("--whole", action="store_true", help="go on to the end of the recipe")
    return parser.parse_args()


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def watch(process: subprocess.Popen[str], given: argparse.Namespace) -> dict[str, int]:
    """Memory after a tenth of the rows, at the end of `evolve`, and at most."""
    found = {"tenth": 0, "evolved": 0, "most": 0}

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if "done" in event:
                STATE.update(rows=event["done"], stage=event["stage"])

    reader = threading.Thread(target=read)
    reader.start()
    while process.poll() is None:
        now = resident(process.pid)
        found["most"] = max(found["most"], now)
        if STATE["stage"] == "evolve" and now:
            if not found["tenth"] and int(STATE["rows"]) >= given.rows / 10:
                found["tenth"] = now
            found["evolved"] = now
        time.sleep(0.05)
    reader.join()
    return found


def main() -> int:
    """Run once, print, and say whether the goals were reached."""
    given = parse_arguments()
    plan: dict[str, object] = {"latency": {"median_s": given.latency, "sigma": 0.5}}
    if given.rps:
        plan["limiter"] = {"rps": given.rps, "burst": given.rps}
    with (
        tempfile.TemporaryDirectory(prefix="synth-bench-") as name,
        running_server(Path(name) / "server.jsonl", plan, max_seconds=7200) as server,
    ):
        folder = Path(name)
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
            for number in range(given.rows):
                row = {"instruction": instruction(Dice(str(number).encode())), "input": ""}
                file.write(json.dumps(row) + "\n")
        line = [sys.executable, "-c", CLI, "run", "evol-instruct", "--json"]
        line += ["--input", str(folder / "rows.jsonl"), "--out", str(folder / "run")]
        line += ["--teacher", f"openai:test-model@{server.url}"]
        line += [] if given.whole else ["--until", "evolve"]
        line += ["--set", f"teacher.concurrency={given.concurrency}"]
        line += ["--set", f"evolve.rounds={given.rounds}"]
        line += ["--set", f"shard_rows={max(given.rows // 2, 50)}"]  # 10,000, as ever, of 20,000
        started = time.monotonic()
        process = subprocess.Popen(
            line,
            cwd=ROOT,
            env=Workload().environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        found = watch(process, given)
        took = time.monotonic() - started
        if process.returncode:
            sys.exit(f"the run ended with {process.returncode}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the server lives on and is not in it
        state = json.loads((folder / "run/stages/02-evolve/stage.json").read_bytes())
        times = [event["t"] for event in server.history("reply") if event.get("status") == 200]
        burst = int(given.rps or 0)
        seconds = (times[-1] - times[min(burst, len(times) - 1)]) / 1e9
        rate = (len(times) - burst) / seconds
    kept = state["kept"]
    goal = found["tenth"] + 100 * MIB + 1536 * kept
    print(
        f"{given.rows} rows, {given.rounds} rounds: {kept} kept of {state['candidates']}, "
        f"{took:.0f} s"
    )
    cpu_s = used.ru_utime + used.ru_stime
    print(
        f"replies: {len(times)}, {rate:.1f} a second; {1000 * cpu_s / len(times):.2f} CPU ms each"
    )
    print(
        f"memory: {found['tenth'] / MIB:.0f} MiB after a tenth, {found['evolved'] / MIB:.0f} at "
        f"the end of evolve, {found['most'] / MIB:.0f} at most; the goal is {goal / MIB:.0f}"
    )
    is_good = found["most"] <= goal
    if given.rps:
        print(f"rate: {rate / given.rps:.1%} of {given.rps:g} a second")
        is_good = is_good and rate >= 0.95 * given.rps
    print("reached" if is_good else "NOT reached")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
