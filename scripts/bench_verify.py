"""How fast `synth verify` reads a run: megabytes of shards a second, beside the disk's own speed.

    python scripts/bench_verify.py --rows 650000

Rows with about 1 KB of text that hardly compresses are taken in by `import` (1 KB a row in the
shards), then the run is verified. "read" is `cat` of the same files to nowhere, "sha256" what
hashing them alone costs.
"""

import argparse
import base64
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
RECIPE = """
name: verify
shard_rows: 50000
stages:
  - stage: import
"""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=650_000)
    parser.add_argument("--folder", type=Path, help="where the run is made; default temporary")
    return parser.parse_args()


def make(folder: Path, rows: int) -> Path:
    """A run with so many rows."""
    rng = Random(rows)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(rows):
            output = base64.b64encode(rng.randbytes(750)).decode()
            file.write(json.dumps({"instruction": f"Decode text {number}.", "output": output}))
            file.write("\n")
    synth("run", str(folder / "recipe.yaml"), "--input", str(folder / "rows.jsonl"),
          "--out", str(folder / "run"))  # fmt: skip
    (folder / "rows.jsonl").unlink()
    return folder / "run"


def synth(*arguments: str) -> None:
    """Run a command of ours; it must end well."""
    line = [sys.executable, "-m", "pipeline.cli", *arguments]
    subprocess.run(line, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and CPU seconds, ours and our children's."""
    began, before = time.monotonic(), _cpu_s()
    act()
    return time.monotonic() - began, _cpu_s() - before


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _hash(files: list[Path]) -> None:
    for path in files:
        with path.open("rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")


def main() -> None:
    """Make the run, read it three ways, print the table."""
    arguments = parse_arguments()
    place = arguments.folder or Path(tempfile.mkdtemp(prefix="bench-verify-"))
    place.mkdir(parents=True, exist_ok=True)
    run = make(place, arguments.rows)
    files = sorted(run.glob("stages/*/*/*.parquet"))
    size = sum(path.stat().st_size for path in files) / 1e6
    ways = {
        "read": lambda: subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True),
        "sha256": lambda: _hash(files),
        "synth verify": lambda: synth("verify", str(run)),
        "synth --help": lambda: synth("--help"),
    }
    print(f"{arguments.rows:,} rows, {len(files)} files, {size:.0f} MB\n")
    print("| | wall s | CPU s | MB/s |\n|---|---:|---:|---:|")
    for name, act in ways.items():
        wall_s, cpu_s = min(timed(act) for _ in range(3))
        rate = f"{size / wall_s:,.0f}" if "help" not in name else ""
        print(f"| {name} | {wall_s:.2f} | {cpu_s:.2f} | {rate} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\npeak memory of the largest child {peak:.0f} MiB")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
