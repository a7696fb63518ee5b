"""Rows whose vectors point the same way, by the stage's settings."""

import polars as pl
import pytest

from pipeline.errors import InputError
from pipeline.schema import COLUMNS
from pipeline.stages import semantic


def frame(*vectors: list[float] | None) -> pl.DataFrame:
    ids = [f"r{number}" for number in range(len(vectors))]
    schema = {"row_id": pl.String, "embedding": pl.List(pl.Float32)}
    return pl.DataFrame({"row_id": ids, "embedding": list(vectors)}, schema=schema)


def test_the_first_of_rows_that_say_the_same_is_kept_and_named() -> None:
    rows = frame([1.0, 0.0], None, [0.99, 0.1], [0.0, 1.0])
    found = semantic.judge(rows, semantic.Config())
    assert found["reason"].to_list() == [None, None, "semantic_duplicate", None]
    assert found["ref"].to_list() == [None, None, "r0", None]


def test_a_higher_threshold_keeps_more() -> None:
    found = semantic.judge(frame([1.0, 0.0], [0.99, 0.1]), semantic.Config(threshold=0.999))
    assert found["reason"].null_count() == 2


def test_vectors_of_two_models_are_an_error_and_no_drop() -> None:
    with pytest.raises(InputError, match="vectors of 2, 3 numbers"):
        semantic.judge(frame([1.0, 0.0], [1.0, 0.0, 0.0]), semantic.Config())


def test_no_rows_have_no_verdicts() -> None:
    assert semantic.judge(frame(), semantic.Config()).height == 0


def test_the_column_is_a_list_of_float32() -> None:
    assert str(COLUMNS["embedding"].type) == "list<item: float>"
