"""Mend what can be mended in a damaged run: explicitly, and without throwing the original away.

Whatever is replaced or taken back is moved to `before-repair-N` first. Of the journal every record
is kept whose CRC holds; the others are marked as lost. A stage keeps its parts up to the first with
a damaged shard, or with a row whose reply is lost; from there on it is made again, and so is
whatever was made from it, from the replies that are left. Only lost ones are asked for again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipeline import manifest, recipe
from pipeline.durable import make_folder, sync_folder, sync_tree
from pipeline.errors import DamagedError, SynthError
from pipeline.inspect import Run, open_run
from pipeline.manifest import HALVES, RunManifest, StageManifest
from pipeline.model_files import MODEL, faults, trains
from pipeline.review import books
from pipeline.run.lock import locked
from pipeline.stage import ComputedStage
from pipeline.teacher import salvage
from pipeline.teacher.journal import BESIDE, REPAIRED
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.settings import Price
from pipeline.usage import priced
from pipeline.verify import recount
from pipeline.verify.journal import check_journal, rows_without_reply
from pipeline.verify.report import Report
from pipeline.verify.shard import is_whole
from pipeline.verify.stage import CountedStage

JOURNAL = "journal.sqlite"


@dataclass
class Repaired:
    """What was done, one line each, and the folder with what was there before; null for nothing."""

    lines: list[str] = field(default_factory=list)
    before: Path | None = None


def repair(path: str | Path) -> Repaired:
    """Repair a run so that `verify` accepts it and the same command goes on with it.

    Raises `InputError` where there is no run, and `DamagedError` where `run.json` itself is damaged
    or something is left that this cannot mend.
    """
    run = Path(path)
    done = Repaired()
    if not recount(run).findings and not (run / f"{JOURNAL}{REPAIRED}").exists():
        return done
    manifest.read(RunManifest, run / "run.json")
    with locked(run):
        done.before = _new_folder(run)
        _Repair(run, done).work()
    if left := recount(run).findings:
        listed = "\n".join(f"- {finding}" for finding in left)
        raise DamagedError(f"{run}: this could not be repaired:\n{listed}")
    return done


def _new_folder(run: Path) -> Path:
    number = 1 + sum(1 for _ in run.glob("before-repair-*"))
    folder = run / f"before-repair-{number}"
    make_folder(folder)
    return folder


class _Repair:
    """One repair at work, from the journal to the last stage."""

    def __init__(self, run: Path, done: Repaired) -> None:
        assert done.before is not None
        self.run = run
        self.done = done
        self.before = done.before

    def work(self) -> None:
        """Repair all of it."""
        shutil.copy2(self.run / "run.json", self.before / "run.json")
        for path in self.run.glob("stages/*/stage.json"):
            kept = self.before / path.relative_to(self.run)
            kept.parent.mkdir(parents=True)
            shutil.copy2(path, kept)
        sync_tree(self.before)
        self._put_away_broken_stages()
        found = open_run(self.run)
        self._mend_journal(found)
        self._mend_reviews()
        self._take_back(found)
        self._reopen(found.manifest)

    def _put_away(self, path: Path) -> None:
        """Move something out of the run, into the folder with what was there before."""
        target = self.before / path.relative_to(self.run)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():  # copies of manifests were put there
            shutil.rmtree(target)
        path.replace(target)
        sync_folder(target.parent)
        sync_folder(path.parent)

    def _put_away_broken_stages(self) -> None:
        """A stage whose books cannot be read is made again, and so is every later one."""
        state = manifest.read(RunManifest, self.run / "run.json")
        there = {path.name for path in self.run.glob("stages/*")}
        listed = {Path(folder).name for folder in state.stages}
        is_broken = False
        for name in sorted(there | listed):
            is_broken = is_broken or not self._has_books(name)
            if is_broken and name in there:
                self._put_away(self.run / "stages" / name)
                self.done.lines.append(
                    f"stages/{name} is made again: its stage.json, or that of a stage before it, "
                    "cannot be read."
                )

    def _has_books(self, name: str) -> bool:
        try:
            manifest.read(StageManifest, self.run / "stages" / name / "stage.json")
        except (SynthError, OSError):
            return False
        return True

    def _mend_reviews(self) -> None:
        """Verdicts of people that are not as they were read are put away, and their sheet named."""
        folder = self.run / books.FOLDER
        try:
            there = books.books(self.run)
        except DamagedError:
            self._put_away(folder)
            self.done.lines.append(f"{books.FOLDER}/ cannot be read: read all sheets again.")
            return
        whole = [entry for entry in there.files if is_whole(self.run, entry)]
        names = {self.run / books.LIST, *(self.run / entry.path for entry in whole)}
        for path in sorted(set(folder.glob("*")) - names):
            self._put_away(path)
        for entry in there.files:
            if entry not in whole:
                self.done.lines.append(
                    f"{entry.path} is lost: read the sheet with SHA-256 {entry.sheet} again."
                )
        if len(whole) < len(there.files):
            kept = there.model_copy(update={"files": whole})
            manifest.replace(self.run / books.LIST, kept)

    def _mend_journal(self, found: Run) -> None:
        path, new = self.run / JOURNAL, self.run / f"{JOURNAL}{REPAIRED}"
        used = [part.journal for stage in found.stage_manifests for part in stage.parts]
        if _is_sound(path, max(used, default=0)) and not new.exists():
            return
        if not new.exists():  # else an earlier repair came as far as that
            salvage.keep_copy(path, self.before)
            sync_tree(self.before)
            staged = self.run / ".staging" / JOURNAL
            staged.parent.mkdir(exist_ok=True)
            saved = salvage.rewrite(path, staged, up_to=max(used, default=0))
            staged.replace(new)
            sync_folder(self.run)
            lost = _listed(saved.lost)
            self.done.lines.append(
                f"{JOURNAL}: {saved.kept} records are whole"
                + (f"; lost is number {lost}. What they cost counts as unknown." if lost else ".")
            )
        for name in ("", *BESIDE):
            path.with_name(path.name + name).unlink(missing_ok=True)
        new.replace(path)
        sync_folder(self.run)

    def _take_back(self, found: Run) -> None:
        """Cut every stage at what is damaged or refers to what is lost, and what came from it."""
        prices = recipe.parse(
            (self.run / "recipe.yaml").read_text(encoding="utf-8"),
            where=str(self.run / "recipe.yaml"),
            settings={},
        ).settings.prices
        for state in found.stage_manifests:
            self._put_away_unlisted(state)
        reports = [Report() for _ in found.stage_manifests]
        counted = [
            CountedStage(found, state, report).recount(is_at_work=False)
            for state, report in zip(found.stage_manifests, reports, strict=True)
        ]
        answers = check_journal(found, counted, Report())
        keys = answers.hex_keys()
        sure_rows: int | None = None  # of the stage before; null where it is as it was
        for number, (stage, report) in enumerate(zip(counted, reports, strict=True)):
            state = stage.state
            stage.check_slots()
            if number and sure_rows is None:
                stage.compare_with_input(counted[number - 1], is_finished=False)
            lost = {} if answers.are_elsewhere(found, stage) else _parts_without_reply(stage, keys)
            parts = self._first_bad(state, lost)
            if parts is None and report.findings:
                parts = 0
                self.done.lines.append(report.findings[0])
            if parts is None and trains(state) and (wrong := next(faults(self.run, state), None)):
                parts = 0
                self.done.lines.append(f"{': '.join(wrong)}: it is trained again.")
            if sure_rows is not None:
                held = sum(part.next_slot <= sure_rows for part in state.parts)
                if isinstance(stage.kind, ComputedStage) or state.exported is not None:
                    held = 0
                parts = held if parts is None else min(held, parts)
            if parts is not None:
                self._cut(state, parts)
                sure_rows = sum(part.kept.rows for part in state.parts)
            self._correct_usage(state, prices)

    def _first_bad(self, state: StageManifest, lost: dict[int, str]) -> int | None:
        """The first part that is damaged or has a row whose reply is lost; null for none."""
        for number, part in enumerate(state.parts):
            for half in HALVES:
                entry = part.half(half)
                if not is_whole(self.run / state.folder, entry):
                    self.done.lines.append(f"{state.folder}/{entry.path} is damaged or gone.")
                    return number
            if number in lost:
                self.done.lines.append(
                    f"{state.folder}/{part.kept.path}: the reply to {lost[number]} is lost."
                )
                return number
        return None

    def _cut(self, state: StageManifest, parts: int) -> None:
        """List no part from the one numbered `parts` on, then put their shards away."""
        if trains(state) and (self.run / MODEL).exists():
            self._put_away(self.run / MODEL)
        gone = [part.half(half).path for part in state.parts[parts:] for half in HALVES]
        state.parts = state.parts[:parts]
        state.next_slot = state.parts[-1].next_slot if state.parts else 0
        state.complete, state.stopped, state.exported = False, None, None
        manifest.replace(self.run / state.folder / "stage.json", state)
        for name in gone:
            if (path := self.run / state.folder / name).is_file():
                self._put_away(path)
        self.done.lines.append(f"{state.folder} is made again from slot {state.next_slot} on.")

    def _put_away_unlisted(self, state: StageManifest) -> None:
        listed = {part.half(half).path for part in state.parts for half in HALVES}
        for half in HALVES:
            for path in sorted((self.run / state.folder / half).glob("*")):
                if (name := f"{half}/{path.name}") not in listed:
                    self._put_away(path)
                    self.done.lines.append(f"{state.folder}/{name} is not listed: put away.")

    def _correct_usage(self, state: StageManifest, prices: dict[str, Price]) -> None:
        """A complete stage states what the journal still knows."""
        if not state.usage or not state.complete:
            return
        with JournalReader(self.run / JOURNAL) as reader:
            usage = priced(reader.usage(state.name), prices)
        if usage != state.usage:
            state.usage = usage
            manifest.replace(self.run / state.folder / "stage.json", state)
            self.done.lines.append(f"{state.folder}: its usage leaves out what is lost.")

    def _reopen(self, state: RunManifest) -> None:
        """The run is not finished any more: the same command looks at every stage again."""
        state.status, state.finished = "stopped", None
        state.stages = [
            folder for folder in state.stages if (self.run / folder / "stage.json").is_file()
        ]
        manifest.replace(self.run / "run.json", state)
        if (self.run / "data").exists():
            self.done.lines.append("data/ is written again.")


def _parts_without_reply(stage: CountedStage, answered: pl.Series) -> dict[int, str]:
    """The first row of each part whose reply is in no journal."""
    rows = rows_without_reply(stage, answered)
    return dict(rows.group_by("part").agg(pl.col("row_id").first()).iter_rows())


def _is_sound(path: Path, used: int) -> bool:
    """Whether nothing is wrong with a journal, and nothing missing up to the record `used`."""
    if not path.is_file():
        return used == 0
    last = 0
    try:
        with JournalReader(path) as reader:
            if reader.complaints():
                return False
            for number, record in reader.records():
                if record is None or number != last + 1:
                    return False
                last = number
    except DamagedError:
        return False
    return last >= used


def _listed(numbers: list[int]) -> str:
    """Numbers as ranges: "3, 5 to 9"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in ranges)
