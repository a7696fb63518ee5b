"""The filters over measured columns: agreement of samples, rating of a pair."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.agreement import agreement
from filters.pair_rating import pair_rating


def judged(share: float | None, votes: int | None, **settings: float) -> str | None:
    columns = pl.Series([share], dtype=pl.Float64), pl.Series([votes], dtype=pl.Int64)
    return agreement(*columns, **settings)["reason"][0]  # type: ignore[arg-type,no-any-return]


@pytest.mark.parametrize(
    ("share", "votes", "settings", "reason"),
    [
        (0.5, 2, {}, None),
        (0.4999, 2, {}, "low_agreement"),
        (0.6, 5, {"at_least": 0.6}, None),
        (1.0, 1, {"votes_at_least": 2}, "too_few_votes"),
        (1.0, 2, {"votes_at_least": 2}, None),
        (0.1, 1, {"votes_at_least": 2}, "too_few_votes"),
        (None, 0, {}, None),
        (None, None, {}, None),
        (None, 0, {"keep_unvoted": False}, "no_votes"),
    ],
)
def test_both_sides_of_each_bound_of_agreement(
    share: float | None, votes: int | None, settings: dict[str, float], reason: str | None
) -> None:
    assert judged(share, votes, **settings) == reason


@pytest.mark.parametrize(
    ("rating", "settings", "reason"),
    [
        (5, {}, None), (4, {}, "low_rating"), (4, {"at_least": 4}, None),
        (3, {"at_least": 4}, "low_rating"), (None, {}, "no_rating"),
        (None, {"keep_unrated": True}, None),
    ],
)  # fmt: skip
def test_both_sides_of_each_bound_of_a_rating(
    rating: int | None, settings: dict[str, int], reason: str | None
) -> None:
    found = pair_rating(pl.Series([rating], dtype=pl.Int64), **settings)  # type: ignore[arg-type]
    assert found["reason"][0] == reason
    assert found["detail"][0] == (None if rating is None else f"{rating} of 5")


@given(st.lists(st.none() | st.integers(1, 5)), st.integers(1, 5), st.booleans())
def test_ratings_are_judged_as_the_slow_way_judges_them(
    ratings: list[int | None], at_least: int, keep: bool
) -> None:
    column = pl.Series(ratings, dtype=pl.Int64)
    found = pair_rating(column, at_least=at_least, keep_unrated=keep)["reason"].is_null().to_list()
    assert found == [keep if one is None else one >= at_least for one in ratings]


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 1), st.none() | st.integers(0, 9))),
    st.floats(0, 1), st.integers(1, 5), st.booleans(),
)  # fmt: skip
def test_agreement_is_judged_as_the_slow_way_judges_it(
    rows: list[tuple[float | None, int | None]], at_least: float, fewest: int, keep: bool
) -> None:
    shares = pl.Series([share for share, _ in rows], dtype=pl.Float64)
    votes = pl.Series([n for _, n in rows], dtype=pl.Int64)
    found = agreement(shares, votes, at_least=at_least, votes_at_least=fewest, keep_unvoted=keep)
    assert found["reason"].is_null().to_list() == [
        keep if share is None or not n else n >= fewest and share >= at_least for share, n in rows
    ]
