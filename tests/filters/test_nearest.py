"""The most alike of many: the compiled loop and the blocks against the slowest obvious version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from filters import nearest as module
from filters.nearest import alike, directions, nearest

SIGNATURES = st.tuples(st.integers(1, 9), st.integers(0, 12), st.integers(0, 2**32 - 1))


def by_hand(
    items: NDArray[np.generic],
    pool: NDArray[np.generic],
    skipped: list[int],
    k: int,
    at_most: float,
) -> list[list[tuple[int, float]]]:
    """Sort the whole pool for each item."""
    found = []
    for item, out in zip(items, skipped, strict=True):
        if items.dtype == np.uint32:
            scores = [sum(map(bool, item == one)) / len(item) for one in pool]
        else:
            wide = [[float(x) for x in one] for one in (item, *pool)]
            scores = [round(sum(a * b for a, b in zip(wide[0], one, strict=True)), 6)
                      for one in wide[1:]]  # fmt: skip
        order = sorted(
            (-score, at) for at, score in enumerate(scores) if at != out and score <= at_most
        )
        found.append([(at, -score) for score, at in order[:k]])
    return found


@given(SIGNATURES, st.integers(1, 4), st.sampled_from([0.125, 0.5, 1.0]), st.booleans())
def test_the_most_alike_by_signature(
    sizes: tuple[int, int, int], k: int, at_most: float, is_compiled: bool
) -> None:
    n_items, n_pool, seed = sizes
    draw = np.random.default_rng(seed)
    items = draw.integers(0, 3, (n_items, 8)).astype(np.uint32)
    pool = draw.integers(0, 3, (n_pool, 8)).astype(np.uint32)
    skipped = draw.integers(-1, max(n_pool, 1), n_items)
    small, module.SMALL = module.SMALL, -1 if is_compiled else module.SMALL
    try:
        places, scores = nearest(items, pool, skipped, k, at_most=at_most)
    finally:
        module.SMALL = small
    wanted = by_hand(items, pool, skipped.tolist(), k, at_most)
    for row, found in enumerate(wanted):
        n = len(found)
        assert list(zip(places[row][:n].tolist(), scores[row][:n].tolist(), strict=True)) == found
        assert (places[row][n:] == -1).all()


@given(SIGNATURES, st.integers(1, 4), st.sampled_from([-0.2, 0.3, 0.55, 0.9, 1.0]))
def test_the_most_alike_by_vector(sizes: tuple[int, int, int], k: int, at_most: float) -> None:
    n_items, n_pool, seed = sizes
    draw = np.random.default_rng(seed)
    vectors = [one.astype(np.float32) for one in draw.integers(-2, 3, (n_items + n_pool, 5))]
    table = directions([*vectors])
    items, pool = table[:n_items], table[n_items:]
    skipped = draw.integers(-1, max(n_pool, 1), n_items)
    places, scores = nearest(items, pool, skipped, k, at_most=at_most)
    for row, found in enumerate(by_hand(items, pool, skipped.tolist(), k, at_most)):
        n = len(found)
        assert places[row][:n].tolist() == [place for place, _ in found]
        assert scores[row][:n].tolist() == pytest.approx([score for _, score in found], abs=2e-6)
        assert (places[row][n:] == -1).all()


def test_blocks_of_vectors_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    table = directions(list(draw.normal(size=(300, 16)).astype(np.float32)))
    skipped = np.arange(300)
    whole = nearest(table, table, skipped, 5)
    monkeypatch.setattr(module, "BLOCK", 7)
    parts = nearest(table, table, skipped, 5)
    assert (whole[0] == parts[0]).all()
    assert (whole[1] == parts[1]).all()
    assert not (whole[0] == skipped[:, None]).any()


def test_directions_of_no_vector_are_zeros() -> None:
    nothing = [None, np.zeros(2, np.float32), np.array([np.nan, 1], np.float32)]
    found = directions([*nothing, np.array([3e38, 1e38], np.float32)])
    assert not found[:3].any()
    assert alike(found[3], found[3:]).tolist() == [1.0]
    with pytest.raises(ValueError, match="different lengths"):
        directions([np.zeros(2, np.float32), np.zeros(3, np.float32)])
