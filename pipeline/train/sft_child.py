"""The process in which a model is trained: `python -m pipeline.train.sft_child PARENT`.

It is told on stdin what to train on, and says on stdout, one JSON object a line, how it goes: the
verdicts of all rows, steps, what a person should read, and at the end what came out or what was
wrong. What libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pipeline import redact, signals
from pipeline.errors import SynthError


def main() -> int:
    """Train, as told; gives the exit code."""
    signals.leave_to(int(sys.argv[1]))
    given: dict[str, Any] = json.load(sys.stdin)
    for key in given["keys"]:
        redact.remember(key)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(said: dict[str, Any]) -> None:
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
        tell({"error": type(error).__name__, "text": str(error)})
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
