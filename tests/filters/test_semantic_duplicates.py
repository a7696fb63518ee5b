import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import semantic_duplicates as module
from filters.semantic_duplicates import semantic_duplicates

NUMBER = st.integers(-3, 3).map(float)
VECTORS = st.lists(st.none() | st.lists(NUMBER, min_size=3, max_size=3), max_size=25)


def judge(vectors, **more):
    ids = pl.Series([f"r{i}" for i in range(len(vectors))], dtype=pl.String)
    return semantic_duplicates(ids, pl.Series(vectors, dtype=pl.List(pl.Float64)), **more)


def plain_refs(vectors, threshold):
    """The kept row with the highest cosine, by comparing with each one kept so far."""
    kept, refs = [], []
    for row, vector in enumerate(vectors):
        best, met = -2.0, None
        if vector is not None and any(vector):
            for other in kept:
                a, b = np.array(vector), np.array(vectors[other])
                cosine = round(float(a @ b / np.sqrt((a @ a) * (b @ b))), 6)
                if cosine > best:
                    best, met = cosine, other
            if best < threshold:
                met = None
                kept.append(row)
        refs.append(None if met is None else f"r{met}")
    return refs


@pytest.mark.parametrize("block", [1, 3, 1024])
@settings(deadline=None)
@given(vectors=VECTORS, threshold=st.sampled_from([-0.5, 0.0, 0.5, 0.9, 1.0]))
def test_refs_are_those_of_comparing_with_each_kept_row(block, vectors, threshold):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "OTHERS", 2 * block)
        found = judge(vectors, threshold=threshold)
    assert found["ref"].to_list() == plain_refs(vectors, threshold)
    assert found["reason"].is_null().equals(found["ref"].is_null())


def test_a_dropped_row_names_the_kept_one_and_the_cosine():
    found = judge([[1.0, 0.0], [3.0, 0.1], [0.0, 1.0]])
    texts = {"reason": pl.String, "detail": pl.String, "ref": pl.String}
    assert found.schema == texts | {"similarity": pl.Float64}
    assert found.rows() == [
        (None, None, None, None),
        ("semantic_duplicate", "cosine 0.9994", "r0", 0.999445),
        (None, None, None, None),
    ]


def test_the_threshold_itself_is_a_duplicate():
    vectors = [[1.0, 0.0], [0.6, 0.8]]
    assert judge(vectors, threshold=0.6)["ref"].to_list() == [None, "r0"]
    assert judge(vectors, threshold=0.600001)["ref"].to_list() == [None, None]


def test_a_vector_without_a_direction_is_kept():
    nan, infinite = float("nan"), float("inf")
    vectors = [None, [0.0, 0.0], [nan, 1.0], [infinite, 1.0], [None, 1.0], [0.0, 0.0], None]
    assert judge(vectors)["reason"].null_count() == len(vectors)


def test_very_large_and_very_small_numbers_have_a_direction():
    vectors = [[1e300, 2e300], [1e-300, 2e-300], [-1e300, 0.0]]
    assert judge(vectors)["ref"].to_list() == [None, "r0", None]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([[1, 0], [2, 0]], dtype=pl.List(pl.Int64)),
        pl.Series([[1, 0], [2, 0]], dtype=pl.List(pl.Float32)),
        pl.Series([[1, 0], [2, 0]], dtype=pl.Array(pl.Float32, 2)),
    ],
)
def test_lists_and_arrays_of_any_numbers_are_read(column):
    found = semantic_duplicates(pl.Series(["a", "b"]), column)
    assert found["ref"].to_list() == [None, "a"]


@pytest.mark.parametrize("vectors", [[], [None, None], [[], []]])
def test_columns_without_vectors_have_no_duplicates(vectors):
    found = judge(vectors)
    assert found.height == found["reason"].null_count() == len(vectors)


def test_vectors_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"different lengths: \[2, 3\]"):
        judge([[1.0, 2.0], [1.0, 2.0, 3.0]])


@pytest.mark.parametrize("threshold", [-1, 1.01, float("nan")])
def test_a_threshold_that_no_cosine_has_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        judge([], threshold=threshold)
