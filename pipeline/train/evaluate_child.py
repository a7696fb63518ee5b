"""The process in which models answer: `python -m pipeline.train.evaluate_child PARENT`.

It is told on stdin whom to ask about what, and says on stdout, one JSON object a line, how it goes.
What libraries print goes to stderr.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.child_process import given_work, leave, own_stdout
from pipeline.errors import SynthError


def main() -> int:
    """Ask, as told; gives the exit code."""
    given = given_work()
    answer = own_stdout()

    def tell(said: dict[str, Any]) -> None:
        answer.write(json.dumps(said) + "\n")
        answer.flush()

    try:
        from pipeline.train import answers  # takes a while: what ends this process is set up before

        models = tuple(
            answers.Judged(
                one["name"], Path(one["base"]), Path(one["adapter"]) if one["adapter"] else None
            )
            for one in given["models"]
        )
        job = answers.Job(
            models,
            Path(given["rows"]),
            Path(given["out"]),
            tuple(given["parts"]),
            given["max_tokens"],
            given["batch"],
        )
        answers.run(job, tell)
    except SynthError as error:
        tell({"error": type(error).__name__, "text": str(error)})
        return error.exit_code
    return 0


if __name__ == "__main__":
    leave(main())
