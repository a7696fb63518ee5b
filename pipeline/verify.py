"""Recount a run: every shard, every row, every record of the journal, against what the books say.

Nothing is believed that can be counted. All that is wrong is found in one pass, each on one line
that names the file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import manifest, schema
from pipeline.errors import DamagedError, SynthError
from pipeline.inspect import Run, open_run
from pipeline.manifest import HALVES, FileEntry, Half, Part, RunManifest, StageManifest
from pipeline.stage import DraftStage, FilterStage, ImportStage, LLMStage
from pipeline.stages import STAGES, export
from pipeline.status import holder
from pipeline.teacher.journal import INTENT
from pipeline.teacher.journal_reader import JournalReader
from pipeline.terminal import shorten

LONGEST_FINDING = 300  # characters
NEEDED = ("row_id", "parent_id", "root_id", "requests", "drop_reason")


@dataclass
class Report:
    """What was counted, what is wrong (`findings`) and what could not be looked at (`notes`)."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    records: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def find(self, where: str, what: str) -> None:
        """Add one line about what is wrong in the file `where`."""
        self.findings.append(shorten(f"{where}: {what}", LONGEST_FINDING))


def verify(path: str | Path) -> Report:
    """Recount a run. Raises one `DamagedError` that lists all that is wrong."""
    report = recount(path)
    if report.findings:
        n = len(report.findings)
        listed = "\n".join(f"- {finding}" for finding in report.findings)
        raise DamagedError(f"{n} thing{'s' if n > 1 else ''} wrong in {path}:\n{listed}")
    return report


def recount(path: str | Path) -> Report:
    """Recount a run and list what is wrong. Raises `InputError` where there is no run."""
    report = Report()
    folder = Path(path)
    try:
        run = open_run(folder)
    except DamagedError:
        _find_bad_manifests(folder, report)
        return report
    is_finished = run.manifest.status == "finished"
    is_at_work = holder(folder) is not None
    if not is_finished:
        report.notes.append(
            f"the run is {run.manifest.status}: what is there so far was recounted."
        )
    for listed in run.manifest.stages:
        if not (folder / listed / "stage.json").is_file():
            report.find(f"{listed}/stage.json", "run.json lists this stage, and it is not there")
    counted = [
        _Stage(run, state, report).recount(is_at_work=is_at_work) for state in run.stage_manifests
    ]
    for before, stage in itertools.pairwise(counted):
        stage.compare_with_input(before, is_finished=is_finished)
    if counted and not isinstance(counted[0].kind, DraftStage | ImportStage):
        report.find(run.stage_manifests[0].folder, "the stage that makes the rows is not there")
    _check_journal(run, counted, report)
    if is_finished:
        _check_run_manifest(run, report)
        _check_export(run, counted, report)
        _check_inputs(run, report)
    return report


