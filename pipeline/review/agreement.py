"""How far people agree with the rules, with the judge, and with one another.

Source: Cohen 1960, "A coefficient of agreement for nominal scales": what is shared beyond chance.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.counted import counted
from pipeline.inspect import Run
from pipeline.review.books import marks
from pipeline.review.sheet import ended

RATED_GOOD = 4.0
"""From this rating on a judge is taken to say good, where the run has no bound of its own."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `n` verdicts or rows, the share on which two say the same, and Cohen's kappa.

    Kappa is null where both always say one and the same word: chance explains all of it.
    """

    what: str
    n: int
    share: float
    kappa: float | None
    noun: str = "verdict"

    def line(self) -> str:
        """It as a line for people."""
        kappa = "not defined, one word alone" if self.kappa is None else f"{self.kappa:.2f}"
        return (
            f"{self.what}: {self.share:.1%} of {counted(self.n, self.noun)} agreed, kappa {kappa}"
        )


def agreement(
    what: str, pairs: Sequence[tuple[str, str]], noun: str = "verdict"
) -> Agreement | None:
    """Compare what two said of the same rows; null without a row.

    >>> agreement("x", [("a", "a")] * 3 + [("a", "b"), ("b", "a"), ("b", "b")]).kappa
    0.25
    """
    n = len(pairs)
    if not n:
        return None
    share = sum(one == other for one, other in pairs) / n
    first, second = (Counter(words) for words in zip(*pairs, strict=True))
    agreed = sum(first[word] * second[word] for word in first)
    kappa = None if agreed == n * n else (share - agreed / n**2) / (1 - agreed / n**2)
    return Agreement(what, n, share, None if kappa is None else round(kappa, 12), noun)


def lines(run: Run) -> Iterator[str]:
    """The agreement of all that was marked in a run, for people."""
    said = marks(run.path)
    sure = said.filter(pl.col("verdict") != "unsure")
    unsure = said.height - sure.height
    people = sorted(set(said["reviewer"]))
    n_rows = said.select("kind", "row_id").n_unique()
    yield (
        f"{counted(n_rows, 'row')} marked by {counted(len(people), 'person', 'people')}"
        f" ({', '.join(people)}), {unsure} unsure"
    )
    rows = ended(run).select("row_id", "rating", "preferred", "drop_reason")
    of_rows = sure.filter(pl.col("kind") == "row").join(rows, on="row_id", how="left")
    yield from _with_rules(of_rows)
    bound = _bound(run)
    rated = of_rows.with_columns(pl.col("rating").cast(pl.Float64)).drop_nulls("rating")
    found = agreement(
        f"with the judge (good: rated {bound:g} or more)",
        [
            (one, "good" if rating >= bound else "bad")
            for one, rating in rated.select("verdict", "rating").iter_rows()
        ],
    )
    if found is not None:
        yield found.line()
    of_pairs = sure.filter(pl.col("kind") == "pair").join(rows, on="row_id", how="left")
    counts = Counter(of_pairs["verdict"])
    if counts:
        preferred = ", ".join(f"{name} {n}" for name, n in counts.most_common())
        yield f"preferred: {preferred}"
    judged = of_pairs.drop_nulls("preferred").select("verdict", "preferred")
    if (found := agreement("with the judge of pairs", judged.rows())) is not None:
        yield found.line()
    yield from _between(sure)


def _with_rules(of_rows: pl.DataFrame) -> Iterator[str]:
    pairs = [
        (one, "good" if is_kept else "bad")
        for one, is_kept in of_rows.select("verdict", "is_kept").iter_rows()
    ]
    if (found := agreement("with the rules (good: kept)", pairs)) is not None:
        yield found.line()
    kept = of_rows.filter("is_kept")
    if kept.height:
        good = int((kept["verdict"] == "good").sum())
        yield f"    kept: {good} of {kept.height} good"
    dropped = of_rows.filter(~pl.col("is_kept"))
    by_rule = dropped.group_by("stage", "drop_reason").agg(
        n=pl.len(), bad=(pl.col("verdict") == "bad").sum()
    )
    for stage, reason, n, bad in by_rule.sort(
        ["n", "stage", "drop_reason"], descending=[True, False, False]
    ).iter_rows():
        yield f"    dropped by {stage}, {reason}: {bad} of {n} bad"


def _bound(run: Run) -> float:
    """From which rating on the run keeps rows, else `RATED_GOOD`."""
    for state in reversed(run.stage_manifests):
        found = state.settings.get("keep_at_least")
        if isinstance(found, int | float):
            return float(found)
    return RATED_GOOD


def _between(sure: pl.DataFrame) -> Iterator[str]:
    """The agreement of every two people on the rows that both have marked."""
    for kind in ("row", "pair"):
        of_kind = sure.filter(pl.col("kind") == kind)
        for one, other in itertools.combinations(sorted(set(of_kind["reviewer"])), 2):
            first, second = (
                of_kind.filter(pl.col("reviewer") == name).select("row_id", "verdict")
                for name in (one, other)
            )
            both = first.join(second, on="row_id").select("verdict", "verdict_right").rows()
            if (found := agreement(f"{one} with {other}", both, "row")) is not None:
                yield found.line()
