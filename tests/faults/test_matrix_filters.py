"""Row 48: a filter of the user's own raises, hangs, or takes its process down."""

import json
import subprocess
from pathlib import Path

import polars as pl
import pytest

from tests.run import books
from tests.security.command import environment, line

CODE = """
import os, re, time
import polars as pl

def verdicts(instruction):
    none = pl.Series([None] * len(instruction), dtype=pl.String)
    return pl.DataFrame({"reason": none, "detail": none})

def sleeps(instruction):
    time.sleep(1000)

def is_slow(instruction):
    time.sleep(2)
    return verdicts(instruction)

def loops(instruction):
    while True:
        pass

def backtracks(instruction):
    return re.match("(a+)+$", "a" * 64 + "!")  # in C, the interpreter locked

def dies(instruction):
    os.abort()

def raises(instruction):
    if instruction.str.contains("number 3.", literal=True).any():
        raise ValueError("three")
    return verdicts(instruction)

def always_raises(instruction):
    raise ValueError("three")

def prints(instruction):
    print("a word of the filter's own")
    return verdicts(instruction)
"""


def judged(folder: Path, function: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the stage `filter` with a rule of ours, then one of those above."""
    (folder / "own.py").write_text(CODE)
    texts = [f"Say something about the number {n}." for n in range(40)]
    pl.DataFrame({"instruction": texts}).write_parquet(folder / "rows.parquet")
    filters = f"filter.filters={{word_count: {{}}, '{folder / 'own.py'}:{function}': {{}}}}"
    given = ["run", "filter", "--input", str(folder / "rows.parquet"), "--out", str(folder / "run")]
    return subprocess.run(
        line(*given, "--set", filters, "--json", *more),
        env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("function", ["sleeps", "loops", "backtracks"])
def test_a_filter_that_hangs_ends_the_run_and_is_named(tmp_path: Path, function: str) -> None:
    done = judged(tmp_path, function, "--set", "filter.own_timeout_s=1")
    assert done.returncode == 4, done.stderr
    at = next(n for n, text in enumerate(CODE.split("\n"), 1) if f"def {function}(" in text)
    assert f"{function} is at line" in done.stderr
    number = int(done.stderr.split("is at line ")[1].split()[0])
    assert at < number <= at + 2, done.stderr
    assert str(tmp_path / "own.py") in done.stderr
    assert "filter.own_timeout_s" in done.stderr
    assert "Traceback" not in done.stderr
    books.check(tmp_path / "run")
    assert len(books.rows(tmp_path / "run", "import")) == 40
    state = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert state["status"] == "stopped"
    assert not list((tmp_path / "run" / ".staging").iterdir())


def test_a_filter_that_only_needs_more_time_gets_it(tmp_path: Path) -> None:
    assert judged(tmp_path, "is_slow", "--set", "filter.own_timeout_s=0.3").returncode == 4
    done = judged(tmp_path, "is_slow")
    assert done.returncode == 0, done.stderr
    books.check(tmp_path / "run")
    assert len(books.rows(tmp_path / "run", "filter")) == 40


def test_a_filter_that_takes_its_process_down_ends_the_run(tmp_path: Path) -> None:
    done = judged(tmp_path, "dies")
    assert done.returncode == 70, done.stderr
    assert "SIGABRT" in done.stderr
    assert "Traceback" not in done.stderr
    books.check(tmp_path / "run")


def test_a_filter_that_fails_on_every_row_ends_the_run_and_says_how(tmp_path: Path) -> None:
    done = judged(tmp_path, "always_raises")
    assert done.returncode == 4, done.stderr
    assert "ValueError in always_raises" in done.stderr


def test_a_filter_that_raises_loses_the_rows_at_fault_alone(tmp_path: Path) -> None:
    done = judged(tmp_path, "raises")
    assert done.returncode == 0, done.stderr
    (dropped,) = books.rows(tmp_path / "run", "filter", "dropped")
    assert dropped["drop_reason"] == "error_filter"
    assert dropped["instruction"].endswith("the number 3.")
    assert len(books.rows(tmp_path / "run", "filter")) == 39


def test_what_a_filter_prints_is_not_taken_for_an_event(tmp_path: Path) -> None:
    done = judged(tmp_path, "prints")
    assert done.returncode == 0, done.stderr
    assert "a word of the filter's own" in done.stderr
    for event in done.stdout.splitlines():
        json.loads(event)
