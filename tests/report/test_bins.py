"""Bins of numbers."""

import itertools
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.bins import BINS, bins

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(FINITE, min_size=1, max_size=100)
    | st.lists(st.integers(-30, 30).map(float), min_size=1, max_size=100),
    st.data(),
)
def test_every_value_is_counted_once_in_bins_that_rise(
    values: list[float], data: st.DataObject
) -> None:  # fmt: skip
    kept = data.draw(st.lists(st.sampled_from(values)))
    found = bins(pl.Series(values))
    assert sum(found.counts(pl.Series(values))) == len(values)
    assert sum(found.counts(pl.Series(kept, dtype=pl.Float64))) == len(kept)
    assert all(low < high for low, high in itertools.pairwise(found.edges))
    assert found.edges[0] <= min(values)
    assert found.edges[-1] >= max(values) or found.is_cut
    assert len(found.edges) <= BINS + 2


def test_whole_numbers_have_a_bin_each_and_the_tail_is_in_the_last() -> None:
    values = pl.Series([1.0, 2, 2, 5])
    found = bins(values)
    assert found.edges == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert found.counts(values) == [1, 2, 0, 0, 1]
    assert not found.is_cut
    long = bins(pl.Series([float(n % 100) for n in range(9990)] + [1e6]))
    assert long.is_cut
    assert long.edges[-1] < 101
    assert long.counts(pl.Series([1e6]))[-1] == 1


@pytest.mark.parametrize("value", [0.0, 0.3, -2.0, 5e-324, 1e17, -1e308, sys.float_info.max])
def test_equal_values_are_in_one_bin_round_them(value: float) -> None:
    found = bins(pl.Series([value] * 3))
    assert found.counts(pl.Series([value] * 3)) == [3]
    assert found.edges[0] < value < found.edges[1]


def test_values_too_near_or_too_far_for_bins_are_in_one() -> None:
    near = [1.0, 1.0 + sys.float_info.epsilon]
    assert bins(pl.Series(near)).counts(pl.Series(near)) == [2]
    far = [-sys.float_info.max, sys.float_info.max]
    assert bins(pl.Series(far)).counts(pl.Series(far)) == [2]


def test_there_are_no_bins_of_nothing() -> None:
    with pytest.raises(ValueError, match="no value"):
        bins(pl.Series([], dtype=pl.Float64))
