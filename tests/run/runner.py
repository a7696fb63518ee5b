"""Run a recipe as a process of its own: `python -m tests.run.runner --out DIR --set KEY=VALUE`.

Ends with the exit code of the error, its message on stderr.
"""

import argparse
import gc
import sys

from pipeline import signals
from pipeline.cli import SELDOM


def main() -> int:
    """Prepare and run, started as the command is."""
    gc.set_threshold(*SELDOM)
    signals.install()
    from pipeline.errors import SynthError
    from pipeline.run.execute import execute
    from pipeline.run.prepare import Options, prepare

    parser = argparse.ArgumentParser(prog="tests.run.runner")
    parser.add_argument("--recipe", default="self-instruct")
    parser.add_argument("--out", required=True)
    parser.add_argument("--teacher")
    parser.add_argument("--seeds")
    parser.add_argument("--input")
    parser.add_argument("--from", dest="made_from")
    parser.add_argument("--until")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    try:
        manifest = execute(prepare(Options(**vars(parser.parse_args()))), lambda event: None)
    except SynthError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{manifest.status}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
