"""The rules of balance against their slowest obvious versions, and both sides of each bound."""

from __future__ import annotations

import math
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.balance import band, shares, top

MEASURES = st.lists(st.one_of(st.none(), st.integers(0, 9).map(float)), max_size=60)


def slow_band(values: list[float | None], lowest: float, highest: float) -> list[str | None]:
    """One bucket, by counting for each row how many measures lie below and above it."""
    known = [value for value in values if value is not None]
    found: list[str | None] = []
    for value in values:
        reason = None
        if value is not None:
            below = sum(other <= value for other in known)
            above = sum(other >= value for other in known)
            if below <= math.floor(len(known) * lowest):
                reason = "too_easy"
            elif above <= math.floor(len(known) * highest):
                reason = "too_hard"
        found.append(reason)
    return found


@given(MEASURES, st.sampled_from([0.0, 0.1, 0.25, 0.5]), st.sampled_from([0.0, 0.1, 0.25]))
@settings(max_examples=300, deadline=None)
def test_a_band_drops_what_counting_says(
    values: list[float | None], lowest: float, highest: float
) -> None:
    measure = pl.Series(values, dtype=pl.Float64)
    length = pl.Series([7] * len(values), dtype=pl.Int64)
    found = band(measure, length, lowest=lowest, highest=highest)
    assert found["reason"].to_list() == slow_band(values, lowest, highest)


def test_ten_of_a_hundred_are_too_easy_and_ten_too_hard() -> None:
    measure = pl.Series([float(n) for n in range(100)])
    found = band(measure, pl.Series([5] * 100))["reason"].to_list()
    assert found == ["too_easy"] * 10 + [None] * 80 + ["too_hard"] * 10


@pytest.mark.parametrize(("rows", "percent", "dropped"), [(60, 10, 6), (60, 30, 18), (100, 29, 29),
                                                          (7, 10, 0), (10, 45, 4)])  # fmt: skip
def test_a_share_of_all_rows_goes_however_small_the_buckets_are(
    rows: int, percent: int, dropped: int
) -> None:
    rng = random.Random(rows)
    measure = pl.Series(rng.sample(range(10_000), rows)).cast(pl.Float64)
    share = float(f"0.{percent:02d}")
    found = band(measure, pl.Series(range(rows)), lowest=share, highest=share)["reason"].to_list()
    assert found.count("too_easy") == dropped
    assert found.count("too_hard") == dropped


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.integers(0, 60),
    st.integers(0, 39),
    st.integers(1, 20),
    st.integers(0, 9),
)
@settings(max_examples=300, deadline=None)
def test_the_buckets_together_drop_the_share(
    lengths: list[int], lowest: int, highest: int, buckets: int, seed: int
) -> None:
    n = len(lengths)
    measure = pl.Series(random.Random(seed).sample(range(10_000), n)).cast(pl.Float64)
    length = pl.Series(lengths)
    given_shares = {"lowest": lowest / 100, "highest": highest / 100}
    found = band(measure, length, buckets=buckets, **given_shares)  # type: ignore[arg-type]
    reasons = found["reason"].to_list()
    assert reasons.count("too_easy") == n * lowest // 100
    assert reasons.count("too_hard") == n * highest // 100
    by_bucket: dict[str, list[tuple[float, str | None]]] = {}
    for value, reason, detail in zip(measure, reasons, found["detail"], strict=True):
        by_bucket.setdefault(detail.split(" of length ")[1], []).append((value, reason))
    for rows in by_bucket.values():
        order = {"too_easy": 0, None: 1, "too_hard": 2}
        told = [order[reason] for _, reason in sorted(rows, key=lambda row: row[0])]
        assert told == sorted(told)
        assert len(rows) * lowest // 100 <= told.count(0) <= -(-len(rows) * lowest // 100)


def test_rows_are_compared_with_rows_of_like_length_only() -> None:
    measure = pl.Series([1.0, 2.0, 3.0, 4.0, 5.0] * 2 + [101.0, 102.0, 103.0, 104.0, 105.0] * 2)
    length = pl.Series([10] * 10 + [500] * 10)
    found = band(measure, length, lowest=0.2, highest=0.2, buckets=2)["reason"].to_list()
    assert found == (["too_easy", None, None, None, "too_hard"] * 2) * 2


def test_a_row_without_a_measure_is_kept() -> None:
    measure = pl.Series([None, math.nan, 1.0, 2.0])
    found = band(measure, pl.Series([1, 1, 1, 1]), lowest=0.5, highest=0.5)
    assert found["reason"].to_list()[:2] == [None, None]
    assert found["detail"].to_list()[:2] == [None, None]


