"""Rows written for these tests, with the verdict that a reader gives: `cases/FILTER.LANGUAGE.tsv`.

A line is the reason (`-` where the row is to be kept), the instruction, the input if there are four
fields, and the output. `\\n` is a line break, and `⟨text⟩×7` the text seven times. What the filters
that compare rows meet, and what those that learn learn from, is in `beside/`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

CASES = Path(__file__).parent / "cases"
BESIDE = Path(__file__).parent / "beside"
LANGUAGES = ("en", "zh")
LEAST = 40  # cases of a filter in each language
LEAST_OF_EITHER = 10  # of them to keep, and to drop
TIMES = re.compile("⟨(.*?)⟩×([0-9]+)", re.DOTALL)


def written_out(field: str) -> str:
    text = field.replace("\\n", "\n").replace("\\ufffd", "\ufffd").replace("\\u0002", "\x02")
    return TIMES.sub(lambda met: met[1] * int(met[2]), text)


def fields(path: Path) -> list[list[str]]:
    """The fields of each line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[written_out(field) for field in line.split("\t")] for line in lines]


def cases(name: str, written_in: str) -> pl.DataFrame:
    """A row a case: `reason` (null where it is to be kept), `instruction`, `input`, `output`."""
    rows = []
    for reason, instruction, *rest in fields(CASES / f"{name}.{written_in}.tsv"):
        assert 1 <= len(rest) <= 2, (reason, instruction, rest)
        rows.append((reason, instruction, rest[0] if len(rest) == 2 else "", rest[-1]))
    names = ("reason", "instruction", "input", "output")
    frame = pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")
    return frame.with_columns(reason=pl.col("reason").replace("-", None))


def reasons_of(lines: Sequence[Sequence[str]]) -> pl.Series:
    """The first field of each line, null where the row is to be kept."""
    return pl.Series([None if line[0] == "-" else line[0] for line in lines], dtype=pl.String)


def check_counts(reasons: pl.Series) -> None:
    """Enough cases, to keep and to drop."""
    assert len(reasons) >= LEAST
    assert LEAST_OF_EITHER <= reasons.null_count() <= len(reasons) - LEAST_OF_EITHER


def share_right(wanted: pl.Series, found: pl.Series) -> float:
    """How many of the reasons are those that are wanted, null where none is."""
    return int(wanted.eq_missing(found).sum()) / len(wanted)
