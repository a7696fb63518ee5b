import math
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from filters.easy_to_hard import easy_to_hard

MEASURES = st.lists(st.none() | st.just(math.nan) | st.integers(0, 5).map(float), max_size=12)


def ids(n: int) -> pl.Series:
    return pl.Series([f"r{at}" for at in range(n)], dtype=pl.String)


def number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


@given(measures=MEASURES, descending=st.booleans(), data=st.data())
def test_places_are_each_once_and_the_measure_never_turns(
    measures: list[float | None], descending: bool, data: st.DataObject
) -> None:
    phases = data.draw(st.lists(st.integers(0, 2), min_size=len(measures), max_size=len(measures)))
    found = easy_to_hard(
        ids(len(measures)),
        pl.Series(measures, dtype=pl.Float64),
        phase=pl.Series(phases, dtype=pl.Int64),
        descending=descending,
    ).to_list()
    assert sorted(found) == list(range(len(measures)))
    order = sorted(range(len(measures)), key=lambda at: found[at])
    for one, other in pairwise(order):
        assert phases[one] <= phases[other]
        if phases[one] < phases[other]:
            continue
        a, b = number(measures[one]), number(measures[other])
        assert b is None or a is not None
        assert a is None or b is None or (a >= b if descending else a <= b)


@given(measures=MEASURES, seed=st.integers(0, 9), data=st.data())
def test_places_do_not_depend_on_the_order_of_the_rows(
    measures: list[float | None], seed: int, data: st.DataObject
) -> None:
    order = list(data.draw(st.permutations(range(len(measures)))))
    values = pl.Series(measures, dtype=pl.Float64)
    plain = easy_to_hard(ids(len(measures)), values, seed=seed)
    moved = easy_to_hard(ids(len(measures)).gather(order), values.gather(order), seed=seed)
    assert moved.to_list() == plain.gather(order).to_list()


def test_equal_rows_are_drawn_by_the_seed() -> None:
    values = pl.Series([1.0] * 30)
    assert easy_to_hard(ids(30), values).to_list() == easy_to_hard(ids(30), values).to_list()
    assert easy_to_hard(ids(30), values).to_list() != list(range(30))
    assert (
        easy_to_hard(ids(30), values).to_list() != easy_to_hard(ids(30), values, seed=1).to_list()
    )
