"""What a run has spent, and whether it may spend more.

Three numbers, in integers of tokens by model: *confirmed* (replies that state their usage),
*unknown* (sent, and nobody can say what was billed: a timeout, a reset, a kill, a reply without
usage; valued at the worst case) and *reserved* (in flight, at the worst case). Before a request
leaves, confirmed + unknown + reserved + its own worst case must fit under every cap, so that no cap
is ever passed. Money is tokens times a decimal price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from pipeline.errors import BudgetError
from pipeline.teacher.call import Call
from pipeline.teacher.settings import Budget, Price
from pipeline.teacher.waiting_line import WaitingLine


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens of one or several requests."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Spend) -> Spend:
        """Both together."""
        return Spend(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )

    def __sub__(self, other: Spend) -> Spend:
        """What is left without the other."""
        return Spend(
            self.input_tokens - other.input_tokens, self.output_tokens - other.output_tokens
        )

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def usd(self, price: Price) -> Decimal:
        """Dollars at a price."""
        return (self.input_tokens * price.input + self.output_tokens * price.output) / 1_000_000


@dataclass(frozen=True, slots=True)
class Bought:
    """Replies and their tokens, those without usage at the worst case."""

    requests: int = 0
    spend: Spend = Spend()

    def __add__(self, other: Bought) -> Bought:
        """Both together."""
        return Bought(self.requests + other.requests, self.spend + other.spend)


def billed_at_most(call: Call) -> tuple[int, int]:
    """The bytes and messages that a call can be billed for.

    A measurement sends the answer twice, after its prompt and alone; one of a conversation does so
    with every answer, each after all that stands before it.
    """
    turns = call.body.get("messages", ())
    if call.kind != "score":
        return len(call.content), len(turns)
    n_bytes, n_messages = 2 * len(call.content), len(turns)
    before = 0
    for at, turn in enumerate(turns):
        size = len(turn["content"].encode())
        if turn["role"] == "assistant":
            n_bytes, n_messages = n_bytes + before + 2 * size, n_messages + at + 1
        before += size
    return n_bytes, n_messages


def worst_case(prompt_bytes: int, n_messages: int, max_tokens: int | None) -> Spend:
    """The most a request can be billed: a token a byte, 32 a message's frame, all its output.

    Byte-level tokenizers never make more tokens than there are bytes. Without `max_tokens` the
    output is counted as 0: such a stage is refused under a cap.
    """
    return Spend(prompt_bytes + 32 * (n_messages + 1), max_tokens or 0)


def _spends() -> dict[str, Spend]:
    return defaultdict(Spend)


@dataclass
class Ledger:
    """The books of one run, by model; lives as long as the process and starts from the journal."""

    budget: Budget
    prices: Mapping[str, Price]
    confirmed: dict[str, Spend] = field(default_factory=_spends)
    unknown: dict[str, Spend] = field(default_factory=_spends)
    reserved: dict[str, Spend] = field(default_factory=_spends)
    requests: int = 0
    in_flight: int = 0
    _line: WaitingLine = field(default_factory=WaitingLine)

    async def reserve(self, model: str, worst: Spend, place: int = 0) -> None:
        """Set the worst case of a request aside; waits while requests in flight may leave room.

        Who waits is served by `place`, the lowest first. Raises `BudgetError` once a cap is
        reached.
        """
        ticket = self._line.ticket()
        while True:
            is_behind = self._line.has_lower(place)
            reached = None if is_behind else self._over(model, worst)
            if not is_behind and reached is None:
                break
            if reached is not None and self.in_flight == 0:
                self._line.next()  # who waits behind it is told the same, or is smaller and fits
                raise BudgetError(
                    f"the budget is reached: {reached}. What was made is valid; raise the cap and "
                    "start the same command again to go on."
                )
            await self._line.wait(place, ticket)
        self.reserved[model] += worst
        self.requests += 1
        self.in_flight += 1
        self._line.next()  # there may be room for one more

    def settle(
        self,
        model: str,
        worst: Spend,
        actual: Spend | None,
        *,
        billed: bool = True,
        sent: bool = True,
    ) -> None:
        """Replace a reservation by `actual`; if that is null by its worst case, if `billed`.

        A request that was never `sent` is none.
        """
        self.reserved[model] -= worst
        self.in_flight -= 1
        if not sent:
            self.requests -= 1
        if actual is not None:
            self.confirmed[model] += actual
        elif billed:
            self.unknown[model] += worst
        self._line.next()

    def _over(self, model: str, worst: Spend) -> str | None:
        """Which cap the request would pass, in words; null where it fits."""
        budget = self.budget
        if not budget.is_capped:
            return None
        if budget.requests is not None and self.requests + 1 > budget.requests:
            return f"{self.requests} of {budget.requests} requests are sent"
        models = {*self.confirmed, *self.unknown, *self.reserved}
        taken = {name: self.taken(name) for name in models}
        taken[model] = taken.get(model, Spend()) + worst
        if budget.tokens is not None:
            tokens = sum(spend.tokens for spend in taken.values())
            if tokens > budget.tokens:
                return f"the next request could make it {tokens} of {budget.tokens} tokens"
        if budget.usd is not None:
            usd = sum((s.usd(self.prices[name]) for name, s in taken.items()), Decimal(0))
            if usd > budget.usd:
                return f"the next request could make it ${usd:.4f} of ${budget.usd}"
        return None

    def share(self, model: str, bought: Bought) -> Decimal:
        """What part of its cap this takes, of the cap that it takes most of; 0 without a cap."""
        budget, parts = self.budget, [Decimal(0)]
        if budget.requests is not None:
            parts.append(Decimal(bought.requests) / budget.requests)
        if budget.tokens is not None:
            parts.append(Decimal(bought.spend.tokens) / budget.tokens)
        if budget.usd is not None:
            parts.append(bought.spend.usd(self.prices[model]) / budget.usd)
        return max(parts)

    def taken(self, model: str) -> Spend:
        """Confirmed, unknown and reserved tokens of a model together."""
        none = Spend()
        books = (self.confirmed, self.unknown, self.reserved)
        return sum((book.get(model, none) for book in books), none)

    def load(self, rows: Iterable[tuple[str, str, int, int, int]]) -> None:
        """Start from the journal's sums: (book, model, requests, input tokens, output tokens)."""
        books: dict[str, Callable[[], dict[str, Spend]]] = {
            "confirmed": lambda: self.confirmed,
            "unknown": lambda: self.unknown,
        }
        for book, model, requests, n_in, n_out in rows:
            if book == "sent":
                self.requests += requests
            else:
                books[book]()[model] += Spend(n_in, n_out)
