"""Rows that another data set has."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.known import known

TEXT = st.none() | st.sampled_from(["a", " a", "A", "a  b", "a b", "", "字"])
ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8)
NAMES = ("instruction", "input", "output")
Rows = list[tuple[str | None, str | None, str | None]]


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, dict.fromkeys(NAMES, pl.String), orient="row")


def key(row: tuple[str | None, ...], *, compare_output: bool, ignore_case: bool) -> tuple[str, ...]:
    even = [" ".join((text or "").split()) for text in row[: 3 if compare_output else 2]]
    return tuple(text.lower() for text in even) if ignore_case else tuple(even)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(mine=ROWS, theirs=ROWS, compare_output=st.booleans(), ignore_case=st.booleans())
def test_rows_are_known_where_the_slow_version_finds_them(
    mine: Rows, theirs: Rows, compare_output: bool, ignore_case: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"{abs(hash(str(theirs)))}.parquet"
    frame(theirs).write_parquet(path)
    rules = {"compare_output": compare_output, "ignore_case": ignore_case}
    there = [key(row, **rules) for row in theirs]
    rows = frame(mine)
    found = known(*(rows[name] for name in NAMES), against=str(path), **rules)
    for at, row in enumerate(mine):
        is_there = key(row, **rules) in there
        wanted = str(there.index(key(row, **rules))) if is_there else None
        assert found["ref"][at] == wanted
        assert found["reason"][at] == ("known_row" if is_there else None)
        assert found["similarity"][at] == (1.0 if is_there else None)


def test_without_another_data_set_every_row_is_kept() -> None:
    rows = frame([("a", None, "b")])
    assert known(*(rows[name] for name in NAMES)).row(0) == (None, None, None, None)


def test_json_lines_and_folders_are_read_and_rows_called_by_their_id(tmp_path: Path) -> None:
    lines = '{"instruction": "a", "output": "b", "row_id": "old-7"}\n'
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "rows.jsonl").write_text(lines, encoding="utf-8")
    rows = frame([("a", None, "b"), ("a", "c", "b")])
    for place in (tmp_path, tmp_path / "more" / "rows.jsonl"):
        found = known(*(rows[name] for name in NAMES), against=str(place))
        assert found["ref"].to_list() == ["old-7", None]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    rows = frame([("a", None, "b")])
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (tmp_path / "rows.parquet").write_bytes(b"no")
    (tmp_path / "empty").mkdir()
    for name, says in [
        ("rows.jsonl", "no column instruction, output"),
        ("rows.parquet", "cannot be read"),
        ("none.parquet", "cannot be read"),
        ("empty", "holds no"),
    ]:
        with pytest.raises(ValueError, match=says):
            known(*(rows[one] for one in NAMES), against=str(tmp_path / name))
