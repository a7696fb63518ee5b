from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.diverse import METHODS, Directions, Method, MinHashes, alike, diverse, parted
from filters.diverse.greedy import choose, shuffled
from filters.near_duplicates import signatures

WORDS = ["river", "stone", "cloud", "lamp", "bread", "河", "山", "云"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=9)
VECTORS = st.lists(
    st.one_of(st.none(), st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3)),
    min_size=1,
    max_size=9,
)


def hashes(texts: Sequence[str]) -> MinHashes:
    return MinHashes.of([texts], ngram=1)


def ids(n: int) -> pl.Series:
    return pl.Series([f"r{at}" for at in range(n)], dtype=pl.String)


def alikeness(found: MinHashes | Directions) -> list[list[int]]:
    return [[int(one) for one in found.to(row)] for row in range(len(found))]


def by_facility_location(rows: list[list[int]], names: list[str], count: int) -> list[int]:
    chosen: list[int] = []
    for step in range(count):
        best = [max((rows[row][one] for one in chosen), default=0) for row in range(len(rows))]
        free = [int(one) for one in shuffled(names, 0, step) if one not in chosen]
        gain = [sum(max(rows[row][one] - best[row], 0) for row in range(len(rows))) for one in free]
        chosen.append(free[gain.index(max(gain))])
    return chosen


