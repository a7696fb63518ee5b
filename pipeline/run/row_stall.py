"""Stop a stage that asks about every row where the teacher hardly gives what it is asked for.

Told from the rows in their order, as they are committed or as they stand in the shards. Only what a
teacher was asked for counts: a row that is dropped without a request, one that our own code failed
on, and one by which the teacher did not fail (`decisions` of the stage) is no sign of it. So a
judge that rates low, and a reference that is missed, stop nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline import store
from pipeline.errors import StallError
from pipeline.manifest import HALVES, Part
from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.stalling import STALLED, RecentRows, what_to_try
from pipeline.stage import NOT_ASKED, AskingConfig, Row, RowStage, role_of
from pipeline.store import StageFolder

PURGED = "purged"


@dataclass(slots=True)
class _Fate:
    """What became of a row: how many entries were given, and why others were dropped."""

    given: int = 0
    dropped: list[str] = field(default_factory=list)


class RowStall:
    """Watches one stage while its rows are committed."""

    def __init__(self, context: Context, step: Step, folder: StageFolder) -> None:
        """Take up what the published shards say."""
        assert isinstance(step.stage, RowStage)
        self._context = context
        self._step = step
        self._folder = folder
        self._stage = step.stage
        self._is_on = (
            isinstance(step.config, AskingConfig)
            and step.config.stall_after is not None
            and not context.prepared.may_stall
            and not context.prepared.is_replay
        )
        self._recent = self._look_back(folder.state.parts)

    def raise_if_still_stalled(self) -> None:
        """Raise `StallError` where the stage ended so before: more would be the same."""
        if not self._is_on or self._folder.state.stopped != STALLED:
            return
        parts = self._folder.published
        found = self._look_back(parts)
        if found.is_stalled():
            said = "stalled before, and nothing was asked now: it "
            raise self._error(found, parts[-1].next_slot, said)

    def note(self, before: Row, kept: Sequence[Row], dropped: Sequence[Row]) -> None:
        """Take what was just committed of the row `before`; raise `StallError` if that is it."""
        if not self._is_on:
            return
        fate, n_before = _Fate(), len(before.get("requests") or ())
        for row in kept:
            self._count(fate, len(row["requests"]) > n_before, None)
        for row in dropped:
            self._count(fate, len(row["requests"]) > n_before, row["drop_reason"])
        self._recent.add(fate.given, fate.dropped)
        if self._recent.is_stalled():
            raise self._error(self._recent, self._folder.next_slot)

    def _count(self, fate: _Fate, is_asked: bool, reason: str | None) -> None:
        if not is_asked:
            return
        if reason is None or reason in self._stage.decisions:
            fate.given += 1
        elif reason not in (NOT_ASKED, PURGED) and not reason.startswith("error_"):
            fate.dropped.append(reason)

    def _look_back(self, parts: Sequence[Part]) -> RecentRows:
        """The last published rows, as the process that made them had them."""
        config = self._step.config
        recent = RecentRows(config if isinstance(config, AskingConfig) else AskingConfig())
        end = parts[-1].next_slot if parts else 0
        begin = max(end - recent.most, 0)
        if not self._is_on or begin == end:
            return recent
        fates = [_Fate() for _ in range(begin, end)]
        slots, n_before = self._received(begin, end)
        own = re.compile(rf"{re.escape(self._step.name)}-(\d+)-\d+")
        for row_id, n, reason in self._published([p for p in parts if p.next_slot > begin]):
            slot = slots.get(row_id)
            if slot is None:
                made = own.fullmatch(row_id)
                slot = int(made[1]) if made else -1
            if begin <= slot < end:
                self._count(fates[slot - begin], n > n_before[slot - begin], reason)
        for fate in fates:
            recent.add(fate.given, fate.dropped)
        return recent

    def _received(self, begin: int, end: int) -> tuple[dict[str, int], list[int]]:
        """The slots of the rows received by their ids, and how many requests each had before."""
        columns = [c for c in ("row_id", "requests") if c in self._context.input_columns()]
        rows = store.read_rows(self._context.input_shards(), columns, start=begin)
        slots, n_before = {}, []
        for slot, row in enumerate(itertools.islice(rows, end - begin), start=begin):
            slots[row["row_id"]] = slot
            n_before.append(len(row.get("requests") or ()))
        return slots, n_before

    def _published(self, parts: Sequence[Part]) -> Iterable[tuple[str, int, str | None]]:
        """Ids, numbers of requests and reasons (null: kept) of what stands in some parts."""
        for half in HALVES:
            paths = [self._folder.path / part.half(half).path for part in parts]
            columns = ["row_id", "requests", *(["drop_reason"] if half == "dropped" else [])]
            frame = store.read_frame(paths, columns)
            reasons = frame["drop_reason"] if half == "dropped" else [None] * frame.height
            counts = frame["requests"].list.len().fill_null(0)
            yield from zip(frame["row_id"], counts, reasons, strict=True)

    def _error(self, recent: RecentRows, through: int, said: str = "") -> StallError:
        """What was seen, the reasons, and one thing to try."""
        name, total = self._step.name, self._context.input_rows()
        if self._stage.makes_rows:
            seen = f"keeps {recent.given} of the last {recent.items} items"
        else:
            seen = f"gets what it asks for on {recent.given} of the last {recent.items} rows"
        show = f"synth show {self._context.run} {name} --dropped"
        return StallError(
            f"{name} {said}{seen} (stall_below is {recent.config.stall_below:g}), and is through "
            f"{through} of {total} rows; most were dropped as {recent.reasons()}. "
            f"{what_to_try(recent.dropped, show, role_of(self._stage))}"
        )
