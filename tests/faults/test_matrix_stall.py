"""Rows 30 and 31: a teacher that repeats itself, at once or after a while."""

import re
from pathlib import Path
from typing import Any

import pytest

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
