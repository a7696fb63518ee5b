"""What is run while it is killed: a recipe, its settings, and the teacher that it asks."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from tests.teacher_server.content import ADJECTIVES, NOUNS, VERBS

ROOT = Path(__file__).parents[2]
CLI = "from pipeline.cli import main; main()"


@dataclass(frozen=True)
class Workload:
    """One run. `rules` are faults of the teacher, `settings` more of the recipe's settings.

    `given` is the file that a run starts from, `asks` whether it has a teacher. Stages from number
    `ends_from` on ask nobody: they end a run. `conversations`: a slot is one, of several requests.
    `root` is the tree that is run: a copy of it where the harness itself is tested; `lease_s` is
    how long its lease on a run directory lasts, where not as long as it ships. The window is as
    wide as the concurrency, so that as many requests are open as may be.
    """

    target: int = 150
    concurrency: int = 32
    shard_rows: int = 40
    median_s: float = 0.25
    rules: tuple[Mapping[str, Any], ...] = ()
    settings: tuple[str, ...] = ()
    seed: int = 42
    recipe: str = "self-instruct"
    given: Path | None = None
    asks: bool = True
    conversations: bool = False
    ends_from: int = 4
    lease_s: float | None = None
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
        prelude = ""
        if self.lease_s is not None:
            prelude = f"import pipeline.run.lock as lock; lock.LEASE_S = {self.lease_s}; "
        line = [sys.executable, "-c", prelude + CLI, "run", self.recipe, "--out", str(out)]
        settings = [f"shard_rows={self.shard_rows}", f"seed={self.seed}"]
        if self.given is not None:
            line += ["--input", str(self.given)]
        if self.asks:
            line += ["--teacher", "offline" if url is None else f"openai:test-model@{url}"]
            settings.append(f"teacher.concurrency={self.concurrency}")
        if self.recipe == "self-instruct":
            settings.append(f"bootstrap.target={self.target}")
            settings.append(f"bootstrap.window={self.concurrency}")
        for setting in (*settings, *self.settings):
            line += ["--set", setting]
        return line

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """This process's variables without keys and addresses of teachers, and `variables`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
        return kept | {"PYTHONPATH": str(self.root)} | dict(variables or {})


def curating(folder: Path, rows: int = 6000, shard_rows: int = 800) -> Workload:
    """A run of `curate` on a file of its own: no teacher, and every rule has something to drop."""
    path = folder / "rows.jsonl"
    rng = Random("rows")
    words = [*VERBS, *NOUNS, *ADJECTIVES]
    found: list[dict[str, str]] = []
    for number in range(rows):
        text = " ".join(rng.choices(words, k=rng.randint(3, 40)))
        row = {"instruction": f"{text}.", "input": "", "output": " ".join(rng.choices(words, k=9))}
        if number % 7 == 6:
            row = dict(found[-1])
        elif number % 7 == 3:
            row = found[-1] | {"instruction": f"{found[-1]['instruction']} Now."}
        found.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return Workload(recipe="curate", given=path, asks=False, ends_from=8, shard_rows=shard_rows)


def evolving(folder: Path, rows: int = 60, rounds: int = 2, **more: Any) -> Workload:
    """A run of `evol-instruct` on a file of its own, whose every row is a chain of requests."""
    path = folder / "tasks.jsonl"
    rng = Random("tasks")
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            verb, noun, adjective = (rng.choice(words) for words in (VERBS, NOUNS, ADJECTIVES))
            text = f"{verb.capitalize()} {number} facts about the {adjective} {noun}."
            row = {"instruction": text, "input": "", "output": f"Fact one of the {noun}."}
            file.write(json.dumps(row) + "\n")
    settings = (f"evolve.rounds={rounds}",)
    given = Workload(recipe="evol-instruct", given=path, ends_from=3, settings=settings)
    return replace(given, conversations=True, **more)
