"""Row 33, the key: it goes to the named host alone, and nothing that is stored holds it."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults import matrix
from tests.teacher_server.process import Server, auth_hash

KEY = "sk-canary-0123456789abcdef0123456789"
NAMED = {"environment": {"MY_KEY": KEY}}


def plan(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"content": matrix.THREE_ITEMS, "rules": list(rules)}


def holds_key(out: Path) -> list[str]:
    """Files of a run in which a part of the key stands: whole, or either half."""
    parts = [KEY.encode(), KEY[: len(KEY) // 2].encode(), KEY[len(KEY) // 2 :].encode()]
    files = [path for path in out.rglob("*") if path.is_file()]
    return [path.name for path in files if any(part in path.read_bytes() for part in parts)]


def test_a_teacher_without_a_key_may_write_the_word_none(server: Server, tmp_path: Path) -> None:
    server.set_plan({"content": {"mode": "fixed", "text": " Say why none of the nine is left."}})
    ran = matrix.run(server, tmp_path / "run", "bootstrap.target=1")
    assert ran.code == 0
    (row,) = ran.rows("bootstrap")
    assert row["instruction"] == "Say why none of the nine is left."


def test_a_key_that_the_teacher_writes_into_its_replies_is_taken_out(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "echo_key"}))
    ran = matrix.run(server, tmp_path / "run", "teacher.key=env:MY_KEY", **NAMED)
    assert ran.code == 0
    assert ran.faults["echo_key"] == ran.requests
    assert {event["auth"] for event in server.history("request")} == {auth_hash(KEY)}
    assert any("[key removed]" in str(row) for row in ran.rows("bootstrap"))
    assert holds_key(ran.out) == []


@pytest.mark.parametrize("where", ["models", "chat"])
@pytest.mark.parametrize("distance", [0, 440, 470, 480])
def test_a_refusal_that_repeats_the_key_is_told_without_it(
    server: Server, tmp_path: Path, where: str, distance: int
) -> None:
    """`distance` puts the key where a message is shortened."""
    message = "x" * distance + KEY
    refusal = {"fault": "unauthorized", "message": message, "match": {"kind": where}}
    server.set_plan(plan(refusal))
    ran = matrix.run(server, tmp_path / "run", "teacher.key=env:MY_KEY", **NAMED)
    assert ran.faults["unauthorized"] > 0
    assert ran.code == 5
    assert KEY[:12] not in str(ran.error)
    assert holds_key(ran.out) == []
