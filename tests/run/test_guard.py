"""A row that our own code fails on is dropped by name; a broken stage ends the run."""

import re
from pathlib import Path

import polars as pl
import pytest

from pipeline.cli import look
from pipeline.errors import BrokenStageError, StallError
from pipeline.inspect import open_run
from pipeline.run.execute import execute
from pipeline.run.guard import Guard
from pipeline.run.prepare import Options, prepare
from pipeline.stage import Drop

FILTER = """
import polars as pl

def picky(instruction: pl.Series, *, at: int = 0) -> pl.DataFrame:
    if instruction.str.contains("poison").any():
        raise KeyError("poison")
    none = pl.Series([None] * len(instruction), dtype=pl.String)
    return pl.DataFrame({"reason": none, "detail": none})
"""


def _input(folder: Path, n: int, poisoned: set[int]) -> Path:
    texts = [f"Task {i} {'poison' if i in poisoned else ''}" for i in range(n)]
    pl.DataFrame({"instruction": texts}).write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def _run(folder: Path, rows: Path) -> Path:
    (folder / "picky.py").write_text(FILTER, encoding="utf-8")
    setting = f"filter.filters={{'{folder / 'picky.py'}:picky': {{}}}}"
    options = Options("filter", out=str(folder / "run"), input=str(rows), settings=[setting])
    execute(prepare(options), lambda event: None)
    return folder / "run"


def test_the_rows_that_a_filter_raises_on_are_dropped_and_no_others(tmp_path: Path) -> None:
    run = open_run(_run(tmp_path, _input(tmp_path, 300, {7, 8, 250})))
    dropped = run.dropped("filter")
    assert dropped["row_id"].to_list() == [f"import-{i:06d}-00" for i in (7, 8, 250)]
    assert set(dropped["drop_reason"]) == {"error_filter"}
    assert all("KeyError in picky" in detail for detail in dropped["drop_detail"])
    assert run.kept("filter").height == 297


def test_a_filter_that_raises_too_often_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _input(tmp_path, 300, set(range(0, 300, 10)))
    said = r"fails on 11 of .* KeyError in picky .*: 'poison' \(line 6 of .*/picky\.py\)\. Mend it"
    with pytest.raises(BrokenStageError, match=said):
        _run(tmp_path, rows)
    look.status(str(tmp_path / "run"))
    text = capsys.readouterr().out
    assert re.search(r"^filter +failed ", text, flags=re.MULTILINE)
    assert (
        "next: do what it says of filter, then the same command, or a new run with  --from" in text
    )
    assert "--no-stall-stop" not in text


def test_want_of_memory_drops_no_row() -> None:
    def fail() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        Guard("stage").call("error_read", fail)


def test_what_the_machine_lacks_drops_no_row() -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="new thread"):
        Guard("stage").call("error_read", fail)


def first_of_equals(frame: pl.DataFrame) -> pl.DataFrame:
    """A filter that compares rows, and fails where a poisoned one is among them."""
    if frame["text"].str.contains("poison").any():
        raise KeyError("poison")
    repeats = ~frame["text"].is_first_distinct()
    return pl.DataFrame({"reason": ["again" if one else None for one in repeats], "detail": ""})


def test_rows_are_compared_with_all_that_are_not_at_fault() -> None:
    texts = ["a", "b", "c", "poison", "d", "e", "poison too", "f", "a", "b"]
    found = Guard("stage").judge(pl.DataFrame({"text": texts}), first_of_equals)
    at_fault = [None] * 3 + ["error_filter"] + [None] * 2 + ["error_filter", None]
    assert found["reason"].to_list() == [*at_fault, "again", "again"]


def test_a_filter_that_fails_on_no_row_alone_drops_none() -> None:
    def act(frame: pl.DataFrame) -> pl.DataFrame:
        if {"a", "z"} <= set(frame["text"]):
            raise KeyError("a pair")
        return pl.DataFrame({"reason": pl.Series([None] * frame.height, dtype=pl.String)})

    with pytest.raises(BrokenStageError, match="fails on 4 rows together, on none of them alone"):
        Guard("stage").judge(pl.DataFrame({"text": list("abcz")}), act)


def test_a_filter_that_fails_without_any_row_ends_the_run_with_what_it_says() -> None:
    def act(frame: pl.DataFrame) -> pl.DataFrame:
        raise KeyError("always")

    for rows in (0, 1, 3):
        with pytest.raises(BrokenStageError, match=r"fails on 0 rows together.*KeyError.*always"):
            Guard("stage").judge(pl.DataFrame({"text": ["a"] * rows}), act)


def test_one_failure_in_a_thousand_goes_on_for_ever() -> None:
    guard = Guard("stage")
    for i in range(20_000):
        found = guard.call("error_read", lambda i=i: 1 // (i % 1000))
        assert isinstance(found, Drop) == (i % 1000 == 0)


def _divide() -> None:
    _ = 1 // 0


def _look_up() -> None:
    _ = {}["a"]


def test_two_causes_are_counted_apart() -> None:
    guard = Guard("stage")
    for i in range(20):
        guard.call("error_read", _divide if i % 2 else _look_up)
    with pytest.raises(StallError, match="ZeroDivisionError in _divide"):
        guard.call("error_read", _divide)
