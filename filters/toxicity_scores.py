"""How toxic a classifier finds a row, by the six classes of the Jigsaw challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import polars as pl

from filters.bounds import Share
from filters.verdict import verdict

Class = Literal["toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_hate"]
HALF: Mapping[Class, float] = {
    "toxicity": 0.5,
    "severe_toxicity": 0.5,
    "obscene": 0.5,
    "threat": 0.5,
    "insult": 0.5,
    "identity_hate": 0.5,
}


def toxicity_scores(
    toxicity: pl.Series,
    severe_toxicity: pl.Series,
    obscene: pl.Series,
    threat: pl.Series,
    insult: pl.Series,
    identity_hate: pl.Series,
    *,
    at_most: Mapping[Class, Share] = HALF,
) -> pl.DataFrame:
    """Drop rows with a score, 0 to 1, above that of their class in `at_most`.

    A class that it does not name is not looked at, nor is a null. The reason is `toxic_` and the
    class that is furthest above, the first of equals. Returns one row an entry, in order: `reason`
    (String, null where the row is kept) and `detail` (String: the scores that are above, and the
    bounds; null where the row is kept).
    """
    columns = (toxicity, severe_toxicity, obscene, threat, insult, identity_hate)
    scores = [one.to_list() for one in columns]
    reasons: list[str | None] = []
    details: list[str | None] = []
    for row in zip(*scores, strict=True):
        over = [
            (score - at_most[name], name, score)
            for name, score in zip(HALF, row, strict=True)
            if score is not None and name in at_most and score > at_most[name]
        ]
        worst = max(over, key=lambda one: one[0], default=None)
        reasons.append(None if worst is None else f"toxic_{worst[1]}")
        said = (f"{name} {score:.4f} above {at_most[name]}" for _, name, score in over)
        details.append(", ".join(said) or None)
    return verdict(reasons, details)
