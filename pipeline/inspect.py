"""Look into a run, finished or at work, without changing a byte of it.

from pipeline import open_run

run = open_run("runs/self-instruct")
run.kept()  # the rows that came through, as a Polars frame
run.dropped("bootstrap").group_by("drop_reason").len()
print(run.why("bootstrap-000003-02").as_text())
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import manifest, seed_tasks, store, whole
from pipeline.errors import DamagedError, InputError, InterruptedRunError, SynthError
from pipeline.manifest import FileEntry, Half, RunManifest, StageManifest
from pipeline.readable import check_folders
from pipeline.schema import arrow_schema
from pipeline.seed_tasks import SeedTask
from pipeline.teacher.journal import Record
from pipeline.teacher.journal_reader import JournalReader
from pipeline.why import History, history

if TYPE_CHECKING:
    from datasets import DatasetDict

    from pipeline.report.plots import Plots


def open_run(path: str | Path) -> Run:
    """Open a run directory as it stands now.

    Raises `InputError` where there is none and `DamagedError` where its manifests are not whole,
    `StorageError` where this user may not read them.
    """
    folder = Path(path)
    check_folders(folder)
    if not (folder / "run.json").is_file():
        there = "there is no run.json in it" if folder.is_dir() else "there is no such folder"
        raise InputError(f"{path} is not a run: {there}.")
    state = manifest.read(RunManifest, folder / "run.json")
    found = sorted(folder.glob("stages/*/stage.json"), reverse=True)
    # the last first: what is read later, of a run at work, is then never less than its stage needs
    stages = [manifest.read(StageManifest, path) for path in found]
    return Run(folder, state, tuple(reversed(stages)))


@dataclass(frozen=True)
class Run:
    """One run as it stood when it was opened; `stage_manifests` are those that have begun."""

    path: Path
    manifest: RunManifest
    stage_manifests: tuple[StageManifest, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that have begun, in order."""
        return tuple(state.name for state in self.stage_manifests)

    def stage(self, name: str | None = None) -> StageManifest:
        """A stage's manifest by its name; null is the last stage that has shards.

        Raises `InputError` that names the stages there are.
        """
        if name is None:
            with_shards = [state for state in self.stage_manifests if state.parts]
            if not with_shards:
                raise InputError(f"no stage of {self.path} has published rows yet.")
            return with_shards[-1]
        for state in self.stage_manifests:
            if name in (state.name, Path(state.folder).name):
                return state
        there = ", ".join(self.stages) or "none yet"
        raise InputError(f"{self.path} has no stage {name!r}; there are {there}.")

    def kept(self, stage: str | None = None) -> pl.DataFrame:
        """The rows that a stage kept, in order; without a name, of the last stage with shards."""
        return self._rows(stage, "kept")

    def dropped(self, stage: str | None = None) -> pl.DataFrame:
        """The rows that a stage dropped, with their `drop_` columns."""
        return self._rows(stage, "dropped")

    def scan(self, stage: str | None, half: Half) -> pl.LazyFrame:
        """One half of a stage as a lazy frame: only what is asked of it is held.

        Raises as `shards` does, which compares them: a lazy frame checks nothing.
        """
        state = self.stage(stage)
        shards = self.shards(stage, half)
        if not shards:
            return _frame(_empty(state, half)).lazy()
        return pl.scan_parquet(shards, glob=False)

    @cached_property
    def _whole(self) -> set[Path]:
        """The shards that were found to be what was written."""
        return set()

    def _outdated(self, state: StageManifest, entry: FileEntry) -> InterruptedRunError | None:
        """What to raise of a shard that is listed otherwise since the run was opened; else null."""
        folder = self.path / state.folder
        listed = manifest.read(StageManifest, folder / "stage.json").parts
        if any(entry in (part.kept, part.dropped) for part in listed):
            return None
        return InterruptedRunError(
            f"{folder / entry.path} was written anew since {self.path} was opened: open it again, "
            "or start the same command again."
        )

    def _rows(self, stage: str | None, half: Half) -> pl.DataFrame:
        state = self.stage(stage)
        entries = [part.half(half) for part in state.parts]
        tables = [_empty(state, half)]
        for path, entry in zip(self.shards(stage, half), entries, strict=True):
            try:
                content = path.read_bytes()
                # page checksums leave the footer and the page headers out
                if hashlib.sha256(content).hexdigest() != entry.sha256:
                    problem = whole.damaged(path, whole.CHANGED, self.path)
                    raise self._outdated(state, entry) or problem
                tables.append(pq.read_table(pa.BufferReader(content)))
            except (pa.ArrowException, OSError) as error:
                raise whole.unreadable(path, error, self.path) from error
        return _frame(pa.concat_tables(tables, promote_options="default"))

    def shards(self, stage: str | None, half: Half) -> list[Path]:
        """The listed files of one half of a stage, in order, each compared once with its SHA-256.

        Raises `InputError` for a stage that has none of its own, `DamagedError` where one is gone
        or is not what was written.
        """
        state = self.stage(stage)
        if state.exported is not None:
            raise InputError(f"stage {state.name} has no rows of its own: they are in data/.")
        shards = store.shards(self.path / state.folder, state, half)
        for path, part in zip(shards, state.parts, strict=True):
            if not path.is_file():
                said = "is listed in stage.json and is not there"
                problem = whole.damaged(path, said, self.path)
                raise self._outdated(state, part.half(half)) or problem
            if path not in self._whole:
                try:
                    whole.check(path, part.half(half).sha256, self.path)
                except DamagedError as error:
                    raise self._outdated(state, part.half(half)) or error from error
                self._whole.add(path)
        return shards

    def funnel(self) -> pl.DataFrame:
        """One row a stage: `stage`, `candidates`, `kept`, `dropped`, `reasons`.

        `reasons` is a list of structs (`reason`, `rows`), most first.
        """
        return pl.DataFrame(
            [
                {
                    "stage": state.name,
                    "candidates": state.candidates,
                    "kept": state.kept,
                    "dropped": state.dropped,
                    "reasons": [
                        {"reason": reason, "rows": rows}
                        for reason, rows in state.dropped_by_reason.items()
                    ],
                }
                for state in self.stage_manifests
            ],
            schema={
                "stage": pl.String,
                "candidates": pl.Int64,
                "kept": pl.Int64,
                "dropped": pl.Int64,
                "reasons": pl.List(pl.Struct({"reason": pl.String, "rows": pl.Int64})),
            },
        )

    def journal(self, key: str | bytes) -> list[Record]:
        """The journal's records of one key (bytes, or hex as rows carry it), in order.

        Looks into the runs that this one came from where its own journal has none.
        """
        wanted = bytes.fromhex(key) if isinstance(key, str) else key
        for run in self.ancestors:
            path = run.path / "journal.sqlite"
            if path.is_file():
                with JournalReader(path) as reader:
                    found = reader.by_key(wanted)
                if found:
                    return found
        return []

    def why(self, row_id: str) -> History:
        """The whole history of a row, kept or dropped, or of a seed task.

        Raises `InputError` with similar ids where there is none.
        """
        return history(self, row_id)

    @cached_property
    def plot(self) -> Plots:
        """The run's charts, as Plotly figures: `run.plot.funnel()`; the extra `report`."""
        from pipeline.report.plots import Plots

        return Plots(self)

    def to_datasets(self, config: str = "messages") -> DatasetDict:
        """What the run exported, as Hugging Face `datasets` (extra `data`), split by split.

        `config` is `messages`, `alpaca` or, where it was exported, `completion`. A run without an
        export gives the kept rows of its last stage, with all their columns, as `train`. Raises
        `RecipeError` where the package is not installed, `InputError` for what was not exported.
        """
        from pipeline.to_datasets import of_run

        return of_run(self, config)

    def _repr_html_(self) -> str:
        """A run as a notebook shows it: what it is, and its funnel."""
        from pipeline.status import stage_statuses

        state = self.manifest
        head = "".join(f"<th>{name}</th>" for name in ("stage", "in", "kept", "dropped", "by rule"))
        lines = []
        for stage in stage_statuses(self):
            rules = ", ".join(f"{reason} {n}" for reason, n in stage.dropped_by_reason.items())
            cells = (stage.name, stage.candidates, stage.kept, stage.dropped, rules)
            lines.append("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells))
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        said = f"{self.path}: {state.recipe}, {state.status}, {state.kept} rows kept"
        return (
            f"<p>{html.escape(said)}</p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    @cached_property
    def seeds(self) -> dict[str, SeedTask]:
        """The seed tasks that the run was made with, by id; empty where it started from data."""
        path = self.path / "inputs" / "seeds.jsonl"
        if not path.is_file():
            return {}
        return {task.id: task for task in seed_tasks.load(str(path)).tasks}

    @cached_property
    def lineage(self) -> tuple[Run, ...]:
        """This run and those that it was made from with `--from`, if they are still there."""
        return tuple(_follow(self, lambda run: [run.manifest.made_from]))

    @cached_property
    def ancestors(self) -> tuple[Run, ...]:
        """This run and all those that its rows or replies came from and that are still there."""

        def sources(run: Run) -> list[str | None]:
            return [run.manifest.made_from, *(run.manifest.input or {}).values()]

        return tuple(_follow(self, sources))


def _follow(first: Run, sources: Callable[[Run], list[str | None]]) -> list[Run]:
    runs, seen = [first], {first.path.resolve()}
    for run in runs:  # grows while it is walked
        for source in sources(run):
            if source is None or (path := Path(source).resolve()) in seen:
                continue
            seen.add(path)
            with suppress(SynthError):  # gone, moved, damaged or no run: it has nothing to add
                runs.append(open_run(source))
    return runs


def _empty(state: StageManifest, half: Half) -> pa.Table:
    return arrow_schema(state.columns_of(half)).empty_table()


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