class _Stage:
    """One stage while it is recounted: its rows, part by part."""

    def __init__(self, run: Run, state: StageManifest, report: Report) -> None:
        self.run = run
        self.state = state
        self.report = report
        self.kind = next((stage for stage in STAGES if stage.name == state.stage), None)
        self.is_readable = True
        self.rows = pl.DataFrame()  # NEEDED, `part`, `is_kept`; as far as the stage has them

    @property
    def books(self) -> str:
        """The manifest's name below the run."""
        return f"{self.state.folder}/stage.json"

    @property
    def kept_ids(self) -> pl.Series:
        """The ids of the kept rows, in order."""
        return self.rows.filter("is_kept")["row_id"]

    def recount(self, *, is_at_work: bool) -> _Stage:
        """Read every listed shard and compare it with the manifest."""
        if self.kind is None:
            self.report.notes.append(f"{self.books}: this synth has no stage {self.state.stage!r}.")
        frames = []
        slot = 0
        for number, part in enumerate(self.state.parts):
            if part.first_slot != slot or part.next_slot < part.first_slot:
                self.report.find(
                    self.books,
                    f"part {number} has slots {part.first_slot} to {part.next_slot}, after {slot}",
                )
            slot = part.next_slot
            frames += [
                frame.with_columns(part=pl.lit(number), is_kept=pl.lit(half == "kept"))
                for half in HALVES
                if (frame := self._shard(number, part, half)) is not None
            ]
        if self.state.next_slot != slot:
            self.report.find(
                self.books, f"next_slot is {self.state.next_slot}, its parts end at {slot}"
            )
        if frames:
            self.rows = pl.concat(frames, how="diagonal")
            self._check_ids()
        self._check_books()
        self._check_extra_files(is_at_work=is_at_work)
        return self

    def _shard(self, number: int, part: Part, half: Half) -> pl.DataFrame | None:
        entry = part.half(half)
        where = f"{self.state.folder}/{entry.path}"
        if entry.path != f"{half}/part-{number:05d}.parquet":
            self.report.find(self.books, f"part {number} names {entry.path} as its {half} shard")
            self.is_readable = False
            return None
        drops = schema.DROP_COLUMNS if half == "dropped" else ()
        try:
            wanted = schema.arrow_schema((*self.state.columns, *drops))
        except KeyError as error:
            self.report.find(self.books, str(error))
            wanted = None
        table = _read(self.run.path, where, entry, wanted, self.report)
        if table is None:
            self.is_readable = False
            return None
        frame = pl.from_arrow(table.select([name for name in NEEDED if name in table.column_names]))
        assert isinstance(frame, pl.DataFrame)
        if half == "dropped" and "drop_reason" in frame.columns:
            self._check_reasons(where, frame, part)
        return frame

    def _check_reasons(self, where: str, dropped: pl.DataFrame, part: Part) -> None:
        without = dropped.filter(pl.col("drop_reason").fill_null("") == "").height
        if without:
            self.report.find(where, f"{without} dropped rows have no reason")
        counted = dict(dropped["drop_reason"].drop_nulls().value_counts().iter_rows())
        for reason in sorted(counted.keys() | part.dropped_by_reason.keys()):
            held, listed = counted.get(reason, 0), part.dropped_by_reason.get(reason, 0)
            if held != listed:
                self.report.find(
                    where, f"holds {held} rows dropped as {reason}, {self.books} says {listed}"
                )

    def _check_ids(self) -> None:
        if "row_id" not in self.rows.columns:
            return
        ids = self.rows["row_id"]
        if ids.null_count():
            self.report.find(self.state.folder, f"{ids.null_count()} rows have no id")
        twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
        if len(twice):
            some = ", ".join(str(one) for one in twice.head(3))
            self.report.find(
                self.state.folder, f"{len(twice)} row ids stand more than once: {some}"
            )

    def _check_books(self) -> None:
        """Each part's sum, and the totals that `stage.json` spells out for people."""
        for number, part in enumerate(self.state.parts):
            if part.candidates != part.kept.rows + part.dropped.rows:
                self.report.find(
                    self.books,
                    f"part {number} has {part.candidates} candidates, and {part.kept.rows} kept + "
                    f"{part.dropped.rows} dropped",
                )
        tree = json.loads((self.run.path / self.books).read_bytes())
        if StageManifest.model_validate(tree) != self.state:
            return  # the run is at work and has gone on
        for name in ("candidates", "kept", "dropped", "dropped_by_reason"):
            says, counted = tree.get(name), getattr(self.state, name)
            if says != counted:
                self.report.find(self.books, f"{name} says {says}, its parts sum up to {counted}")
        target = self.state.settings.get("target")
        is_done = isinstance(self.kind, DraftStage) and self.state.complete
        if is_done and target is not None and self.state.kept < int(target):
            self.report.find(self.books, f"complete with {self.state.kept} rows of {target}")

    def _check_extra_files(self, *, is_at_work: bool) -> None:
        listed = {entry.path for part in self.state.parts for entry in (part.kept, part.dropped)}
        folder = self.run.path / self.state.folder
        for half in HALVES:
            for path in sorted((folder / half).glob("*")):
                name = path.relative_to(folder).as_posix()
                if name in listed:
                    continue
                if self.state.complete:
                    self.report.find(
                        f"{self.state.folder}/{name}", f"{self.books} does not list it"
                    )
                elif not is_at_work:
                    self.report.notes.append(
                        f"{self.state.folder}/{name} is not listed: left by a process that was cut "
                        "off, written again by the next."
                    )

    def compare_with_input(self, before: _Stage, *, is_finished: bool) -> None:
        """Whether every row that the stage before kept was looked at, and no other."""
        if not (self.is_readable and before.is_readable) or self.kind is None:
            return
        if self.state.exported is not None:
            return
        if isinstance(self.kind, DraftStage | ImportStage):
            self.report.find(self.books, "a stage that starts a recipe stands after another")
            return
        received = before.state.kept
        if (
            isinstance(self.kind, FilterStage)
            and self.state.input_digest != before.state.kept_digest
        ):
            if is_finished:
                self.report.find(
                    self.books, f"made from other shards than {before.state.folder} has"
                )
            return
        if self.state.next_slot > received or (
            self.state.complete and is_finished and self.state.next_slot < received
        ):
            self.report.find(
                self.books, f"received {self.state.next_slot} rows, {before.books} kept {received}"
            )
        ids = before.kept_ids if before.rows.width else pl.Series("row_id", [], pl.String)
        for number, part in enumerate(self.state.parts):
            self._compare_part(
                number, part, ids.slice(part.first_slot, part.next_slot - part.first_slot)
            )

    def _compare_part(self, number: int, part: Part, received: pl.Series) -> None:
        rows = self.rows.filter(part=number) if self.rows.width else self.rows
        makes_rows = isinstance(self.kind, LLMStage) and self.kind.makes_rows
        column = "parent_id" if makes_rows else "row_id"
        if column not in rows.columns:
            return
        where = f"{self.state.folder}/{part.kept.path}"
        missing = received.filter(~received.is_in(rows[column].implode()))
        if len(missing):
            self.report.find(
                where,
                f"{len(missing)} rows received are neither kept nor dropped, {missing[0]} first",
            )
        strange = rows[column].filter(~rows[column].is_in(received.implode()))
        if len(strange):
            self.report.find(where, f"{len(strange)} rows were not received, {strange[0]} first")
        if not makes_rows and rows.height != len(received):
            self.report.find(where, f"{len(received)} rows received, {rows.height} kept or dropped")

    def check_slots(self) -> None:
        """In a stage that drafts or imports, every slot gave at least one candidate."""
        if not isinstance(self.kind, DraftStage | ImportStage) or not self.is_readable:
            return
        for number, part in enumerate(self.state.parts):
            where = f"{self.state.folder}/{part.kept.path}"
            rows = self.rows.filter(part=number)
            wanted = part.next_slot - part.first_slot
            if isinstance(self.kind, ImportStage):
                if rows.height != wanted:
                    self.report.find(
                        where, f"{wanted} rows were read, {rows.height} kept or dropped"
                    )
                continue
            slots = rows["row_id"].str.extract(r"-(\d+)-\d+$").cast(pl.Int64, strict=False)
            expected = pl.int_range(part.first_slot, part.next_slot, eager=True)
            missing = expected.filter(~expected.is_in(slots.implode()))
            if len(missing):
                self.report.find(
                    where, f"{len(missing)} slots gave no candidate, slot {missing[0]} first"
                )
            if not slots.is_between(part.first_slot, part.next_slot - 1).all():
                self.report.find(where, "rows of slots that are not in this part")


