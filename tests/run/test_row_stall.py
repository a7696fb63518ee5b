"""A stage that asks about rows is stopped where the teacher hardly gives what it is asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BudgetError, StallError
from pipeline.run.stalling import REPLIES, RecentRows
from pipeline.stage import AskingConfig
from tests.conftest import run_and_recount
from tests.run import books
from tests.teacher_server.content import Dice, instruction
from tests.teacher_server.process import Server

C = 8
EQUAL = {"mode": "fixed", "text": "Equal"}
NO_LINE = {"mode": "fixed", "text": "I thought about it and came to no end."}


def rows_until_stalled(given: int, dropped: list[str], **settings: Any) -> int:
    """How many rows that fare alike it takes; 2,000 where it never comes to that."""
    recent = RecentRows(AskingConfig(**settings))
    for n in range(1, 2_001):
        recent.add(given, dropped)
        if recent.is_stalled():
            return n
    return 2_000


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        (["no_information_gain"] * 4, 100),  # 400 items, and 100 rows of which nothing was kept
        (["no_information_gain"] * 20, 25),  # 500 items
        (["no_answer_line"], REPLIES),
    ],
)
def test_it_takes_500_items_or_100_rows_with_none_and_200_items_since_one(
    dropped: list[str], expected: int
) -> None:
    assert rows_until_stalled(0, dropped) == expected
    assert rows_until_stalled(0, dropped, stall_after=None) == 2_000
    assert rows_until_stalled(0, dropped, stall_below=0) == 2_000


def test_a_share_at_the_bound_goes_on() -> None:
    recent = RecentRows(AskingConfig(stall_after=10_000))
    for n in range(4_000):
        recent.add(int(n % 50 == 0), [] if n % 50 == 0 else ["cut_off"])
    for _ in range(49):
        recent.add(0, ["cut_off"] * 5)
        assert not recent.is_stalled()


def test_a_collapse_is_noticed_whatever_was_kept_before() -> None:
    recent = RecentRows(AskingConfig())
    for _ in range(5_000):
        recent.add(3, ["refusal"])
    n = 0
    while not recent.is_stalled():
        recent.add(0, ["refusal"] * 4)
        n += 1
    assert n <= 125
    assert recent.reasons().startswith("refusal 4")


def test_rows_that_say_nothing_of_the_teacher_stop_nothing() -> None:
    assert rows_until_stalled(0, []) == 2_000


def test_a_thousand_healthy_runs_are_never_stopped() -> None:
    """From 20 to 90 % are kept, from 1 to 16 items a row; up to a tenth of the rows ask nothing."""
    for seed in range(1_000):
        rng = Random(seed)
        share, most, silent = rng.uniform(0.2, 0.9), rng.randint(1, 16), rng.uniform(0, 0.1)
        recent = RecentRows(AskingConfig())
        for _ in range(600):
            n = 0 if rng.random() < silent else rng.randint(1, most)
            kept = sum(rng.random() < share for _ in range(n))
            recent.add(kept, ["refusal"] * (n - kept))
            assert not recent.is_stalled(), seed


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), max_size=900),
    after=st.integers(1, 600),
)
def test_the_last_rows_alone_say_the_same(rows: list[tuple[int, int]], after: int) -> None:
    whole, later = (RecentRows(AskingConfig(stall_after=after)) for _ in range(2))
    for kept, dropped in rows:
        whole.add(kept, ["cut_off"] * dropped)
    for kept, dropped in rows[-whole.most :]:
        later.add(kept, ["cut_off"] * dropped)
    assert (whole.items, whole.given, whole.dropped["cut_off"]) == (
        later.items,
        later.given,
        later.dropped["cut_off"],
    )
    assert whole.is_stalled() == later.is_stalled()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Four hundred rows, as others bring them."""
    path = tmp_path / "tasks.jsonl"
    with path.open("w") as file:
        for n in range(400):
            row = {"instruction": instruction(Dice(b"%d" % n)), "output": f"It is number {n}."}
            file.write(json.dumps(row) + "\n")
    return path


Start = Callable[..., None]


