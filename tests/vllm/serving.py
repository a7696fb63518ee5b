"""Runs that are served by a stand-in for vLLM, and what is left of it in the process table."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.security.command import environment, line

FAKE = Path(__file__).parent / "fake"
VERSION = "0.32.0"
WAIT_S = 30


@dataclass
class Serving:
    """A folder with rows and a model, a run of `classify` over them, and what goes wrong."""

    folder: Path
    faults: dict[str, Any]
    rows: int = 40

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def starts(self) -> list[dict[str, Any]]:
        """One entry for each time that the server was started."""
        path = self.folder / "starts.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(one) for one in text.splitlines()]

    def begin(self, *more: str, stage: str = "classify", **variables: str) -> subprocess.Popen[str]:
        """Start the command."""
        info = self.folder / "python" / f"vllm-{VERSION}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n")
        model = self.folder / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text("{}")
        source = self.folder / "rows.jsonl"
        given = [{"instruction": f"Task {n}", "output": f"Answer {n}"} for n in range(self.rows)]
        source.write_text("".join(json.dumps(row) + "\n" for row in given))
        role = "judge" if stage == "rate" else "teacher"
        paths = ":".join(map(str, (FAKE, info.parent, Path(__file__).parents[2])))
        variables = {
            "PYTHONPATH": paths,
            "FAKE_VLLM": json.dumps(self.faults),
            "FAKE_VLLM_FOLDER": str(self.folder),
        } | variables
        return subprocess.Popen(
            line(
                *("run", stage, "--input", str(source), "--out", str(self.run)),
                *(f"--{role}", f"vllm:{model}", "--set", f"{role}.concurrency=4", *more),
            ),
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def finish(self, *more: str, stage: str = "classify", **variables: str) -> tuple[int, str]:
        """The exit code of the command and what it said on stderr."""
        process = self.begin(*more, stage=stage, **variables)
        _, said = process.communicate(timeout=4 * WAIT_S)
        return process.returncode, said

    def left(self) -> dict[int, str]:
        """Command lines of the processes that inherited this run's mark, by their ids."""
        wanted = f"SYNTH_SERVER_OF={self.run.resolve()}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and wanted in (folder / "environ").read_bytes():
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = words.decode()
            except OSError:
                continue
        return found

    def keeper(self) -> int:
        """The id of the process that keeps the server."""
        (found,) = [pid for pid, words in self.left().items() if "keeper.py" in words]
        return found


def until(is_so: Any, what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)