def _read(
    run: Path, where: str, entry: FileEntry, wanted: pa.Schema | None, report: Report
) -> pa.Table | None:
    """One listed file, whole, compared with its entry; null where it cannot be read."""
    try:
        content = (run / where).read_bytes()
    except OSError as error:
        report.find(where, f"listed, and cannot be read: {error.strerror}")
        return None
    report.files += 1
    report.bytes += len(content)
    if len(content) != entry.bytes:
        report.find(where, f"{len(content)} bytes, {entry.bytes} are listed")
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        report.find(where, f"SHA-256 is {digest[:16]}..., {entry.sha256[:16]}... is listed")
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        report.find(where, f"cannot be read: {error}")
        return None
    report.rows += table.num_rows
    if table.num_rows != entry.rows:
        report.find(where, f"{table.num_rows} rows, {entry.rows} are listed")
    if wanted is not None and not table.schema.equals(wanted):
        report.find(
            where, f"the columns are {_named(table.schema)}, they should be {_named(wanted)}"
        )
    version = (table.schema.metadata or {}).get(b"synth.schema", b"none").decode(errors="replace")
    if wanted is not None and wanted.metadata and version != str(schema.VERSION):
        report.find(where, f"schema version {version}, it should be {schema.VERSION}")
    return table


def _named(found: pa.Schema) -> str:
    return ", ".join(f"{one.name} {one.type}" for one in found)


