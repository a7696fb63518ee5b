"""Notice that a stage which asks hardly gets anything of use any more, and say why.

There are three signs, each with its setting: hardly an item is kept (`stall_below`), the replies
repeat one another (`stall_distinct_below`), or much of the budget went since a row was last kept
(`stall_spend_above`). The last two are for stages that draft alone. All are told from replies in
the order of their slots, so that a resumed run decides as one that was never stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Literal

from pipeline.stage import AskingConfig
from pipeline.stages.drafts import DraftConfig
from pipeline.teacher.ledger import Bought

STALLED = "stalled"
"""Why a stage ended short, in its books."""
BROKEN = "failed"
"""The same where its code failed, or did not come back."""
REPLIES = 200
"""Nothing is decided from fewer replies than these."""
NO_PROTOCOL = ("bad_envelope", "no_choices", "no_vector")
"""Reasons that no model gives: the body of the reply had another form."""
GO_ON = "; --no-stall-stop goes on with this one."
BARREN = 100
"""So many replies in a row without one item in them, or rows of which nothing was kept, count as
`stall_after` items do."""

Sign = Literal["stall_below", "stall_distinct_below", "stall_spend_above"]


class RecentReplies:
    """What became of the items of the last replies: at least `REPLIES`, and `stall_after` items.

    `share` says what part of the budget something takes. `since_kept` are the replies since a row
    was kept, and `bought_since_kept` what was bought for them.
    """

    def __init__(
        self, config: DraftConfig, share: Callable[[Bought], Decimal] = lambda _: Decimal(0)
    ) -> None:
        """Begin without a reply."""
        self.config = config
        self.items = self.kept = 0
        self.barren = self.since_kept = 0
        self.bought_since_kept = Bought()
        self.dropped: Counter[str] = Counter()
        self._share = share
        self._replies: deque[tuple[int, list[str], bytes]] = deque()
        self._distinct: Counter[bytes] = Counter()

    def add(
        self,
        kept: int,
        dropped: Iterable[str],
        *,
        is_barren: bool,
        text: str,
        bought: Bought | None = None,
    ) -> None:
        """Take the items of the next reply: how many were kept, and why others were dropped.

        `text` is the reply's, or the name of what came instead; `bought` what its slot cost.
        """
        reasons = list(dropped)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        self._replies.append((kept, reasons, digest))
        self._distinct[digest] += 1
        self.barren = self.barren + 1 if is_barren else 0
        if kept:
            self.since_kept, self.bought_since_kept = 0, Bought()
        else:
            self.since_kept += 1
            self.bought_since_kept += bought or Bought()
        self.kept += kept
        self.items += kept + len(reasons)
        self.dropped.update(reasons)
        while len(self._replies) > REPLIES and self.items > (self.config.stall_after or 0):
            self._forget(*self._replies.popleft())

    def _forget(self, kept: int, reasons: list[str], digest: bytes) -> None:
        self.kept -= kept
        self.items -= kept + len(reasons)
        self.dropped.subtract(reasons)
        self._distinct[digest] -= 1
        if not self._distinct[digest]:
            del self._distinct[digest]

    def sign(self) -> Sign | None:
        """The setting by which the stage is stalled; null while it is well, or too little came."""
        after, n = self.config.stall_after, len(self._replies)
        if after is None or n < REPLIES or (self.items < after and self.barren < BARREN):
            return None
        if self.kept < self.config.stall_below * self.items:
            return "stall_below"
        if self.since_kept < REPLIES:
            return None
        if len(self._distinct) < self.config.stall_distinct_below * n:
            return "stall_distinct_below"
        above = Decimal(str(self.config.stall_spend_above))
        return "stall_spend_above" if self._share(self.bought_since_kept) > above else None

    def said(self, sign: Sign) -> str:
        """What was seen, as a sentence goes on that begins with the stage's name."""
        bound = f"{sign} is {getattr(self.config, sign):g}"
        if sign == "stall_below":
            return f"keeps {self.kept} of the last {self.items} items ({bound})"
        if sign == "stall_distinct_below":
            n, distinct = len(self._replies), len(self._distinct)
            return f"got {distinct} distinct replies among the last {n} ({bound})"
        share = self._share(self.bought_since_kept)
        return f"spent {share:.1%} of the budget since it last kept a row ({bound})"

    def reasons(self) -> str:
        """The three most frequent reasons of what was dropped, each with its count."""
        return most_frequent(self.dropped)

    def suggestion(self, show: str, sign: Sign = "stall_below") -> str:
        """What to do, by the first of the reasons; `show` is the command that shows rows."""
        if sign == "stall_distinct_below":
            return (
                "Raise the temperature, or see to it that the server caches no reply, in a new "
                f"run{GO_ON}"
            )
        if next(iter(_by_count(self.dropped)), ("", 0))[0] == "not_novel":
            return f"Raise the temperature or add seed tasks in a new run{GO_ON}"
        return what_to_try(self.dropped, show)


