"""Seed tasks as the rows that a run starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.run.source import Source
from pipeline.seed_tasks import SeedFile, SeedTask
from pipeline.stage import Drop, Row
from pipeline.stages import seed_rows


@dataclass(frozen=True)
class SeedSource(Source):
    """The rows of a file of seed tasks."""

    tasks: tuple[SeedTask, ...] = field(default=())

    def entries(self, start: int) -> Iterator[list[Row | Drop]]:
        """One row a task."""
        for number, task in enumerate(self.tasks[start:], start=start):
            given, output = task.instances[0]
            known = {
                "instruction": task.instruction,
                "input": given,
                "output": output,
                "is_classification": task.is_classification,
            }
            yield seed_rows.read(number, known, self.path.name)


def seed_source(seeds: SeedFile, limit: int | None) -> SeedSource:
    """The seed tasks of a file, up to `limit`."""
    columns = seed_rows.STAGE.writes
    return SeedSource(seeds.path, columns, seeds.sha256, len(seeds.tasks), limit, tasks=seeds.tasks)
