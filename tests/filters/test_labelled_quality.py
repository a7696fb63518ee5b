"""The classifier of `quality` learns from `beside/quality.tsv` and is judged by other rows.

What learns is judged by how many cases it gets right. Of the 52 in each language it gets 49: three
sound answers of a few words look to it like those that say little.
"""

from pathlib import Path

import polars as pl
import pytest

from filters.quality import TEXTS, quality
from tests.filters.labelled import BESIDE, LANGUAGES, cases, check_counts, fields, share_right

RIGHT = 0.9
"""The share of cases that is to be right, in each language."""
LABELLED = fields(BESIDE / "quality.tsv")
OTHER = {"good": "bad", "bad": "good"}


def found(rows: pl.DataFrame, folder: Path, *, at_least: float, swapped: bool = False) -> pl.Series:
    """The reasons that a classifier gives which learned from `LABELLED`, or from the opposite."""
    learned = [(OTHER[label] if swapped else label, *texts) for label, *texts in LABELLED]
    path = folder / f"{swapped}.jsonl"
    names = ("label", "instruction", "output")
    pl.DataFrame(learned, names, orient="row").write_ndjson(path)
    return quality(*(rows[name] for name in TEXTS), labelled=str(path), at_least=at_least)["reason"]


@pytest.mark.parametrize("written_in", LANGUAGES)
def test_cases_are_told_that_were_not_learned_from(written_in: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="needs the extra 'quality'")
    rows = cases("quality", written_in)
    check_counts(rows["reason"])
    assert not {asked for _, asked, _ in LABELLED} & set(rows["instruction"])
    reasons = found(rows, tmp_path, at_least=0.5)
    assert share_right(rows["reason"], reasons) >= RIGHT
    assert not rows.filter(rows["reason"].is_not_null() & reasons.is_null()).rows()


@pytest.mark.parametrize("written_in", LANGUAGES)
def test_what_is_told_is_what_the_labels_say(written_in: str, tmp_path: Path) -> None:
    """The other side of `RIGHT`: from the opposite labels, cases are told the wrong way."""
    pytest.importorskip("sklearn", reason="needs the extra 'quality'")
    rows = cases("quality", written_in)
    swapped = found(rows, tmp_path, at_least=0.5, swapped=True)
    assert share_right(rows["reason"], swapped) <= 1 - RIGHT


@pytest.mark.parametrize("written_in", LANGUAGES)
def test_the_lowest_threshold_keeps_every_case_and_the_highest_none(
    written_in: str, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn", reason="needs the extra 'quality'")
    rows = cases("quality", written_in)
    assert found(rows, tmp_path, at_least=0).null_count() == rows.height
    assert found(rows, tmp_path, at_least=1).null_count() == 0