class RecentRows:
    """What became of the last rows that a teacher was asked about.

    As many rows as have `stall_after` items, and no more rows than that. An item is what a stage
    that makes rows tried to make, or the row itself. It is all told from these rows alone, so that
    a resumed run needs no others.
    """

    def __init__(self, config: AskingConfig) -> None:
        """Begin without a row."""
        self.config = config
        self.items = self.given = 0
        self.dropped: Counter[str] = Counter()
        self.most = max(REPLIES, config.stall_after or 0)
        self._rows: deque[tuple[int, list[str]]] = deque()

    def add(self, given: int, dropped: Iterable[str]) -> None:
        """Take the next row: how much came of it, and why the rest was dropped.

        A row that says nothing about the teacher has neither.
        """
        reasons = list(dropped)
        self._rows.append((given, reasons))
        self.items += given + len(reasons)
        self.given += given
        self.dropped.update(reasons)
        while len(self._rows) > self.most or self.items - self._oldest_items() >= self.most:
            self._forget(*self._rows.popleft())

    def _oldest_items(self) -> int:
        given, reasons = self._rows[0]
        return given + len(reasons)

    def _forget(self, given: int, reasons: list[str]) -> None:
        self.items -= given + len(reasons)
        self.given -= given
        self.dropped.subtract(reasons)

    def is_stalled(self) -> bool:
        """Whether less than `stall_below` was given, and nothing among the last `REPLIES` items."""
        after = self.config.stall_after
        if after is None or self.given >= self.config.stall_below * self.items:
            return False
        since_given = barren = 0
        for given, reasons in reversed(self._rows):
            if given:
                break
            since_given += len(reasons)
            barren += bool(reasons)
        return since_given >= REPLIES and (self.items >= after or barren >= BARREN)

    def reasons(self) -> str:
        """The three most frequent reasons of what was dropped, each with its count."""
        return most_frequent(self.dropped)


def _by_count(dropped: Mapping[str, int]) -> list[tuple[str, int]]:
    counted = [(reason, n) for reason, n in dropped.items() if n]
    return sorted(counted, key=lambda one: (-one[1], one[0]))


def most_frequent(dropped: Counter[str]) -> str:
    """The three most frequent reasons, each with its count."""
    return ", ".join(f"{reason} {n}" for reason, n in _by_count(dropped)[:3])


def is_no_teacher(dropped: Mapping[str, int]) -> bool:
    """Whether most replies had no form of the protocol: the address is that of something else."""
    return next(iter(_by_count(dropped)), ("", 0))[0] in NO_PROTOCOL


def what_to_try(dropped: Mapping[str, int], show: str, role: str = "teacher") -> str:
    """What to do where nothing better is known; `show` is the command that shows rows."""
    if is_no_teacher(dropped):
        return (
            "What answers there does not speak the OpenAI protocol: mend the address in a new run "
            f"(--{role} openai:MODEL@URL; most end in /v1). Read what was said with  {show}"
        )
    return f"Read some with  {show}  and change the prompt in a new run{GO_ON}"