def by_k_center(rows: list[list[int]], names: list[str], count: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        free = [int(one) for one in shuffled(names, 0) if one not in chosen]
        far = [max((rows[row][one] for one in chosen), default=0) for row in free]
        chosen.append(free[far.index(min(far))])
    return chosen


SLOW: dict[Method, Callable[[list[list[int]], list[str], int], list[int]]] = {
    "facility_location": by_facility_location,
    "k_center": by_k_center,
    "random": lambda rows, names, count: shuffled(names, 0).tolist()[:count],
}


@pytest.mark.parametrize("method", list(METHODS))
@given(texts=TEXTS, count=st.integers(1, 10))
def test_texts_are_chosen_as_by_the_slowest_version(
    method: Method, texts: list[str], count: int
) -> None:
    names = ids(len(texts)).to_list()
    found = choose(hashes(texts), names, count, method=method, seed=0, candidates=len(texts))
    count = min(count, len(texts))
    assert found.rows.tolist() == SLOW[method](alikeness(hashes(texts)), names, count)


@pytest.mark.parametrize("method", list(METHODS))
@given(vectors=VECTORS, count=st.integers(1, 10))
def test_vectors_are_chosen_as_by_the_slowest_version(
    method: Method, vectors: list[list[float] | None], count: int
) -> None:
    made = Directions.of(pl.Series(vectors, dtype=pl.List(pl.Float32)))
    names = ids(len(vectors)).to_list()
    found = choose(made, names, count, method=method, seed=0, candidates=len(vectors))
    count = min(count, len(vectors))
    assert found.rows.tolist() == SLOW[method](alikeness(made), names, count)


@given(texts=TEXTS)
def test_bytes_in_common_are_those_of_the_signatures(texts: list[str]) -> None:
    low = signatures(texts, permutations=128, ngram=1) & 0xFF
    slow = [[int((a == b).sum()) for b in low] for a in low]
    assert alikeness(hashes(texts)) == slow


@settings(deadline=None)
@given(texts=TEXTS, best=st.integers(0, 128))
def test_both_engines_find_the_same(texts: list[str], best: int) -> None:
    plain = hashes(texts)
    packed = plain.packed
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(alike, "SMALL", -1)
        compiled = MinHashes(packed)
    so_far = np.full(len(texts), best, np.uint8)
    rows = np.arange(len(texts))
    assert alikeness(plain) == alikeness(compiled)
    assert plain.gains(rows, so_far).tolist() == compiled.gains(rows, so_far).tolist()


@given(st.integers(2, 400), st.integers(0, 9))
def test_products_of_vectors_are_whole_numbers_that_float32_holds(length: int, seed: int) -> None:
    draw = np.random.default_rng(seed).standard_normal((3, length))
    found = Directions.of(pl.Series(draw).cast(pl.List(pl.Float64)))
    whole = found._whole.astype(np.int64)
    exact = np.maximum(whole @ whole.T, 0)
    assert alikeness(found) == exact.tolist()
    assert exact.max() < 2**24
    cosines = draw @ draw.T / np.outer(*[np.linalg.norm(draw, axis=1)] * 2)
    said = np.array([found.similarity(found.to(row)) for row in range(3)])
    assert np.abs(said - np.clip(cosines, 0, 1)).max() < 0.002


def reasons(texts: Sequence[str], names: pl.Series, **chosen: Any) -> dict[str, Any]:
    found = diverse(names, hashes(texts), **chosen)
    return dict(zip(names.to_list(), found.rows(), strict=True))


@pytest.mark.parametrize("method", list(METHODS))
@given(texts=TEXTS, count=st.integers(1, 12), data=st.data())
def test_the_rows_may_come_in_any_order(
    method: Method, texts: list[str], count: int, data: st.DataObject
) -> None:
    names = ids(len(texts))
    order = data.draw(st.permutations(range(len(texts))))
    kept = {name for name, row in reasons(texts, names, count=count, method=method).items()
            if row[0] is None}  # fmt: skip
    moved = reasons(
        [texts[at] for at in order], names.gather(list(order)), count=count, method=method
    )
    assert {name for name, row in moved.items() if row[0] is None} == kept
    assert len(kept) == min(count, len(texts))


def test_a_row_not_selected_says_which_selected_one_is_most_like_it() -> None:
    texts = ["river stone", "river stone", "lamp bread", "云"]
    found = diverse(ids(4), hashes(texts), count=3)
    assert found["reason"].null_count() == 3
    dropped = found.row(found["reason"].is_not_null().arg_max() or 0, named=True)
    assert dropped["reason"] == "not_selected"
    assert (dropped["ref"], dropped["similarity"]) in (("r0", 1.0), ("r1", 1.0))
    assert dropped["detail"] == "Jaccard 1.000; selected are 3 of 4 rows"


def test_a_row_like_none_that_is_selected_names_none() -> None:
    vectors = pl.Series([[1.0, 0.0], [0.0, 1.0], None], dtype=pl.List(pl.Float32))
    found = diverse(ids(3), Directions.of(vectors), count=1)
    assert found["ref"].to_list() == [None, None, None]
    assert found["similarity"].to_list() == [None, None, None]
    assert "selected are 1 of 3 rows" in found["detail"].drop_nulls().to_list()


def test_facility_location_takes_the_crowd_before_the_outlier_and_k_center_the_outlier() -> None:
    crowds = ["river stone cloud", "river stone lamp", "river stone bread"] * 3
    texts = [*crowds, "河 山 云"]
    by_sum = diverse(ids(10), hashes(texts), count=1, candidates=10)
    assert by_sum["reason"].to_list()[-1] == "not_selected"
    by_far = diverse(ids(10), hashes(texts), count=2, method="k_center")
    assert by_far["reason"].to_list()[-1] is None


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(sum)


@given(sizes=SIZES, count=st.integers(1, 100))
def test_proportional_shares_are_off_by_less_than_a_row(sizes: list[int], count: int) -> None:
    given_ = parted(sizes, count, "proportional")
    count = min(count, sum(sizes))
    assert sum(given_) == count
    for size, rows in zip(sizes, given_, strict=True):
        assert abs(rows - size * count / sum(sizes)) < 1
        assert rows <= size


@given(sizes=SIZES, count=st.integers(1, 100))
def test_equal_shares_are_dealt_round_and_round(sizes: list[int], count: int) -> None:
    left, slow = min(count, sum(sizes)), [0] * len(sizes)
    while left:
        for at, size in enumerate(sizes):
            if left and slow[at] < size:
                slow[at] += 1
                left -= 1
    assert parted(sizes, count, "equal") == slow


def test_strata_get_their_shares_and_a_null_is_one_of_its_own() -> None:
    texts = [f"river {at}" for at in range(12)]
    stratum = pl.Series(["a"] * 6 + ["b"] * 4 + [None] * 2)
    for shares, wanted in (("proportional", [3, 2, 1]), ("equal", [2, 2, 2])):
        found = diverse(ids(12), hashes(texts), count=6, stratum=stratum, shares=shares)  # type: ignore[arg-type]
        kept = found["reason"].is_null()
        assert [int(kept[:6].sum()), int(kept[6:10].sum()), int(kept[10:].sum())] == wanted
        assert found["detail"][:6].drop_nulls()[0].endswith(f"{wanted[0]} of 6 rows of a")


@pytest.mark.parametrize("count", [3, 4, 5])
def test_a_count_of_all_rows_or_more_keeps_all(count: int) -> None:
    found = diverse(ids(4), hashes(["river", "stone", "lamp", "云"]), count=count)
    assert found["reason"].null_count() == min(count, 4)


def test_no_rows_get_no_verdicts() -> None:
    found = diverse(ids(0), hashes([]), count=3)
    assert found.height == 0
    assert found.columns == ["reason", "detail", "ref", "similarity"]


def test_another_seed_draws_other_rows() -> None:
    texts = [f"river {at}" for at in range(40)]
    kept = [
        diverse(ids(40), hashes(texts), count=9, method="random", seed=seed)["reason"].to_list()
        for seed in (0, 0, 1)
    ]
    assert kept[0] == kept[1] != kept[2]
