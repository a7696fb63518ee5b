"""How soon a restarted run asks again, and how much memory a long journal takes.

    python scripts/bench_restart.py --replies 100000 1000000
    python scripts/bench_restart.py --accepted 20000 100000

A run directory is made as a run of that length leaves it: rows come in by `import`, the journal is
written through the classes that write it in a run, one intent and one reply of about 1 KiB a row.
Then the command is started as a process of its own, against a server on loopback that notes when
the first request comes and answers nothing; the process is killed then, and its peak memory read.

`nothing published`: the stage's first start over that journal, which reads all of it. `published`:
the stage's shards hold all but the last of its parts, as after a kill. `--accepted` restarts the
bootstrap loop instead, with so many accepted rows in its shards, and nothing in its journal.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline import manifest, store
from pipeline.manifest import RunManifest, StageManifest
from pipeline.recipe import Step
from pipeline.run.askers import make_teacher
from pipeline.run.context import Context
from pipeline.run.execute import execute
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from pipeline.signals import Ending
from pipeline.stage import LLMStage
from pipeline.teacher.asker import Asker
from pipeline.teacher.buyer import Buyer
from pipeline.teacher.journal import INTENT, REPLY, Journal
from pipeline.teacher.ledger import Ledger
from tests.teacher_server.process import running_server

ROOT = Path(__file__).parents[1]
RECIPE = """
name: restart
stages:
  - stage: import
  - stage: classify
