"""Import a file in a process of its own and say by how much its memory rose over a small import.

`python -m tests.security.rise SMALL FILE OUT [KEY=VALUE ...]` prints JSON: the exit code, what was
said, and the rise of the peak in MiB.
"""

import json
import re
import sys
from pathlib import Path

from pipeline.errors import SynthError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare


def take_in(path: str, out: Path, settings: list[str]) -> tuple[int, str]:
    """Run the stage `import` alone."""
    options = Options(recipe="import", input=path, out=str(out), settings=settings)
    try:
        execute(prepare(options), lambda event: None)
    except SynthError as error:
        return error.exit_code, str(error)
    return 0, ""


def peak_kib() -> int:
    """The most memory that this process has had, in KiB; what its parent had is not in it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1])


def main() -> None:
    """Import the small file, then the other."""
    small, path, out, *settings = sys.argv[1:]
    take_in(small, Path(out) / "small", [])
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = peak_kib()
    code, said = take_in(path, Path(out) / "run", settings)
    rise = (peak_kib() - before) / 1024
    sys.stdout.write(json.dumps({"code": code, "said": said, "rise": rise}) + "\n")


if __name__ == "__main__":
    main()
