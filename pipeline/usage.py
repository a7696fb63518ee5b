"""What a stage asked of each model, as its books say it: the journal's sums with their price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.manifest import Tokens
from pipeline.teacher.journal import ModelUsage
from pipeline.teacher.ledger import Spend
from pipeline.teacher.settings import Price


def priced(sums: Iterable[ModelUsage], prices: Mapping[str, Price]) -> list[Tokens]:
    """One entry a model, in order; `sums` are what a journal's `usage` gives.

    `cost_usd` is null where the model has no price.
    """
    found = []
    for one in sums:
        price = prices.get(one.model)
        cost = None if price is None else Spend(one.input_tokens, one.output_tokens).usd(price)
        found.append(Tokens(**one._asdict(), cost_usd=None if cost is None else str(cost)))
    return found
