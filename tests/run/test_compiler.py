"""When a run loads the compiler of the novelty filter."""

import os
import subprocess
import sys
from pathlib import Path

from tests.run import books

RUN = """
import sys
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
options = Options("self-instruct", out=sys.argv[1], limit=int(sys.argv[2]), until="bootstrap")
execute(prepare(options), lambda event: None)
print("numba" in sys.modules)
"""


def loads_the_compiler(out: Path, limit: int) -> str:
    """Whether a run of that many instructions does, in a process of its own."""
    command = [sys.executable, "-c", RUN, str(out), str(limit)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_run_of_200_instructions_loads_no_compiler(tmp_path: Path) -> None:
    assert loads_the_compiler(tmp_path / "run", 200) == "False"
    assert len(books.rows(tmp_path / "run", "bootstrap")) >= 200
