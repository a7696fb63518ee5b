"""Rows that repeat an earlier row, by the stage's settings."""

import polars as pl
import pytest

from pipeline.stages import dedup
from pipeline.stages.dedup import Config

ROWS = [
    ("a", "Name a river.", "", "Po"),
    ("b", "name  a river. ", "", "Po"),
    ("c", "Name a river.", "", "Elbe"),
    ("d", "Name a\nriver.", None, "Po"),
    ("e", "Name a lake.", "", "Como"),
]


@pytest.mark.parametrize(
    ("settings", "refs"),
    [
        ({}, [None, None, None, "a", None]),
        ({"ignore_case": True}, [None, "a", None, "a", None]),
        ({"compare_output": False}, [None, None, "a", "a", None]),
        ({"ignore_case": True, "compare_output": False}, [None, "a", "a", "a", None]),
    ],
)
def test_the_first_is_kept_and_named(settings: dict[str, bool], refs: list[str | None]) -> None:
    frame = pl.DataFrame(ROWS, schema=dedup.COLUMNS, orient="row")
    found = dedup.judge(frame, Config(near=False, **settings))
    assert found["ref"].to_list() == refs
    reasons = [ref and "exact_duplicate" for ref in refs]
    assert found["reason"].to_list() == reasons


def test_no_rows_have_no_verdicts() -> None:
    schema = dict.fromkeys(dedup.COLUMNS, pl.String)
    assert dedup.judge(pl.DataFrame(schema=schema), Config()).height == 0


def test_a_near_duplicate_is_dropped_after_the_exact_ones_and_the_longest_output_stays() -> None:
    words = " ".join(f"word{i}" for i in range(60))
    frame = pl.DataFrame(
        {
            "row_id": ["a", "b", "c", "d"],
            "instruction": [words, words, words + " more", "Something else in five words"],
            "input": [""] * 4,
            "output": ["yes", "yes", "yes and longer", "yes"],
        }
    )
    found = dedup.judge(frame, dedup.Config())
    assert found["reason"].to_list() == ["near_duplicate", "exact_duplicate", None, None]
    assert found["ref"].to_list() == ["c", "a", None, None]
    near, exact, *kept = found["similarity"].to_list()
    assert 0.8 <= near < 1 == exact
    assert kept == [None, None]
    exact_only = dedup.judge(frame, dedup.Config(near=False))
    assert exact_only["reason"].to_list() == [None, "exact_duplicate", None, None]


def test_settings_of_near_duplicates_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="permutations"):
        dedup.Config(permutations=64, bands=20, rows=20)


def test_of_near_duplicates_the_best_rated_stays_where_rows_are_rated() -> None:
    words = " ".join(f"word{i}" for i in range(60))
    frame = pl.DataFrame(
        {
            "row_id": ["a", "b", "c"],
            "instruction": [words, words + " more", words + " still more"],
            "input": [""] * 3,
            "output": ["yes", "yes", "yes and longer"],
        }
    )
    ratings = pl.Series("rating", [None, 4.5, 3.0])
    assert "rating" in dedup.STAGE.may_read
    assert dedup.judge(frame, Config())["ref"].to_list() == ["c", "c", None]
    rated = dedup.judge(frame.with_columns(ratings), Config())
    assert rated["ref"].to_list() == ["b", None, "b"]
