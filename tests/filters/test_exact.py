import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from filters.exact import exact

NAMES = ("row_id", "instruction", "input", "output")
Case = tuple[str | None, str | None, str | None]


def judge(
    rows: list[Case], *, compare_output: bool = True, ignore_case: bool = False
) -> pl.DataFrame:
    """Judge rows of instruction, input and output; they are called r0, r1 and so on."""
    full = [(f"r{at}", *row) for at, row in enumerate(rows)]
    frame = pl.DataFrame(full, schema=dict.fromkeys(NAMES, pl.String), orient="row")
    columns = (frame[name] for name in NAMES)
    return exact(*columns, compare_output=compare_output, ignore_case=ignore_case)


TEXTS = st.none() | st.text(st.sampled_from(list("aAé \n\x1c\x85\u3000\u200b")), max_size=5)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=12), st.booleans(), st.booleans())
def test_every_row_meets_the_first_row_that_the_slow_version_meets(
    rows: list[Case], compare_output: bool, ignore_case: bool
) -> None:
    found = judge(rows, compare_output=compare_output, ignore_case=ignore_case)
    width = 3 if compare_output else 2
    keys = [[" ".join((text or "").split()) for text in row[:width]] for row in rows]
    if ignore_case:
        keys = [[text.lower() for text in key] for key in keys]
    firsts = [keys.index(key) for key in keys]
    refs = [None if first == at else f"r{first}" for at, first in enumerate(firsts)]
    assert found["ref"].to_list() == refs
    assert found["reason"].to_list() == [ref and "exact_duplicate" for ref in refs]
    assert found["similarity"].to_list() == [ref and 1.0 for ref in refs]


def test_spaces_do_not_tell_rows_apart_and_letters_do() -> None:
    rows: list[Case] = [("Do it.", "", "x"), (" Do\n it.", None, "x"), ("Do It.", "", "x")]
    assert judge(rows)["ref"].to_list() == [None, "r0", None]
    assert judge(rows, ignore_case=True)["ref"].to_list() == [None, "r0", "r0"]


def test_outputs_may_be_left_out_of_the_comparison() -> None:
    rows: list[Case] = [("Do it.", "", "x"), ("Do it.", "", "y")]
    assert judge(rows)["ref"].to_list() == [None, None]
    assert judge(rows, compare_output=False)["ref"].to_list() == [None, "r0"]


def test_text_does_not_wander_between_columns() -> None:
    assert judge([("a b", "", "x"), ("a", "b", "x")])["ref"].to_list() == [None, None]
