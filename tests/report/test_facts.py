"""The numbers of a report."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.facts import distribution, strata


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200), st.data())
def test_every_value_is_counted_once(values: list[float], data: st.DataObject) -> None:
    if len(set(values)) < 2:
        return
    kept = data.draw(st.lists(st.sampled_from(values)))
    found = distribution(pl.Series(values), pl.Series(kept, dtype=pl.Float64))
    assert sum(found.before) == len(values)
    assert sum(found.after) == len(kept)
    assert len(found.edges) == len(found.before) + 1 == len(found.after) + 1
    assert sorted(found.edges) == found.edges


def test_whole_numbers_have_a_bin_each_and_the_tail_is_in_the_last() -> None:
    found = distribution(pl.Series([1.0, 2, 2, 5]), pl.Series([2.0]))
    assert found.edges == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert (found.before, found.after) == ([1, 2, 0, 0, 1], [0, 1, 0, 0, 0])
    assert not found.is_cut
    long = distribution(pl.Series([float(n % 100) for n in range(9990)] + [1e6]), pl.Series([1e6]))
    assert long.is_cut
    assert long.edges[-1] < 101
    assert long.after[-1] == 1


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.integers(1, 2000))
def test_a_sample_by_stratum_is_no_more_than_there_is_and_forgets_none(
    sizes: list[int], most: int
) -> None:
    found = strata(sizes, most, least=3)
    assert all(n <= size for n, size in zip(found, sizes, strict=True))
    assert all(n >= min(size, 3) for n, size in zip(found, sizes, strict=True))
    if sum(sizes) <= most:
        assert found == sizes
    else:
        assert sum(found) <= max(most, sum(min(size, 3) for size in sizes))