def _find_bad_manifests(folder: Path, report: Report) -> None:
    for path in (folder / "run.json", *sorted(folder.glob("stages/*/stage.json"))):
        try:
            if path.name == "run.json":
                manifest.read(RunManifest, path)
            else:
                manifest.read(StageManifest, path)
        except SynthError as error:
            report.find(path.relative_to(folder).as_posix(), str(error))


def _check_journal(run: Run, counted: list[_Stage], report: Report) -> None:
    """Numbers, CRCs, and a reply to every request that a row names."""
    asking = [stage for stage in counted if isinstance(stage.kind, DraftStage | LLMStage)]
    for stage in counted:
        stage.check_slots()
    if not asking:
        return
    own: set[str] = set()  # stages with records in this run's own journal
    answered: set[bytes] = set()
    last = 0
    for number, member in enumerate(run.lineage):
        path = member.path / "journal.sqlite"
        name = "journal.sqlite" if number == 0 else str(path)
        if not path.is_file():
            report.find(name, "not there")
            continue
        try:
            with JournalReader(path) as reader:
                for complaint in reader.complaints():
                    report.find(name, complaint)
                stages, highest = _check_records(reader, name, answered, report)
                if number == 0:
                    own, last = stages, highest
                    _check_usage(reader, [one for one in asking if one.state.name in own], report)
        except DamagedError as error:
            report.find(name, str(error))
    for stage in asking:
        is_copied = run.manifest.made_from is not None and stage.state.name not in own
        if is_copied and run.lineage[-1].manifest.made_from is not None:
            report.notes.append(
                f"{stage.state.folder} was copied from {run.manifest.made_from}, which is not "
                "there any more: its requests cannot be looked up."
            )
            continue
        _check_requests(stage, answered, report)
        used = max((part.journal for part in stage.state.parts), default=0)
        if used > last and not is_copied:
            report.find("journal.sqlite", f"ends at record {last}, {stage.books} used {used}")


def _check_records(
    reader: JournalReader, name: str, answered: set[bytes], report: Report
) -> tuple[set[str], int]:
    stages: set[str] = set()
    last = 0
    for number, record in reader.records():
        report.records += 1
        if number != last + 1:
            gap = (
                f"record {last + 1} is"
                if number == last + 2
                else f"records {last + 1} to {number - 1} are"
            )
            report.find(name, f"{gap} missing")
        last = number
        if record is None:
            report.find(name, f"record {number} is damaged: its CRC does not hold")
        else:
            stages.add(record.stage)
            if record.kind != INTENT:
                answered.add(record.key)
    return stages, last


def _check_usage(reader: JournalReader, stages: list[_Stage], report: Report) -> None:
    for stage in stages:
        if not stage.state.complete:
            continue
        counted = {
            model: (replies, requests, n_in, n_out, unknown)
            for model, requests, replies, n_in, n_out, unknown in reader.usage(stage.state.name)
        }
        listed = {
            one.model: (
                one.replies,
                one.requests,
                one.input_tokens,
                one.output_tokens,
                one.unknown_usage,
            )
            for one in stage.state.usage
        }
        for model in sorted(counted.keys() | listed.keys(), key=str):  # a damaged note has none
            if counted.get(model) != listed.get(model):
                report.find(
                    stage.books,
                    f"usage of {model} says {listed.get(model)}, the journal {counted.get(model)} "
                    "(replies, requests, input tokens, output tokens, replies without usage)",
                )


