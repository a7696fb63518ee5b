"""Fair shares of a number of rows."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.strata import strata

SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=30)


@given(SIZES, st.integers(0, 2000), st.integers(0, 60))
def test_as_many_are_drawn_as_were_asked_for_or_all(
    sizes: list[int], most: int, least: int
) -> None:
    found = strata(sizes, most, least)
    assert sum(found) == min(most, sum(sizes))
    assert all(n <= size for n, size in zip(found, sizes, strict=True))


@given(SIZES, st.integers(0, 2000), st.integers(1, 60))
def test_each_stratum_has_the_least_that_there_is_room_for(
    sizes: list[int], most: int, least: int
) -> None:
    found = strata(sizes, most, least)
    room = max(n for n in range(least + 1) if sum(min(size, n) for size in sizes) <= most)
    assert all(n >= min(size, room) for n, size in zip(found, sizes, strict=True))


@given(SIZES, st.integers(0, 2000), st.integers(0, 60))
def test_a_larger_stratum_has_no_fewer(sizes: list[int], most: int, least: int) -> None:
    found = sorted(zip(sizes, strata(sizes, most, least), strict=True))
    assert all(n <= other + 1 for (_, n), (_, other) in itertools.pairwise(found))
