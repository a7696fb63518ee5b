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

        Raises `BrokenStageError` where one cause fails too often, and `MemoryError`.
        """
        try:
            result = act()
        except (SynthError, MemoryError):  # want of memory is the machine's, not the row's
            raise
        except Exception as error:  # noqa: BLE001 - the one place where a row's failure is caught
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

        Those are dropped as `error_filter`. A filter that compares rows then sees only the rows of
        its half.
        """
        found = self.call("error_filter", lambda: act(frame), rows=frame.height)
        if isinstance(found, pl.DataFrame):
            return found
        if frame.height == 1:
            return verdict([found.reason], [found.detail])
        self._recent.pop()  # the halves count, not the whole
        half = frame.height // 2
        halves = (self.judge(frame[:half], act), self.judge(frame[half:], act))
        return pl.concat(halves, how="diagonal")  # a row that fails was compared with none

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
