"""Rows 30 and 31: a teacher that repeats itself, at once or after a while."""

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
    assert "not_novel" in str(ran.error)
    state = books.stage_json(ran.out, "bootstrap")
    assert state["stopped"] == "stalled"
    began = fault.get("match", {}).get("nth", {}).get("min", 1) - 1
    most = began + REPLIES_LOOKED_AT + matrix.WINDOW + matrix.C
    assert ran.requests <= most
    assert state["next_slot"] <= began + REPLIES_LOOKED_AT + matrix.C
    texts = [row["instruction"] for row in ran.rows("bootstrap")]
    assert len(texts) == len(set(texts)) == state["kept"]
    matrix.check_interval(ran, exact=True)


def test_a_run_that_stalled_goes_on_where_it_is_told_to(server: Server, tmp_path: Path) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "rules": [SAME]})
    ran = matrix.run(server, tmp_path / "run", *SETTINGS, until="bootstrap")
    assert ran.code == 4
    server.set_plan({"content": matrix.THREE_ITEMS})
    more = ("bootstrap.target=2000", "bootstrap.stall_after=null", "budget.requests=300")
    again = matrix.run(server, tmp_path / "run", *more, until="bootstrap")
    assert again.code == 3
    assert len(again.rows("bootstrap")) > 100
