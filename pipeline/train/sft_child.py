"""The process in which a model is trained, and those of several that share it.

`python -m pipeline.train.sft_child PARENT` is told on stdin what to train on. Where that takes
several processes it writes the job down and becomes accelerate's launcher, which starts each as
`accelerate launch ... -m pipeline.train.sft_child JOB.json` does. The first of them says on stdout,
one JSON object a line, how it goes: the verdicts of all rows, steps, what a person should read, and
at the end what came out or what was wrong. What libraries print goes to stderr. All but the steps
is also left in the model's folder, so that who comes later finds what came out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline import signals
from pipeline.child_process import given_work, leave, own_stdout
from pipeline.durable import sync_tree
from pipeline.errors import SynthError

JOB, OUTCOME = "job.json", "outcome.json"
OURS = "SYNTH_TRAINS"
"""Set in processes that a launcher of ours has started."""
FIRST_SAYS_S = 60.0
"""How long another process leaves it to the first to say what is wrong; it is ended before."""


def main() -> int:
    """Train, as told; gives the exit code."""
    if Path(sys.argv[1]).suffix == ".json":
        if os.environ.get(OURS):
            signals.leave_to(os.getppid())
        return _train(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    given = given_work()
    if given["config"]["processes"] == 1:
        return _train(given)
    return _launch(write(given), given["config"]["processes"])


def write(given: dict[str, Any]) -> Path:
    """Write a job into the model's folder, for processes that are started apart."""
    path = Path(given["out"]) / JOB
    path.write_text(json.dumps(given, indent=1) + "\n", encoding="utf-8")
    return path


def command(job: Path, processes: int) -> list[str]:
    """What starts so many processes that share a job, after `accelerate launch`."""
    many = ["--multi_gpu"] if processes > 1 else []
    return [
        *many,
        *("--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
        *("-m", "pipeline.train.sft_child", str(job)),
    ]


def _launch(job: Path, processes: int) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ |= {OURS: "1", "PYTHONSAFEPATH": "1"}
    try:
        launch_command(launch_command_parser().parse_args(command(job, processes)))
    except ChildFailedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _train(given: dict[str, Any]) -> int:
    is_first = os.environ.get("RANK", "0") == "0"
    answer = own_stdout()
    told: list[dict[str, Any]] = []

    def tell(said: dict[str, Any]) -> None:
        if not is_first:
            return
        if "step" not in said:
            told.append(said)
        answer.write(json.dumps(said) + "\n")
        answer.flush()

    try:
        from pipeline.train import sft  # takes a while: what ends this process is set up before
        from pipeline.train.settings import Config

        job = sft.Job(
            base=Path(given["base"]) if given["base"] else None,
            rows=Path(given["rows"]),
            out=Path(given["out"]),
            config=Config.model_validate(given["config"]),
            seed=given["seed"],
            named=given["named"],
        )
        sft.run(job, tell)
    except SynthError as error:
        if not is_first:
            time.sleep(FIRST_SAYS_S)
        tell({"error": type(error).__name__, "text": str(error)})
        return error.exit_code
    if is_first:
        sync_tree(job.out)  # who finds the outcome finds the files
        new = job.out / f"{OUTCOME}.new"
        new.write_text(json.dumps(told), encoding="utf-8")
        new.replace(job.out / OUTCOME)
    return 0


if __name__ == "__main__":
    leave(main())
