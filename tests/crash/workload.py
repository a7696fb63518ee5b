"""What is run while it is killed: a recipe, its settings, and the teacher that it asks."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLI = "from pipeline.cli import main; main()"


@dataclass(frozen=True)
class Workload:
    """One run. `rules` are faults of the teacher, `settings` more of the recipe's settings.

    `root` is the tree that is run: a copy of it where the harness itself is tested; `prelude` is
    Python that the process runs first. The window is as wide as the concurrency, so that as many
    requests are open as may be.
    """

    target: int = 150
    concurrency: int = 32
    shard_rows: int = 40
    median_s: float = 0.25
    rules: tuple[Mapping[str, Any], ...] = ()
    settings: tuple[str, ...] = ()
    seed: int = 42
    prelude: str = ""
    root: Path = ROOT

    def plan(self) -> dict[str, Any]:
        """The plan for the teacher's server."""
        latency = {"median_s": self.median_s, "sigma": 0.6, "straggler_rate": 0.02}
        return {
            "latency": latency | {"max_s": 6 * self.median_s},
            "content": {"items": 3},
            "rules": list(self.rules),
        }

    def command(self, out: Path, url: str | None) -> list[str]:
        """The command line; `url` null is the offline teacher."""
        given = [
            f"bootstrap.target={self.target}",
            f"bootstrap.window={self.concurrency}",
            f"teacher.concurrency={self.concurrency}",
            f"shard_rows={self.shard_rows}",
            f"seed={self.seed}",
            *self.settings,
        ]
        line = [sys.executable, "-c", self.prelude + CLI, "run", "self-instruct", "--out", str(out)]
        line += ["--teacher", "offline" if url is None else f"openai:test-model@{url}"]
        for setting in given:
            line += ["--set", setting]
        return line

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """This process's variables without keys and addresses of teachers, and `variables`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
        return kept | {"PYTHONPATH": str(self.root)} | dict(variables or {})
