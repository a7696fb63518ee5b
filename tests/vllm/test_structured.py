"""Replies that come as JSON by a schema are read as the text that says the same."""

import json
import re
from pathlib import Path

import pytest

from pipeline.run.purge_masked import purge_masked
from pipeline.run.structured import as_text, parameters, sentence
from pipeline.stage import Form, Reply
from pipeline.stages import teacher_tag
from pipeline.stages.rating import FORM, read_rating
from tests.run import books
from tests.vllm.serving import Serving


@pytest.mark.parametrize(
    ("said", "finish", "number", "reason"),
    [
        ('{"rating": 4.5, "reason": "True."}', "stop", 4.5, "True."),
        (' {"rating":\n0,"reason":""} ', "stop", 0.0, ""),
        ('{"rating": 4.5, "reason": "True, but', "length", 4.5, "True, but"),
        ('{"rating": 4.5, "reas', "length", None, ""),  # a reason alone tells that it is whole
        ('{"rating": 4', "length", None, ""),
        ('{"rating": 4.', "length", None, ""),
        ('{"rating": 4.5, "reason": "True."', "stop", None, ""),  # not JSON, and said to be whole
        ('{"reason": "True."}', "stop", None, ""),
        ("[4.5]", "stop", None, ""),
        ("4.5\nThe server takes no notice.", "stop", 4.5, "The server takes no notice."),
        ("4.5", "stop", 4.5, ""),
        ('{"rating": 9, "reason": "Very good."}', "stop", None, ""),
        ('{"rating": "4.5\\nreason", "reason": "x"}', "stop", 4.5, "reason\nx"),
    ],
)
def test_a_rating_as_json(said: str, finish: str, number: float | None, reason: str) -> None:
    found = read_rating(as_text(FORM, Reply(said, finish)).text)
    assert found.number == number
    assert number is None or found.reason == reason


def test_tags_as_json() -> None:
    row = {"instruction": "Add 1 and 2.", "input": "", "output": "3"}
    config = teacher_tag.Config()
    form = teacher_tag.ask(row, config, None).form  # type: ignore[arg-type]  # nothing is drawn
    assert form is not None
    said = json.dumps({"domain": config.domains[0], "task": config.tasks[0], "language": "en"})
    (tags,) = teacher_tag.read(as_text(form, Reply(said)), row, config)
    assert tags == {"domain": config.domains[0], "task_type": config.tasks[0], "language": "en"}
    cut = said[: said.index('"language"')]
    (tags,) = teacher_tag.read(as_text(form, Reply(cut, "length")), row, config)
    assert tags == {"domain": config.domains[0], "task_type": config.tasks[0], "language": None}


def test_what_is_asked_for() -> None:
    asked = parameters(FORM)["response_format"]
    assert asked["type"] == "json_schema"
    schema = asked["json_schema"]["schema"]
    assert schema["properties"]["rating"]["enum"] == [n / 2 for n in range(11)]
    assert asked["json_schema"]["strict"] is True
    assert sentence(FORM) == "Write all of it as one JSON object with the fields rating and reason."


@pytest.mark.parametrize(
    "reason",
    [
        r"Right:\nann.lee@northwindtrade.net says so.",
        r"Right:\nbo.lee\u0040northwindtrade.net does.",
    ],
)
def test_what_json_writes_otherwise_is_masked_all_the_same(tmp_path: Path, reason: str) -> None:
    serving = Serving(tmp_path, {"says_by_schema": f'{{"rating": 4.5, "reason": "{reason}"}}'}, 3)
    masked = ("--set", "mask=[email]", "--set", "rate.keep_at_least=0")
    ended, said = serving.finish(*masked, stage="rate")
    assert ended == 0, said
    rows = books.rows(serving.run, "rate")
    assert [row["rating"] for row in rows] == [4.5] * 3
    for row in rows:
        assert "northwindtrade.net" not in row["rating_reason"]
        assert row["rating_reason"].startswith("Right:\n")
        assert row["masked"] == ["email"]
    assert purge_masked(serving.run) == 3
    kept = [one["raw"] for one in books.records(serving.run) if one["kind"] == "reply"]
    assert len(kept) == 3
    assert not [raw for raw in kept if b"northwindtrade" in raw]


@pytest.mark.parametrize("is_structured", [None, False])
def test_a_judge_that_is_served_here_is_asked_by_schema_unless_told_not_to(
    tmp_path: Path, is_structured: bool | None
) -> None:
    serving = Serving(tmp_path, {"says": "3.5\nIt is half right."}, rows=6)
    more = () if is_structured is None else ("--set", f"judge.structured_output={is_structured}")
    ended, said = serving.finish("--set", "rate.keep_at_least=0", *more, stage="rate")
    assert ended == 0, said
    rows = books.rows(serving.run, "rate")
    expected = (4.5, "It is right.") if is_structured is None else (3.5, "It is half right.")
    assert [(row["rating"], row["rating_reason"]) for row in rows] == [expected] * 6
    identity = json.loads((serving.run / "run.json").read_bytes())["identity"]
    assert identity.get("judge.structured") == (True if is_structured is None else None)
    assert re.fullmatch(r"[0-9a-f]{64}", identity["judge.sha256"])


@pytest.mark.parametrize(
    ("said", "finish", "expected"),
    [
        ('{"name": "x", "n": 4', "length", '{"name": "x", "n": 4'),  # it may become 4.5, or 41
        ('{"name": "x", "n": 4}', "length", "x 4"),
        ('{"name": "x", "n": 4}', "stop", "x 4"),
    ],
)
def test_a_number_that_may_go_on_is_not_read(said: str, finish: str, expected: str) -> None:
    form = Form("f", {"properties": {}}, lambda found: f"{found['name']} {found['n']}")
    assert as_text(form, Reply(said, finish)).text == expected
