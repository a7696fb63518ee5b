import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.outputs import outputs

TEXTS = st.none() | st.text(st.sampled_from(list("ab:： \n\x1c\u3000")), max_size=4)


def slow(given: str | None, answer: str | None) -> str | None:
    given, answer = (given or "").strip(), (answer or "").strip()
    if answer == "":
        return "empty_output"
    if given == answer:
        return "output_equals_input"
    return "trailing_colon" if given.endswith(":") or answer.endswith(":") else None


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_every_row_gets_the_verdict_of_the_slow_version(
    rows: list[tuple[str | None, str | None]],
) -> None:
    frame = pl.DataFrame(rows, schema={"input": pl.String, "output": pl.String}, orient="row")
    found = outputs(frame["input"], frame["output"])
    assert found["reason"].to_list() == [slow(*row) for row in rows]


@pytest.mark.parametrize(
    ("input_", "output", "reason"),
    [
        ("", "seven", None),
        (None, "seven", None),
        ("7", None, "empty_output"),
        ("", " \n", "empty_output"),
        ("seven ", " seven", "output_equals_input"),
        ("seven", "Seven", None),
        ("The sum is:", "7", "trailing_colon"),
        ("7", "The sum is: ", "trailing_colon"),
        ("7", "The sum is：", None),
        ("7", "ratio 3:4", None),
    ],
)
def test_instances(input_: str | None, output: str | None, reason: str | None) -> None:
    found = outputs(pl.Series([input_], dtype=pl.String), pl.Series([output], dtype=pl.String))
    assert found["reason"].to_list() == [reason]
