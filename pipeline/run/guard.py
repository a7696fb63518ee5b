"""A row that our own code, or a user's filter, fails on is dropped and the run goes on.

Reasons begin with `error_`; the detail names the exception and a hash of its traceback, so that
equal failures count as one cause. Where one cause takes more than a share of the last thousand rows
the run ends: that is no longer a poisoned row but a broken stage.
"""

from __future__ import annotations

import hashlib
import os
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

import polars as pl

from filters.verdict import verdict
from pipeline import redact
from pipeline.errors import BrokenStageError, SynthError
from pipeline.shortage import shortage
from pipeline.stage import Drop

RECENT = 1000
AT_LEAST = 11
SHARE = 0.01

T = TypeVar("T")


class Guard:
    """Runs the functions of one stage and counts what they fail on."""

    def __init__(self, stage: str, own: Collection[str] = ()) -> None:
        """`stage` is named in messages; `own` are the files of the user's that it runs."""
        self._stage = stage
        self._own = {os.path.realpath(path) for path in own}
        self._recent: deque[str] = deque(maxlen=RECENT)

    def call(self, reason: str, act: Callable[[], T], *, rows: int = 1) -> T | Drop:
        """What `act` returns for `rows` rows, or a drop for `reason` where it raises.

        Raises `BrokenStageError` where one cause fails too often, and what says that the machine
        lacks something.
        """
        try:
            result = act()
        except SynthError:
            raise
        except Exception as error:
            if shortage(error):  # want of memory, say, is the machine's, not the row's
                raise
            return self.failed(reason, error)
        self._recent.extend([""] * min(rows, RECENT))
        return result

    def failed(self, reason: str, error: Exception) -> Drop:
        """The drop for an exception, counted."""
        cause, said = _cause(error)
        self._recent.append(cause)
        n = Counter(self._recent)[cause]
        if n >= AT_LEAST and n > SHARE * len(self._recent):
            raise BrokenStageError(
                f"{self._stage} fails on {n} of the last {len(self._recent)} rows with {cause}: "
                f"{said}{self._where(error)}. Mend it, or take it out of the recipe, and make a "
                "new run with --from, which asks nothing again."
            ) from error
        return Drop(reason, f"{cause}: {said}")

    def _where(self, error: Exception) -> str:
        """At which line of the user's files it was raised, or of those that they called."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if os.path.realpath(frame.filename) in self._own]
        at = (own or frames)[-1]
        return f" (line {at.lineno} of {at.filename})"

    def judge(
        self, frame: pl.DataFrame, act: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> pl.DataFrame:
        """Verdicts for a frame; where `act` raises, it is halved down to the rows at fault.

        Those are dropped as `error_filter`, and all others are judged together once more, as a
        filter that compares rows needs them. Raises `BrokenStageError` where no row is at fault.
        """
        found = self.call("error_filter", lambda: act(frame), rows=frame.height)
        if isinstance(found, pl.DataFrame):
            return found
        at_fault = self._at_fault(frame, found, act)
        if not at_fault:
            raise BrokenStageError(
                f"{self._stage} fails on {frame.height} rows together, on none of them alone: "
                f"{found.detail}. Mend it, or take it out of the recipe, and make a new run with "
                "--from, which asks nothing again."
            )
        at = pl.Series("at", range(frame.height), dtype=pl.Int64)
        is_left = ~at.is_in(list(at_fault))
        drops = at_fault.values()
        gone = verdict([drop.reason for drop in drops], [drop.detail for drop in drops])
        left = self.judge(frame.filter(is_left), act)
        judged = (
            gone.with_columns(pl.Series("at", list(at_fault), dtype=pl.Int64)),
            left.with_columns(at.filter(is_left)),
        )
        return pl.concat(judged, how="diagonal").sort("at").drop("at")

    def _at_fault(
        self, frame: pl.DataFrame, failed: Drop, act: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> dict[int, Drop]:
        """The rows, by their places, on which alone `act` fails; it has `failed` on all of them."""
        if frame.height <= 1:
            return dict.fromkeys(range(frame.height), failed)
        self._recent.pop()  # the halves count, not the whole
        found: dict[int, Drop] = {}
        half = frame.height // 2
        for first, part in ((0, frame[:half]), (half, frame[half:])):
            said = self.call("error_filter", partial(act, part), rows=part.height)
            if isinstance(said, Drop):
                inside = self._at_fault(part, said, act)
                found |= {first + at: drop for at, drop in inside.items()}
        return found

    def judge_parts(self, act: Callable[[], pl.DataFrame]) -> pl.DataFrame | None:
        """Verdicts for rows that are not all in memory; null where a row is at fault.

        Which one `judge` then finds. What the machine lacks, a disk too, is no fault of a row.
        """
        try:
            return act()
        except (SynthError, OSError):
            raise
        except Exception as error:
            if shortage(error):
                raise
            return None


def _cause(error: Exception) -> tuple[str, str]:
    """The exception by name and place, the same for equal failures; and what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    places = "\n".join(f"{frame.name}:{frame.line}" for frame in frames)
    digest = hashlib.sha256(places.encode()).hexdigest()[:8]
    said = " ".join(redact.text(str(error)).split())[:120]
    return f"{type(error).__name__} in {frames[-1].name} ({digest})", said
