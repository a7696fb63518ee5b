"""How busy a run keeps the vLLM server that it starts, and what it costs itself.

    python scripts/bench_vllm.py --python .venv-vllm/bin/python

A run asks a managed server, over a small model with random weights, about rows of a file, with
`--concurrency` requests open at once. Meanwhile the server's own `/metrics` are read `--hz` times a
second. Each page is compared with what the server could have had then: as many requests as may be
open, or as were left to ask. Reported is in how many pages it had less than that by more than a
tenth, in how many it had nothing at all, and the mean of what it had. A page can itself be older
than what it tells: vLLM brings its numbers up to date after each step of its engine.

Our processor time is that of `synth` alone, all threads, user and system, once as many requests as
may be open were answered and until the run ends: rows, journal and shards included, what a start
costs left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.vllm import real

RECIPE = """
name: bench
stages:
  - stage: import
  - stage: {stage}
    stall_after: null
    sampling: {{temperature: 1, max_tokens: {max_tokens}, extra: {{logit_bias: {{"2": {bias}}}}}}}
"""
TICKS = os.sysconf("SC_CLK_TCK")
COUNT = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|request_success_total)\{[^}]*\} (\S+)",
    re.MULTILINE,
)
PROBES = 2


@dataclass
class Seen:
    """What the pages of a run told, after the first request and while there were some to ask."""

    pages: int = 0
    short: int = 0
    empty: int = 0
    had: list[float] = field(default_factory=list)

    def add(self, had: float, could: float) -> None:
        """One page: requests that the server had, and could have had."""
        self.pages += 1
        self.short += had < could * 0.9
        self.empty += had == 0
        self.had.append(had / could)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", required=True, help="an interpreter that has vLLM")
    parser.add_argument("--stage", choices=("classify", "respond"), default="respond")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--hz", type=float, default=20)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--bias", type=float, default=2.1, help="of the token that ends a reply")
    return parser.parse_args()


def cpu_s(process: int) -> float:
    """User and system seconds of a process, without its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def has_ended(process: int) -> bool:
    """Whether a child has ended; what it used can still be read."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def numbers(url: str) -> dict[str, float]:
    """Requests that the server works at, has waiting, and has answered; nothing if it is gone."""
    try:
        with urllib.request.urlopen(url, timeout=10) as page:
            text = page.read().decode()
    except OSError:
        return {}
    found: dict[str, float] = {}
    for name, value in COUNT.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def watch(process: subprocess.Popen[bytes], run: Path, given: argparse.Namespace) -> None:
    """Read pages until the run has ended, and print what they told."""
    seen = Seen()
    url: str | None = None
    began_cpu = began = ended = before = 0.0
    while not has_ended(process.pid):
        url = url or real.metrics_url(run)
        told = numbers(url) if url else {}
        answered = told.get("request_success_total", 0.0) - PROBES
        if answered >= given.concurrency and not began:
            began, began_cpu, before = time.monotonic(), cpu_s(process.pid), answered
        left = given.requests - answered
        if began and told and left > 0:
            had = told["num_requests_running"] + told["num_requests_waiting"]
            seen.add(had, min(given.concurrency, left))
            ended = time.monotonic()
        time.sleep(1 / given.hz)
    used = cpu_s(process.pid) - began_cpu
    if process.wait() != 0:
        sys.exit((run.parent / "said").read_text())
    n = given.requests - before
    print(f"{given.requests} requests of {given.stage}, {given.concurrency} open at once")
    print(f"{n / (ended - began):.0f} requests a second over {ended - began:.0f} s")
    print(f"pages {seen.pages}, short {seen.short}, empty {seen.empty}")
    print(f"mean of what the server had: {sum(seen.had) / len(seen.had):.3f} of what it could have")
    print(f"our processor time: {used:.2f} s, {1000 * used / n:.2f} ms a request")


def main() -> None:
    """Run once and print the figures."""
    given = parse_arguments()
    real.PYTHON = Path(given.python).absolute()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = replace(real.SIZE, width=given.width, layers=given.layers)
        model = real.make_model(folder / "model", size)
        rows = folder / "rows.jsonl"
        lines = [{"instruction": f"Name {n} things that float."} for n in range(given.requests)]
        rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
        recipe = folder / "bench.yaml"
        recipe.write_text(
            RECIPE.format(stage=given.stage, max_tokens=given.max_tokens, bias=given.bias)
        )
        more = ("--input", str(rows), "--set", f"teacher.concurrency={given.concurrency}")
        running = real.Running(folder, str(recipe), model, *more)
        watch(running.process, running.serving.run, given)


if __name__ == "__main__":
    main()