"""
NEW = 64
"""Rows without a reply, after those that have one."""
REPLY_BYTES = 1024
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("r", "lin", "mos", "tek")]


@dataclass(frozen=True)
class Start:
    """One start: seconds and CPU seconds to the first request, peak memory then, in MiB."""

    seconds: float
    cpu_s: float
    peak_mib: float

    def as_cells(self) -> str:
        """Three cells of a table."""
        return f"{self.seconds:.1f} | {self.cpu_s:.1f} | {self.peak_mib:.0f}"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replies", type=int, nargs="*", default=[], help="journalled replies")
    parser.add_argument("--accepted", type=int, nargs="*", default=[], help="rows of the loop")
    parser.add_argument("--folder", type=Path, help="where runs are made; default a temporary one")
    return parser.parse_args()


def text(rng: Random, words: int) -> str:
    """So many random words, as a sentence."""
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


class Listening:
    """A server that takes every connection, notes when the first POST came, and never answers."""

    def __init__(self) -> None:
        """Begin to listen."""
        self.asked = threading.Event()
        self.at = 0.0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._look, args=(connection,), daemon=True).start()

    def _look(self, connection: socket.socket) -> None:
        body = json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        while received := connection.recv(1 << 16):
            if received.startswith(b"POST"):
                if not self.asked.is_set():
                    self.at = time.monotonic()
                self.asked.set()
            elif received.startswith(b"GET"):
                connection.sendall(head.encode() + b"\r\n\r\n" + body)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


def start(arguments: Sequence[str]) -> Start:
    """Start a command, kill it as its first request comes, and say how long that took."""
    server = Listening()
    uri = f"openai:m@{server.url}"
    line = [sys.executable, "-m", "pipeline.cli", "run", *arguments, "--teacher", uri]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "none"}
    began = time.monotonic()
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
    while not server.asked.wait(0.05):
        if process.poll() is not None:
            raise SystemExit(f"it ended with {process.returncode} and asked nothing: {line}")
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    fields = (
        Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    )
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.close()
    peak = next(row for row in status.splitlines() if row.startswith("VmHWM"))
    return Start(server.at - began, cpu_s, int(peak.split()[1]) / 1024)


def imported(folder: Path, replies: int) -> list[str]:
    """A run whose rows are taken in, and whose journal holds a reply to all but the last."""
    rng = Random(replies)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(replies + NEW):
            row = {"instruction": f"{number} {text(rng, 24)}"}
            file.write(json.dumps(row) + "\n")
    given = [str(folder / "recipe.yaml"), "--out", str(folder / "run")]
    given += ["--input", str(folder / "rows.jsonl")]
    options = Options(
        recipe=given[0], out=given[2], input=given[4], teacher="openai:m@http://127.0.0.1:1/v1"
    )
    environment = {"OPENAI_API_KEY": "none"}
    with running_server(folder / "server.jsonl") as server:  # asked what models there are
        teacher = f"openai:m@{server.url}"
        taken_in = Options(**{**vars(options), "until": "import", "teacher": teacher})
        execute(prepare(taken_in, environment), lambda event: None)
    asyncio.run(journalled(options, environment, replies))
    return given


async def journalled(options: Options, environment: dict[str, str], replies: int) -> None:
    """Write the journal of a run that asked so many rows and published nothing of it."""
    prepared = prepare(options, environment)
    settings = prepared.recipe.settings.teacher
    step = next(step for step in prepared.steps if isinstance(step.stage, LLMStage))
    with locked(prepared.run) as lease:
        journal = Journal(prepared.run / "journal.sqlite", lease.epoch)
        ledger = Ledger(prepared.recipe.settings.budget, prepared.recipe.settings.prices)
        context = Context(prepared, journal, lambda event: None, lease, Ending())
        teacher = make_teacher(context, prepared.models["teacher"])
        buyer = Buyer(teacher, journal, ledger, settings, concurrency=1)
        context.askers = {"teacher": Asker(buyer)}
        rows = store.read_rows(_kept(prepared.run))
        for slot, row in zip(range(replies), rows, strict=False):
            _record(context, step, slot, row)
            if slot % 500 == 499:
                await journal.settle()
        await journal.settle()
        journal.close()


def _kept(run: Path) -> list[Path]:
    folder = run / manifest.read(RunManifest, run / "run.json").stages[0]
    return store.shards(folder, manifest.read(StageManifest, folder / "stage.json"))


def _record(context: Context, step: Step, slot: int, row: store.Row) -> None:
    assert isinstance(step.stage, LLMStage)
    request = step.stage.ask(row, step.config, Random(slot))
    call = context.call(step, slot, request)
    key = call.key()
    note = {"model": "m", "worst": [len(call.content), 3], "template": call.template}
    note |= {"shown": [], "sample": 0, "attempt": 0}
    context.journal.append(INTENT, key, step.name, slot, note)
    choice = {"index": 0, "message": {"role": "assistant", "content": " No"}}
    usage = {"prompt_tokens": 300, "completion_tokens": 2}
    envelope = {"id": f"chatcmpl-{slot:029d}", "object": "chat.completion", "model": "m"}
    envelope |= {"choices": [choice | {"finish_reason": "stop"}], "usage": usage, "more": ""}
    envelope["more"] = "x" * (REPLY_BYTES - len(json.dumps(envelope)))
    note = {"model": "m", "status": 200, "input_tokens": 300, "output_tokens": 2}
    context.journal.append(REPLY, key, step.name, slot, note, json.dumps(envelope).encode())
    context.asker_of(step).settled(call)  # takes it off the list of drawn requests


def drafted(folder: Path, accepted: int) -> list[str]:
    """A run whose loop has accepted so many rows, all published."""
    rng = Random(accepted)
    given = ["self-instruct", "--out", str(folder / "run"), "--until", "bootstrap"]
    given += ["--limit", str(accepted + 1000), "--set", "bootstrap.window=64"]
    options = Options(
        recipe=given[0],
        out=given[2],
        until="bootstrap",
        limit=accepted + 1000,
        settings=("bootstrap.window=64",),
        teacher="openai:m@http://127.0.0.1:1/v1",
    )
    prepared = prepare(options, {"OPENAI_API_KEY": "none"})
    start_and_kill = [*given]
    start(start_and_kill)  # begins the run: inputs, manifests, an empty stage
    with locked(prepared.run) as lease:
        journal = Journal(prepared.run / "journal.sqlite", lease.epoch)
        context = Context(prepared, journal, lambda event: None, lease, Ending())
        opened = context.open_stage(0, prepared.steps[0])
        for slot in range(accepted // 5):
            kept = [
                {
                    "row_id": f"bootstrap-{slot:06d}-{item:02d}",
                    "origin": "teacher",
                    "teacher": "m",
                    "instruction": text(rng, 24),
                    "shown": ["seed_task_0"],
                }
                for item in range(5)
            ]
            opened.add(kept, [], journal=0)
        opened.flush(journal=0)
        journal.close()
    return given


def main() -> None:
    """Make the runs and print the tables."""
    arguments = parse_arguments()
    place = arguments.folder or Path(tempfile.mkdtemp(prefix="bench-restart-"))
    if arguments.replies:
        print("| replies | journal GB | what is there | first request s | CPU s | peak MiB |")
        print("|---:|---:|---|---:|---:|---:|")
    for replies in arguments.replies:
        folder = place / f"replies-{replies}"
        folder.mkdir(parents=True)
        given = imported(folder, replies)
        size = (folder / "run" / "journal.sqlite").stat().st_size / 1e9
        for what in ("nothing published", "published"):
            found = start(given)
            print(f"| {replies:,} | {size:.2f} | {what} | {found.as_cells()} |", flush=True)
        shutil.rmtree(folder)
    if arguments.accepted:
        print("\n| accepted rows | first request s | CPU s | peak MiB | KiB a row more |")
        print("|---:|---:|---:|---:|---:|")
    earlier: tuple[int, float] | None = None
    for accepted in arguments.accepted:
        folder = place / f"accepted-{accepted}"
        folder.mkdir(parents=True)
        found = start(drafted(folder, accepted))
        slope = ""
        if earlier is not None:
            slope = f"{(found.peak_mib - earlier[1]) * 1024 / (accepted - earlier[0]):.2f}"
        earlier = (accepted, found.peak_mib)
        print(
            f"| {accepted:,} | {found.seconds:.1f} | {found.peak_mib:.0f} | {slope} |", flush=True
        )
        shutil.rmtree(folder)
    print(f"\n{time.process_time():.0f} CPU s here, {_children():.0f} in the runs")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
