"""How many rows of one task are kept."""

from collections import Counter
from hashlib import blake2b

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.task_cap import task_cap

ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from("ab"), st.sampled_from(["x", " x\n", "x y", "x  \ny", ""])
    )
)


def columns(rows: list[tuple[str | None, str]]) -> tuple[pl.Series, pl.Series, pl.Series]:
    ids = pl.Series([f"r{at}" for at in range(len(rows))], dtype=pl.String)
    roots, tasks = (pl.Series([row[at] for row in rows], dtype=pl.String) for at in (0, 1))
    return ids, roots, tasks


@given(ROWS, st.integers(1, 4), st.sampled_from(["root", "instruction"]))
def test_the_first_rows_of_each_task_stay(
    rows: list[tuple[str | None, str]], at_most: int, task: str
) -> None:
    found = task_cap(*columns(rows), at_most=at_most, task=task, draw="first")  # type: ignore[arg-type]
    seen: Counter[str] = Counter()
    last: dict[str, str] = {}
    for at, (root, text) in enumerate(rows):
        key = (root or f"r{at}") if task == "root" else " ".join(text.split())
        seen[key] += 1
        if seen[key] <= at_most:
            last[key] = f"r{at}"
            assert found.row(at) == (None, None, None)
        else:
            assert found["reason"][at] == "over_task_cap"
            assert found["ref"][at] == last[key]
            assert found["detail"][at].startswith(f"row {seen[key]} of ")


@given(ROWS, st.integers(1, 4), st.integers(0, 3), st.randoms())
def test_the_draw_does_not_depend_on_the_order_of_the_rows(
    rows: list[tuple[str | None, str]], at_most: int, seed: int, random: object
) -> None:
    ids, roots, tasks = columns(rows)
    frame = pl.DataFrame({"id": ids, "root": roots, "task": tasks})
    places = list(range(frame.height))
    random.shuffle(places)  # type: ignore[attr-defined]
    kept = []
    for one in (frame, frame[places] if places else frame):
        found = task_cap(one["id"], one["root"], one["task"], at_most=at_most, seed=seed)
        kept.append(set(one["id"].filter(found["reason"].is_null()).to_list()))
    assert kept[0] == kept[1]
    counts = Counter(" ".join(text.split()) for _, text in rows)
    assert len(kept[0]) == sum(min(at_most, count) for count in counts.values())


@given(ROWS, st.integers(1, 4), st.integers(0, 3), st.sampled_from(["root", "instruction"]))
def test_the_rows_that_are_drawn_are_those_with_the_lowest_hashes(
    rows: list[tuple[str | None, str]], at_most: int, seed: int, task: str
) -> None:
    found = task_cap(*columns(rows), at_most=at_most, task=task, seed=seed)  # type: ignore[arg-type]
    tasks: dict[str, list[str]] = {}
    for at, (root, text) in enumerate(rows):
        key = (root or f"r{at}") if task == "root" else " ".join(text.split())
        tasks.setdefault(key, []).append(f"r{at}")
    for of_one in tasks.values():
        of_one.sort(key=lambda one: blake2b(f"{seed}:{one}".encode(), digest_size=16).hexdigest())
        for place, row_id in enumerate(of_one, start=1):
            verdict = found.row(int(row_id[1:]))
            if place <= at_most:
                assert verdict == (None, None, None)
            else:
                detail = f"row {place} of {len(of_one)} of the task"
                assert verdict == ("over_task_cap", detail, of_one[at_most - 1])


def test_another_seed_draws_other_rows() -> None:
    given_columns = columns([("a", "x")] * 50)
    kept = {
        tuple(task_cap(*given_columns, at_most=5, seed=seed)["reason"].is_null()) for seed in (0, 1)
    }
    assert len(kept) == 2


@pytest.mark.parametrize(("rows", "dropped"), [(3, 0), (4, 1)])
def test_both_sides_of_the_cap(rows: int, dropped: int) -> None:
    found = task_cap(*columns([(None, "x")] * rows), at_most=3)
    assert found["reason"].count() == dropped
