"""Rows 30 and 31: a teacher that repeats itself, at once or after a while."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import look
from tests.faults import matrix
from tests.run import books
from tests.teacher_server.process import Server

REPLIES_LOOKED_AT = 200
SETTINGS = ("bootstrap.target=2000", "bootstrap.stall_after=200")
SAME: dict[str, Any] = {"fault": "same_reply"}
COLLAPSE: dict[str, Any] = {"fault": "collapse", "items": 3, "match": {"nth": {"min": 60}}}


@pytest.mark.parametrize("fault", [SAME, COLLAPSE], ids=["same_reply", "collapse"])
def test_a_teacher_with_nothing_new_is_left_with_4_and_what_was_made_is_valid(
    server: Server, tmp_path: Path, fault: dict[str, Any]
) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "rules": [fault]})
    ran = matrix.run(server, tmp_path / "run", *SETTINGS, until="bootstrap", deadline_s=60)
    assert ran.faults[fault["fault"]] > 100
    assert ran.code == 4
    assert re.search(r"keeps \d+ of the last \d+ items .* dropped as not_novel \d+", str(ran.error))
    assert str(ran.error).count("new run") == 1
    state = books.stage_json(ran.out, "bootstrap")
    assert state["stopped"] == "stalled"
    began = fault.get("match", {}).get("nth", {}).get("min", 1) - 1
    most = began + REPLIES_LOOKED_AT + matrix.WINDOW + matrix.C
    assert ran.requests <= most
    assert state["next_slot"] <= began + REPLIES_LOOKED_AT + matrix.C
    texts = [row["instruction"] for row in ran.rows("bootstrap")]
    assert len(texts) == len(set(texts)) == state["kept"]
    matrix.check_interval(ran, exact=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("bootstrap.stall_below=0",), r"got \d distinct replies among the last 200"),
        (
            (
                "bootstrap.stall_below=0",
                "bootstrap.stall_distinct_below=0",
                "budget.requests=10_500",  # 210 are 2 % of it
            ),
            r"spent 2\.0% of the budget since it last kept a row",
        ),
    ],
    ids=["replies", "budget"],
)
def test_replies_alone_or_the_budget_alone_say_that_nothing_new_comes(
    server: Server, tmp_path: Path, settings: tuple[str, ...], said: str
) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "rules": [SAME]})
    ran = matrix.run(server, tmp_path / "run", *SETTINGS, *settings, until="bootstrap")
    assert ran.faults["same_reply"] > 100
    assert ran.code == 4
    assert re.search(said, str(ran.error))
    assert re.search(r"dropped as not_novel \d+", str(ran.error))
    assert books.stage_json(ran.out, "bootstrap")["stopped"] == "stalled"
    assert ran.requests <= 1 + 211 + matrix.WINDOW + matrix.C
    again = matrix.run(server, tmp_path / "run", *SETTINGS, *settings, until="bootstrap")
    assert (again.code, again.requests) == (4, 0)


@pytest.mark.parametrize(
    ("sign", "bound", "stops"),
    [
        ("stall_below", "0.02", (90, 170, 195)),
        ("stall_distinct_below", "0.05", (90, 170, 195)),
        ("stall_spend_above", "0.03", (90, 170, 290)),  # 330 are 3 % of the budget
    ],
)
def test_a_run_that_is_resumed_stalls_where_one_that_never_stopped_does(
    server: Server, tmp_path: Path, sign: str, bound: str, stops: tuple[int, ...]
) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "rules": [SAME]})
    signs = {"stall_below": "0", "stall_distinct_below": "0", "stall_spend_above": "1", sign: bound}
    rules = (*SETTINGS, "shard_rows=50", *(f"bootstrap.{name}={at}" for name, at in signs.items()))
    last = "budget.requests=11000"
    whole = matrix.run(server, tmp_path / "one", *rules, last, until="bootstrap")
    assert whole.code == 4
    assert sign in str(whole.error)
    for n in stops:
        stop = (f"budget.requests={n}", "bootstrap.stall_after=null")
        assert matrix.run(server, tmp_path / "two", *rules, *stop, until="bootstrap").code == 3
    ran = matrix.run(server, tmp_path / "two", *rules, last, until="bootstrap")
    assert ran.code == 4
    assert str(ran.error).replace("two", "one") == str(whole.error)
    assert books.data_files(ran.out) == books.data_files(whole.out)


def test_a_teacher_that_sends_nothing_at_all_is_left_after_two_hundred_replies(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": " "}})
    settings = ("bootstrap.target=2000", "bootstrap.stall_after=500")
    ran = matrix.run(server, tmp_path / "run", *settings, until="bootstrap", deadline_s=60)
    assert ran.code == 4
    assert ran.dropped("bootstrap").total() >= REPLIES_LOOKED_AT
    assert books.stage_json(ran.out, "bootstrap")["next_slot"] <= REPLIES_LOOKED_AT + matrix.C


def test_a_stalled_run_that_is_started_again_asks_nothing_unless_it_is_told_to(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "rules": [SAME]})
    assert matrix.run(server, tmp_path / "run", *SETTINGS, until="bootstrap").code == 4
    again = matrix.run(server, tmp_path / "run", *SETTINGS, until="bootstrap")
    assert (again.code, again.requests) == (4, 0)
    assert "--no-stall-stop" in str(again.error)
    more = (*SETTINGS, "budget.requests=500")
    on = matrix.run(server, tmp_path / "run", *more, until="bootstrap", may_stall=True)
    assert on.code == 3, "it stopped before its budget"
    assert on.requests > 200
    assert on.faults["same_reply"] > 200


def test_a_run_that_stalled_goes_on_where_it_is_told_to(server: Server, tmp_path: Path) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "rules": [SAME]})
    ran = matrix.run(server, tmp_path / "run", *SETTINGS, until="bootstrap")
    assert ran.code == 4
    server.set_plan({"content": matrix.THREE_ITEMS})
    more = ("bootstrap.target=2000", "bootstrap.stall_after=null", "budget.requests=300")
    again = matrix.run(server, tmp_path / "run", *more, until="bootstrap")
    assert again.code == 3
    assert len(again.rows("bootstrap")) > 100


@pytest.mark.parametrize("fault", ["html", "json_array"])
def test_an_address_at_which_no_teacher_answers_is_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    server.set_plan([{"fault": fault}])
    ran = matrix.run(server, tmp_path / "run", *SETTINGS, "teacher.attempts=1", until="bootstrap")
    assert ran.code == 4
    said = str(ran.error)
    assert "mend the address in a new run (--teacher openai:MODEL@URL; most end in /v1)" in said
    assert "prompt" not in said
    assert "--no-stall-stop" not in said
    look.status(str(ran.out))
    text = capsys.readouterr().out
    assert "next: what bootstrap asked is no teacher: synth show" in text
    again = matrix.run(server, tmp_path / "run", *SETTINGS, "teacher.attempts=1", until="bootstrap")
    assert again.requests == 0
    assert "mend the address" in str(again.error)
