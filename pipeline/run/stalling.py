"""Notice that a stage which drafts hardly finds anything new any more, and say why."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from pipeline.stages.drafts import DraftConfig

REPLIES = 200
"""Nothing is decided from fewer replies than these."""
BARREN = 100
"""So many replies in a row without one item in them count as `stall_after` items do."""


class RecentReplies:
    """What became of the items of the last replies: at least `REPLIES`, and `stall_after` items."""

    def __init__(self, config: DraftConfig) -> None:
        """Begin without a reply."""
        self.config = config
        self.items = self.kept = 0
        self.barren = 0
        self.dropped: Counter[str] = Counter()
        self._replies: deque[tuple[int, list[str]]] = deque()

    def add(self, kept: int, dropped: Iterable[str], *, is_barren: bool) -> None:
        """Take the items of the next reply: how many were kept, and why others were dropped."""
        reasons = list(dropped)
        self._replies.append((kept, reasons))
        self.barren = self.barren + 1 if is_barren else 0
        self.kept += kept
        self.items += kept + len(reasons)
        self.dropped.update(reasons)
        while len(self._replies) > REPLIES and self.items > (self.config.stall_after or 0):
            old_kept, old_reasons = self._replies.popleft()
            self.kept -= old_kept
            self.items -= old_kept + len(old_reasons)
            self.dropped.subtract(old_reasons)

    def are_stalled(self) -> bool:
        """Whether there are enough of them to say that hardly an item is kept."""
        after = self.config.stall_after
        if after is None or len(self._replies) < REPLIES:
            return False
        is_enough = self.items >= after or self.barren >= BARREN
        return is_enough and self.kept < self.config.stall_below * self.items

    def reasons(self) -> str:
        """The three most frequent reasons of what was dropped, each with its count."""
        return ", ".join(f"{reason} {n}" for reason, n in self.dropped.most_common(3) if n)

    def suggestion(self, show: str) -> str:
        """What to try, by the first of the reasons; `show` is the command that shows rows."""
        if next(iter(self.dropped.most_common(1)), ("", 0))[0] == "not_novel":
            return "Raise the temperature or add seed tasks in a new run"
        return f"Read some with  {show}  and change the prompt in a new run"
