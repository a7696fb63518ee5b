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
    found = dedup.judge(frame, Config(**settings))
    assert found["ref"].to_list() == refs
    reasons = [ref and "exact_duplicate" for ref in refs]
    assert found["reason"].to_list() == reasons


def test_no_rows_have_no_verdicts() -> None:
    schema = dict.fromkeys(dedup.COLUMNS, pl.String)
    assert dedup.judge(pl.DataFrame(schema=schema), Config()).height == 0
