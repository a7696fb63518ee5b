"""The process in which filters of the user's own run: `python -m pipeline.run.judge_child PARENT`.

It is told on stdin what to judge, writes the verdicts as an Arrow file, and says on stdout when it
begins, and what is wrong, or where it is when SIGUSR2 comes. What the user's code prints goes to
stderr.
"""

from __future__ import annotations

import faulthandler
import json
import signal
from pathlib import Path
from typing import Any, TextIO

from pipeline.child_process import given_work, leave, own_stdout
from pipeline.errors import SynthError

BEGAN = "began\n"
"""What it says before it runs the user's code."""


def main() -> int:
    """Judge, as told; gives the exit code."""
    given = given_work()
    answer = own_stdout()
    faulthandler.register(signal.SIGUSR2, file=answer, all_threads=False)
    try:
        _judge(given, answer)
    except SynthError as error:
        answer.write(json.dumps({"error": type(error).__name__, "text": str(error)}))
        answer.flush()
        return error.exit_code
    return 0


def _judge(given: dict[str, Any], answer: TextIO) -> None:
    from pipeline import store  # takes a while: what ends this process is set up before
    from pipeline.run.guard import Guard
    from pipeline.stages import filter as filter_stage

    answer.write(BEGAN)
    answer.flush()
    config = filter_stage.Config.model_validate(given["config"])
    shards = [Path(path) for path in given["shards"]]
    frame = store.read_frame(shards, filter_stage.reads(config))
    guard = Guard(given["name"], filter_stage.files(config))
    guard.judge(frame, lambda part: filter_stage.judge(part, config)).write_ipc(given["out"])


if __name__ == "__main__":
    leave(main())
