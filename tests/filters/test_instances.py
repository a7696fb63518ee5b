from typing import Literal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from filters.instances import instances

NAMES = ("root_id", "row_id", "instruction", "input", "output")
Case = tuple[str | None, str, str | None, str | None]


def judge(rows: list[Case], drop: Literal["task", "instances"] = "task") -> pl.DataFrame:
    """Judge rows of root, instruction, input and output; they are called r0, r1 and so on."""
    full = [(root, f"r{at}", *rest) for at, (root, *rest) in enumerate(rows)]
    frame = pl.DataFrame(full, schema=dict.fromkeys(NAMES, pl.String), orient="row")
    return instances(*(frame[name] for name in NAMES), drop=drop)


def slow(rows: list[Case], drop: str) -> list[str | None]:
    plain = [
        (root or f"r{at}", instruction, (given or "").strip(), (answer or "").strip())
        for at, (root, instruction, given, answer) in enumerate(rows)
    ]
    clashing = [
        any(one[:3] == other[:3] and one[3] != other[3] and one[2] for other in plain)
        for one in plain
    ]
    found: list[str | None] = []
    for at, one in enumerate(plain):
        spoilt = any(
            clash and one[:2] == other[:2] for clash, other in zip(clashing, plain, strict=True)
        )
        if spoilt if drop == "task" else clashing[at]:
            found.append("conflicting_outputs")
        else:
            found.append("repeated_instance" if one in plain[:at] else None)
    return found


CASES = st.tuples(
    st.sampled_from([None, "a", "b"]),
    st.sampled_from(["Do it.", "Do that."]),
    st.sampled_from([None, "", "1", " 1", "2"]),
    st.sampled_from([None, "x", "x\n", "y", "z"]),
)


@given(st.lists(CASES, max_size=12), st.sampled_from(["task", "instances"]))
def test_every_row_gets_the_verdict_of_the_slow_version(
    rows: list[Case], drop: Literal["task", "instances"]
) -> None:
    found = judge(rows, drop)
    assert found["reason"].to_list() == slow(rows, drop)
    assert found["ref"].is_null().to_list() == found["reason"].is_null().to_list()
    assert not any(ref == f"r{at}" for at, ref in enumerate(found["ref"]))


def test_a_contradiction_costs_the_task_all_its_instances() -> None:
    rows: list[Case] = [
        ("a", "Sort.", "1", "x"),
        ("a", "Sort.", "2", "z"),
        ("a", "Sort.", "1", "y"),
        ("b", "Sort.", "1", "y"),
    ]
    assert judge(rows).rows() == [
        ("conflicting_outputs", "2 outputs for one input", "r2"),
        ("conflicting_outputs", "2 outputs for another input of the task", "r0"),
        ("conflicting_outputs", "2 outputs for one input", "r0"),
        (None, None, None),
    ]
    assert judge(rows, "instances")["ref"].to_list() == ["r2", None, "r0", None]


def test_two_outputs_without_an_input_do_not_contradict_each_other() -> None:
    assert judge([("a", "Name one.", "", "red"), ("a", "Name one.", None, "blue")])[
        "reason"
    ].to_list() == [None, None]


def test_of_identical_instances_the_first_is_kept() -> None:
    rows: list[Case] = [("a", "Sort.", "1", "x"), ("a", "Sort.", "1 ", "x\n")]
    assert judge(rows).rows() == [(None, None, None), ("repeated_instance", None, "r0")]


def test_no_rows_give_no_verdicts() -> None:
    assert judge([]).schema == {"reason": pl.String, "detail": pl.String, "ref": pl.String}
