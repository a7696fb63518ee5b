"""A folder with stand-ins on PATH, and one for the Slurm controller that drives real jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.scripts.exit_codes import SCRIPTS

FAKE = Path(__file__).with_name("fake_program.py")
PROGRAMS = ("synth", "scontrol", "sbatch", "scancel", "kubectl")
KILL_WAIT_S = 1.5  # Slurm: 30 s from TERM to KILL
PATIENCE_S = 20.0


class Site:
    """Where jobs run: programs in `bin/`, what they do in `plan.json`, what they did: `events`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[Job] = []
        (root / "jobs").mkdir()
        (root / "bin").mkdir()
        for name in PROGRAMS:
            program = root / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{FAKE}" {name} "$@"\n')
            program.chmod(0o755)
        self.environment = {
            "PATH": f"{root / 'bin'}:/usr/bin:/bin",
            "HOME": str(root),
            "SITE": str(root),
        }

    def plan(self, **steps: list[dict[str, Any]]) -> None:
        """Say what each start of `synth --out .../NAME` does, in turn."""
        (self.root / "plan.json").write_text(json.dumps(steps), encoding="utf-8")

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """What happened, in order."""
        path = self.root / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [e for e in map(json.loads, lines) if not kinds or e["event"] in kinds]

    def wait_for_start(self, number: int) -> dict[str, Any]:
        """Wait until `synth` has started `number` times; returns that start."""
        end = time.monotonic() + PATIENCE_S
        while len(starts := self.events("start")) < number:
            assert time.monotonic() < end, f"start {number} did not come: {self.events()}"
            time.sleep(0.01)
        return starts[number - 1]


def directives(script: Path) -> dict[str, str]:
    """The `#SBATCH` lines above the first command, as Slurm reads them."""
    head = script.read_text(encoding="utf-8").split("\nset -", 1)[0]
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", head, re.MULTILINE)
    assert len(found) == head.count("\n#SBATCH")
    return dict(found)


class Job:
    """One batch job under the stand-in for slurmctld: started, signalled, queued again."""

    def __init__(self, site: Site, arguments: list[str], **environment: str) -> None:
        self.site, self.arguments, self.environment = site, arguments, environment
        self.script = SCRIPTS / "slurm.sh"
        self.folder = site.root / "jobs" / "77"
        self.folder.mkdir()
        self.restarts = 0
        self.codes: list[int] = []
        site.started.append(self)
        self.start()

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    @property
    def was_asked_to_requeue(self) -> bool:
        return (self.folder / "requeue").exists()

    def set_state(self, state: str) -> None:
        (self.folder / "state").write_text(state, encoding="utf-8")

    def start(self) -> None:
        """Start the batch script as slurmstepd does: a session of its own, no terminal."""
        (self.folder / "requeue").unlink(missing_ok=True)
        self.set_state("RUNNING")
        count = {"SLURM_RESTART_COUNT": str(self.restarts)} if self.restarts else {}
        appends = directives(self.script).get("open-mode") == "append"
        with (self.folder / "output").open("ab" if appends else "wb") as output:
            self.process = subprocess.Popen(
                ["bash", str(self.script), *self.arguments],
                env=self.site.environment | {"SLURM_JOB_ID": "77"} | count | self.environment,
                cwd=self.site.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def signal_everyone(self, number: signal.Signals) -> None:
        """To every process of the job, the batch shell too."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def warn(self) -> None:
        """What `--signal` asks for, sixty seconds before the end; without "B:" to steps only."""
        to, _, name = directives(self.script)["signal"].split("@")[0].rpartition(":")
        if to == "B":
            self.process.send_signal(getattr(signal, f"SIG{name}"))

    def terminate(self, state: str = "COMPLETING", kill_wait_s: float = KILL_WAIT_S) -> None:
        """CONT, TERM, CONT, TERM, and KILL after the grace, as slurmctld ends a job."""
        self.set_state(state)
        for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGCONT, signal.SIGTERM):
            self.signal_everyone(number)
            time.sleep(0.05)
        try:
            self.process.wait(kill_wait_s)
        except subprocess.TimeoutExpired:
            self.signal_everyone(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for the end of this start; returns the batch script's exit code."""
        code = self.process.wait(PATIENCE_S)
        self.codes.append(code)
        return code

    def follow(self) -> int:
        """Wait, and start again for as long as the job asks for it; returns the last exit code."""
        while True:
            self.wait()
            if not self.was_asked_to_requeue:
                return self.codes[-1]
            self.restart()

    def restart(self) -> None:
        self.restarts += 1
        self.start()

    def is_anyone_left(self) -> bool:
        """Whether a process of the job stays; one that is only waiting to be reaped is gone."""
        end = time.monotonic() + KILL_WAIT_S
        while (is_there := self._is_anyone_there()) and time.monotonic() < end:
            time.sleep(0.02)
        return is_there

    def _is_anyone_there(self) -> bool:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, group = path.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    return True
        return False

    def clear_away(self) -> None:
        """Kill what a failed test has left."""
        if self.process.poll() is None or self.is_anyone_left():
            self.signal_everyone(signal.SIGKILL)
            self.process.wait(PATIENCE_S)