def _check_requests(stage: _Stage, answered: set[bytes], report: Report) -> None:
    """The last request of a row is the one that this stage made for it."""
    if "requests" not in stage.rows.columns:
        return
    last = stage.rows.select(
        "row_id", "part", "is_kept", pl.col("requests").list.last().alias("last")
    )
    fields = last.select(
        "row_id",
        "part",
        "is_kept",
        pl.col("last").struct.field("stage"),
        pl.col("last").struct.field("key"),
    )
    for (part, is_kept), rows in fields.group_by("part", "is_kept", maintain_order=True):
        entry = stage.state.parts[int(str(part))]
        where = f"{stage.state.folder}/{entry.kept.path if is_kept else entry.dropped.path}"
        other = rows.filter(pl.col("stage").ne_missing(stage.state.name))
        if other.height:
            report.find(
                where,
                f"{other.height} rows name no request of this stage, {other['row_id'][0]} first",
            )
        unknown = [
            row_id
            for row_id, name, key in rows.select("row_id", "stage", "key").iter_rows()
            if name == stage.state.name and _key(key) not in answered
        ]
        if unknown:
            report.find(
                where,
                f"no reply in the journal for {len(unknown)} rows, {unknown[0]} first",
            )


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _check_run_manifest(run: Run, report: Report) -> None:
    state = run.manifest
    begun = [stage.folder for stage in run.stage_manifests]
    for folder in begun:
        if folder not in state.stages:
            report.find(folder, "run.json does not list this stage")
    for stage in run.stage_manifests:
        if not stage.complete:
            report.find(f"{stage.folder}/stage.json", "not complete, in a run that is finished")
    if run.stage_manifests and state.kept != run.stage_manifests[-1].kept:
        report.find(
            "run.json", f"kept says {state.kept}, {begun[-1]} has {run.stage_manifests[-1].kept}"
        )
    lines = [
        f"{stage.folder}/{entry.path} {entry.sha256}"
        for stage in run.stage_manifests
        for part in stage.parts
        for entry in (part.kept, part.dropped)
    ]
    lines += [f"{entry.path} {entry.sha256}" for entry in state.data]
    if state.digest != hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest():
        report.find("run.json", "its digest is not that of the listed files")


def _check_export(run: Run, counted: list[_Stage], report: Report) -> None:
    """`data/`: each configuration holds the kept rows of the last stage, split by root."""
    exports = [stage for stage in counted if stage.state.exported is not None]
    held: dict[tuple[str, str], list[str]] = {}
    is_readable = True
    for entry in run.manifest.data:
        _, form, name = (*entry.path.split("/"), "", "")[:3]
        table = _read(run.path, entry.path, entry, export.SCHEMAS.get(form), report)
        if table is None or "row_id" not in table.column_names:
            is_readable = False
            continue
        held.setdefault((form, name.split("-")[0]), []).extend(table["row_id"].to_pylist())
    listed = {entry.path for entry in run.manifest.data}
    for path in sorted((run.path / "data").glob("*/*")):
        if (name := path.relative_to(run.path).as_posix()) not in listed:
            report.find(name, "run.json does not list it")
    if not exports:
        return
    sources = [stage for stage in counted if stage.state.parts]
    if not sources or not sources[-1].is_readable or not is_readable:
        return
    source, stage = sources[-1], exports[-1]
    if stage.state.exported != source.state.kept:
        report.find(stage.books, f"exported {stage.state.exported} rows of {source.state.kept}")
    config = export.Config.model_validate(stage.state.settings)
    seed = int(run.manifest.identity.get("seed", 0))
    expected: dict[str, list[str]] = {"train": [], "validation": []}
    for row_id, root_id in _roots(source.rows):
        expected[export.split(root_id or row_id, seed, config)].append(row_id)
    for form in export.SCHEMAS:
        for side, ids in expected.items():
            found = held.get((form, side), [])
            if found != ids:
                report.find(
                    f"data/{form}/{side}-*.parquet",
                    f"{len(found)} rows, not the {len(ids)} that {source.state.folder} has for it",
                )


def _roots(rows: pl.DataFrame) -> Iterator[tuple[str, str | None]]:
    if rows.width:
        kept = rows.filter("is_kept")
        yield from kept.select("row_id", "root_id").iter_rows()


def _check_inputs(run: Run, report: Report) -> None:
    """The seed tasks and templates in `inputs/` are those that the run was made with."""
    for setting, digest in run.manifest.identity.items():
        if setting == "seeds":
            name = "inputs/seeds.jsonl"
        elif setting.startswith("prompts."):
            name = f"inputs/{setting.removeprefix('prompts.')}.md"
        else:
            continue
        try:
            found = hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        except OSError as error:
            report.find(name, f"cannot be read: {error.strerror}")
            continue
        if found != digest:
            report.find(name, "not what the run was made with: its SHA-256 differs")