@pytest.fixture
def start(tasks: Path, server: Server) -> Start:
    """`start(out, recipe, *settings)`: run it over the four hundred rows."""

    def run(out: Path, recipe: str, *settings: str, **options: Any) -> None:
        run_and_recount(
            out,
            f"teacher.concurrency={C}",
            *settings,
            recipe=recipe,
            input=str(tasks),
            teacher=f"openai:test-model@{server.url}",
            **options,
        )

    return run


def _without_folder(error: object, out: Path) -> str:
    return str(error).replace(str(out), "RUN")


def test_a_teacher_whose_children_are_never_better_ends_evolve_and_roots_are_valid(
    start: Start, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": EQUAL})
    out = tmp_path / "run"
    with pytest.raises(StallError, match=r"keeps 0 of the last 400 items .*_gain 400") as caught:
        start(out, "evol-instruct")
    assert "--no-stall-stop" in str(caught.value)
    assert caught.value.exit_code == 4
    state = books.stage_json(out, "evolve")
    assert (state["stopped"], state["next_slot"], state["kept"]) == ("stalled", 100, 100)
    asked = server.counts()["requests_chat"]
    assert asked <= 12 * (100 + C) + C  # three requests a round
    with pytest.raises(StallError, match=r"nothing was asked now: it keeps 0 .* 100 of 400 rows"):
        start(out, "evol-instruct")
    assert server.counts()["requests_chat"] == asked
    with pytest.raises(BudgetError):
        start(out, "evol-instruct", f"budget.requests={asked + 300}", may_stall=True)
    assert server.counts()["requests_chat"] == asked + 300
    with pytest.raises(BudgetError):
        start(out, "evol-instruct", f"budget.requests={asked + 400}", "evolve.stall_after=null")
    assert books.stage_json(out, "evolve")["next_slot"] > 100


def test_a_run_that_is_resumed_stalls_where_one_that_never_stopped_does(
    start: Start, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": EQUAL})
    one, two = tmp_path / "one", tmp_path / "two"
    rules = ("shard_rows=70", "evolve.rounds=3", "evolve.stall_after=420")
    with pytest.raises(StallError) as whole:
        start(one, "evol-instruct", *rules)
    for n in (150, 600, 900):
        with pytest.raises(BudgetError):
            start(two, "evol-instruct", *rules, f"budget.requests={n}")
    with pytest.raises(StallError) as caught:
        start(two, "evol-instruct", *rules, "budget.requests=20000")
    assert _without_folder(caught.value, two) == _without_folder(whole.value, one)
    assert books.data_files(one) == books.data_files(two)


def test_answers_without_the_line_that_is_asked_for_end_respond(
    start: Start, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": NO_LINE})
    out = tmp_path / "run"
    said = r"gets what it asks for on 0 of the last 200 rows .* dropped as no_answer_line 200"
    with pytest.raises(StallError, match=said):
        start(out, "respond", "respond.samples=1")
    assert server.counts()["requests_chat"] <= 200 + 2 * C
    one = tmp_path / "one"
    with pytest.raises(BudgetError):
        start(one, "respond", "respond.samples=1", "budget.requests=150", "shard_rows=60")
    with pytest.raises(StallError, match=said):
        start(one, "respond", "respond.samples=1", "shard_rows=60")
    assert books.stage_json(one, "respond")["next_slot"] == 200


def test_a_judge_that_rates_low_and_a_reference_that_is_missed_stop_nothing(
    start: Start, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": "0\nIt says nothing."}})
    start(tmp_path / "rated", "rate")
    assert books.stage_json(tmp_path / "rated", "rate")["kept"] == 400
    assert books.stage_json(tmp_path / "rated", "rate-keep")["kept"] == 0
    server.set_plan({"content": {"mode": "fixed", "text": "Answer: 1000000"}})
    start(tmp_path / "missed", "respond", "respond.samples=1", "respond.reference=output")
    found = books.stage_json(tmp_path / "missed", "respond")
    assert found["dropped_by_reason"] == {"reference_not_reached": 400}


def test_a_judge_that_gives_no_number_ends_rate(
    start: Start, server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": "Good work."}})
    with pytest.raises(StallError, match="gets what it asks for on 0 of the last 200 rows"):
        start(tmp_path / "run", "rate")
