"""Stands in for `synth` and for the schedulers' own programs, one name a wrapper script on PATH.

fake_program.py NAME ARGUMENTS... notes every call in $SITE/events.jsonl. $SITE/plan.json says, by
the last part of --out, what each start of `synth` does in turn: {"exit": 5}, {"drain": 0.2} (wait
for a signal, then end with 75 after so many seconds), {"deaf": true} (stay whatever comes),
{"frail": true} (die of the first signal), {"killed": true} (as for want of memory).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

SITE = Path(os.environ.get("SITE", "."))
SENT = {signal.SIGTERM, signal.SIGUSR1}


def note(**event: object) -> None:
    line = json.dumps(event) + "\n"
    with (SITE / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)


def events(kind: str, name: str) -> list[Any]:
    path = SITE / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [e for e in map(json.loads, lines) if e["event"] == kind and e["name"] == name]


def synth(arguments: list[str]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, SENT)
    name = Path(arguments[arguments.index("--out") + 1]).name
    plan = json.loads((SITE / "plan.json").read_text(encoding="utf-8"))[name]
    step = plan[len(events("start", name))]
    seen = {
        key: os.environ.get(key)
        for key in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "OPENAI_API_KEY")
    }
    note(event="start", name=name, pid=os.getpid(), arguments=arguments, **seen)
    sys.stdout.write(f"{name}: working\n")
    sys.stdout.flush()
    if step.get("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step.get("frail"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT)
        signal.pause()
    if step.get("deaf"):
        while True:
            note(event="signal", name=name, signal=signal.Signals(signal.sigwait(SENT)).name)
    code = step.get("exit", 75)
    if "drain" in step:
        note(event="signal", name=name, signal=signal.Signals(signal.sigwait(SENT)).name)
        time.sleep(step["drain"])
        while more := signal.sigtimedwait(SENT, 0):
            note(event="signal", name=name, signal=signal.Signals(more.si_signo).name)
    note(event="end", name=name, code=code)
    return int(code)


def scontrol(arguments: list[str]) -> int:
    """As Slurm 22.05: takes back what completes, even if cancelled; refuses what is pending."""
    note(event="scontrol", name=arguments[0], arguments=arguments)
    job = SITE / "jobs" / arguments[-1]
    state = (job / "state").read_text(encoding="utf-8")
    if arguments[0] == "show":
        sys.stdout.write(f"JobId={job.name} JobName=synth JobState={state} Reason=None Requeue=1\n")
        return 0
    if state == "PENDING":
        sys.stderr.write(f"Job is pending execution for job {job.name}\n")
        return 1
    (job / "requeue").touch()
    return 0


def sbatch(arguments: list[str]) -> int:
    numbers = [int(path.name) for path in (SITE / "jobs").iterdir()]
    if len(numbers) == int(os.environ.get("QUEUE_LIMIT", "99")):
        sys.stderr.write("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
        return 1
    number = max(numbers, default=40) + 1
    options = [a for a in arguments if a.startswith("--")]
    options = options[: arguments.index(next(a for a in arguments if not a.startswith("--")))]
    script, *rest = arguments[len(options) :]
    job = SITE / "jobs" / str(number)
    job.mkdir()
    (job / "state").write_text("PENDING", encoding="utf-8")
    call = {"options": options, "script": script, "arguments": rest}
    (job / "call.json").write_text(json.dumps(call), encoding="utf-8")
    note(event="sbatch", name=str(number), options=options, arguments=rest)
    sys.stdout.write(f"{number};cluster-a\n")
    return 0


def scancel(arguments: list[str]) -> int:
    for number in arguments:
        (SITE / "jobs" / number / "state").write_text("CANCELLED", encoding="utf-8")
    return 0


def kubectl(arguments: list[str]) -> int:
    """`get job` and `patch job` on $SITE/cluster.json, as far as $SITE/role.json allows."""
    verb, kind, name = arguments[:3]
    role = json.loads((SITE / "role.json").read_text(encoding="utf-8"))
    if kind != "job" or name not in role["resourceNames"] or verb not in role["verbs"]:
        sys.stderr.write(f"Error from server (Forbidden): jobs.batch {name!r} is forbidden\n")
        return 1
    path = SITE / "cluster.json"
    cluster = json.loads(path.read_text(encoding="utf-8"))
    job = cluster[name]
    note(event=verb, name=name, conditions=job["conditions"])
    if verb == "patch":
        if json.loads(arguments[arguments.index("--patch") + 1]) == {"spec": {"suspend": False}}:
            job["conditions"] = []
    else:
        if "Unanswered" in job["conditions"]:
            job["conditions"].remove("Unanswered")
            path.write_text(json.dumps(cluster), encoding="utf-8")
            sys.stderr.write("The connection to the server was refused\n")
            return 1
        sys.stdout.write(" ".join(job["conditions"]))
        if not job["conditions"]:  # it works; the next look finds it ended
            job["conditions"] = job["ends"]
    path.write_text(json.dumps(cluster), encoding="utf-8")
    return 0


if __name__ == "__main__":
    programs = {f.__name__: f for f in (synth, scontrol, sbatch, scancel, kubectl)}
    sys.exit(programs[sys.argv[1]](sys.argv[2:]))