@pytest.mark.parametrize("rule", ["band", "shares", "top"])
def test_the_order_of_the_rows_changes_nothing(rule: str) -> None:
    rng = random.Random(3)
    rows = [(f"r{n}", rng.gauss(0, 1), rng.randrange(1, 50)) for n in range(500)]

    def judged(given_rows: list[tuple[str, float, int]]) -> dict[str, str | None]:
        ids, measures, lengths = (list(column) for column in zip(*given_rows, strict=True))
        measure = pl.Series(measures)
        if rule == "band":
            found = band(measure, pl.Series(lengths))
        elif rule == "shares":
            found = shares(measure, pl.Series(ids), target=200, seed=1)
        else:
            found = top(measure, share=0.3)
        return dict(zip(ids, found["reason"].to_list(), strict=True))

    expected = judged(rows)
    assert len(set(expected.values())) > 1
    rng.shuffle(rows)
    assert judged(rows) == expected


@given(
    st.lists(st.integers(0, 99).map(float), min_size=1, max_size=200),
    st.integers(1, 250),
    st.integers(1, 12),
)
@settings(max_examples=200, deadline=None)
def test_shares_draw_the_target_and_no_bin_gives_more_than_another_could(
    values: list[float], target: int, bins: int
) -> None:
    ids = pl.Series([f"r{n}" for n in range(len(values))])
    found = shares(pl.Series(values), ids, target=target, bins=bins, seed=5)
    kept = found["reason"].is_null()
    assert kept.sum() == min(target, len(values))
    per_bin: dict[str, list[bool]] = {}
    for detail, is_kept in zip(found["detail"].to_list(), kept.to_list(), strict=True):
        per_bin.setdefault(detail.split(", ")[1].split(":")[0], []).append(is_kept)
    unspent = [sum(rows) for rows in per_bin.values() if not all(rows)]
    most = max((sum(rows) for rows in per_bin.values()), default=0)
    assert all(most - given <= 1 for given in unspent)


def test_another_seed_draws_other_rows() -> None:
    measure = pl.Series([1.0, 2.0] * 100)
    ids = pl.Series([f"r{n}" for n in range(200)])
    one, other = (
        shares(measure, ids, target=50, bins=2, seed=seed)["reason"].to_list() for seed in (1, 2)
    )
    assert one != other
    assert one == shares(measure, ids, target=50, bins=2, seed=1)["reason"].to_list()


def test_the_top_share_is_of_the_rows_within_the_bound() -> None:
    measure = pl.Series([0.1, 0.5, 0.9, 1.0, 1.0001, 3.0])
    found = top(measure, share=0.5)["reason"].to_list()
    assert found == ["below_top_share"] * 2 + [None] * 2 + ["above_bound"] * 2


@pytest.mark.parametrize("percent", range(1, 101))
def test_no_row_is_lost_to_a_number_that_binary_cannot_write(percent: int) -> None:
    measure = pl.Series([n / 100 for n in range(100)])
    found = top(measure, share=float(f"{percent / 100:.2f}"))
    assert found["reason"].null_count() == percent


def test_rows_equal_to_the_last_one_kept_stay_with_it() -> None:
    found = top(pl.Series([0.2, 0.8, 0.8, 0.8]), share=0.25)["reason"].to_list()
    assert found == ["below_top_share", None, None, None]


def test_no_rows_give_no_verdicts() -> None:
    nothing, ids = pl.Series([], dtype=pl.Float64), pl.Series([], dtype=pl.String)
    assert band(nothing, pl.Series([], dtype=pl.Int64)).height == 0
    assert shares(nothing, ids, target=3).height == 0
    assert top(nothing, share=0.1).height == 0


@given(MEASURES, st.integers(1, 20))
@settings(deadline=None)
def test_a_draw_and_a_top_share_drop_what_has_no_measure(
    values: list[float | None], target: int
) -> None:
    measure = pl.Series(values, dtype=pl.Float64)
    ids = pl.Series([f"r{at}" for at in range(len(values))], dtype=pl.String)
    drawn = shares(measure, ids, target=target, bins=3)["reason"].to_list()
    best = top(measure, share=0.5, at_most=9)["reason"].to_list()
    for reasons in (drawn, best):
        nothing = [reason == "not_measured" for reason in reasons]
        assert nothing == [value is None for value in values]
    n_measured = sum(value is not None for value in values)
    assert drawn.count(None) == min(target, n_measured)
