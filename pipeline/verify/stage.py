"""One stage, recounted: its shards, its books, and the rows that it received."""

from __future__ import annotations

import json
import re

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.inspect import Run
from pipeline.manifest import HALVES, FileEntry, Half, Part, StageManifest
from pipeline.stage import (
    ChainStage,
    ComputedStage,
    DraftStage,
    ImportStage,
    RenderStage,
    RowStage,
)
from pipeline.stages import STAGES
from pipeline.verify import shard
from pipeline.verify.report import Report

NEEDED = ("row_id", "parent_id", "root_id", "copies", "requests", "drop_reason")


class CountedStage:
    """One stage while it is recounted: its rows, part by part."""

    def __init__(self, run: Run, state: StageManifest, report: Report) -> None:
        """Nothing is read before `recount`."""
        self.run = run
        self.state = state
        self.report = report
        self.kind = next((stage for stage in STAGES if stage.name == state.stage), None)
        self.is_readable = True
        self.rows = pl.DataFrame()  # NEEDED, `part`, `is_kept`; as far as there

    @property
    def books(self) -> str:
        """The manifest's name below the run."""
        return f"{self.state.folder}/stage.json"

    @property
    def kept_ids(self) -> pl.Series:
        """The ids of the kept rows, in order."""
        return self.rows.filter("is_kept")["row_id"]

    def recount(self, *, is_at_work: bool) -> CountedStage:
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
        if part is self.state.parts[-1] and self._is_being_replaced(where, entry):
            self.report.notes.append(f"{where} was being replaced by a longer part.")
            self.is_readable = False
            return None
        try:
            wanted = schema.arrow_schema(self.state.columns_of(half))
        except KeyError as error:
            self.report.find(self.books, str(error))
            wanted = None
        table = shard.read(self.run.path, where, entry, wanted, NEEDED, self.report)
        if table is None:
            self.is_readable = False
            return None
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        if "requests" in frame.columns:  # the last is this stage's own
            last = pl.col("requests").list.last().alias("request")
            frame = frame.with_columns(last).drop("requests")
        if half == "dropped" and "drop_reason" in frame.columns:
            self._check_reasons(where, frame, part)
        return frame

    def _is_being_replaced(self, where: str, entry: FileEntry) -> bool:
        """Whether a run that went on from a stop was killed with a shard renamed, not listed."""
        if self.state.complete or self.state.stopped is None:
            return False
        try:
            return int(pq.read_metadata(self.run.path / where).num_rows) > entry.rows
        except (pa.ArrowException, OSError):
            return False

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
        made = self.state.kept + self.state.dropped_by_reason.get("purged", 0)
        if is_done and target is not None and made < int(target):
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

    def compare_with_input(self, before: CountedStage, *, is_finished: bool) -> None:
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
            isinstance(self.kind, ComputedStage)
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
        makes_rows = isinstance(self.kind, RowStage) and self.kind.makes_rows
        column = "parent_id" if makes_rows else "row_id"
        if column not in rows.columns:
            return
        if makes_rows and isinstance(self.kind, ChainStage):
            column = "received"
            rows = rows.with_columns(received=self._received(rows, part, received))
        if isinstance(self.kind, RenderStage):  # a row received, or one that was made of it
            makes_rows, column = True, "received"
            own = pl.when(pl.col("row_id").is_in(received.implode())).then("row_id")
            rows = rows.with_columns(received=own.otherwise("parent_id"))
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

    def _received(self, rows: pl.DataFrame, part: Part, received: pl.Series) -> pl.Series:
        """The row that each row of a conversation is about: by its slot, or itself."""
        made_here = rf"^{re.escape(self.state.ids_begin_with)}-(\d+)-\d+$"
        slots = rows["row_id"].str.extract(made_here).cast(pl.Int64)
        places = dict(enumerate(received, start=part.first_slot))
        about = [places.get(slot) for slot in slots]
        return pl.Series([a or b for a, b in zip(about, rows["row_id"], strict=True)])

    def check_slots(self) -> None:
        """In a stage that drafts or imports, every slot gave at least one candidate."""
        if not isinstance(self.kind, DraftStage | ImportStage) or not self.is_readable:
            return
        for number, part in enumerate(self.state.parts):
            where = f"{self.state.folder}/{part.kept.path}"
            rows = self.rows.filter(part=number)
            wanted = part.next_slot - part.first_slot
            if isinstance(self.kind, ImportStage):
                if rows.height < wanted:  # one row of a file may make several
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
