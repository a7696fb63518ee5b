"""What a stage asked of each model, as its books say it: the journal's sums with their price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.manifest import Tokens
from pipeline.teacher.ledger import Spend
from pipeline.teacher.settings import Price


def priced(
    sums: Iterable[tuple[str, int, int, int, int, int]], prices: Mapping[str, Price]
) -> list[Tokens]:
    """One entry a model, in order; `sums` are what a journal's `usage` gives.

    `cost_usd` is null where the model has no price.
    """
    found = []
    for model, requests, replies, n_in, n_out, unknown in sums:
        price = prices.get(model)
        cost = None if price is None else Spend(n_in, n_out).usd(price)
        found.append(
            Tokens(
                model=model,
                replies=replies,
                requests=requests,
                input_tokens=n_in,
                output_tokens=n_out,
                unknown_usage=unknown,
                cost_usd=None if cost is None else str(cost),
            )
        )
    return found
