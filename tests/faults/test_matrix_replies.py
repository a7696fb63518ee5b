"""Rows 20-29: replies that came whole and are not what was asked for.

A fault strikes some requests of both stages once, so that asking again helps, and some of
`classify` every time. Then all rows are those of the clean run but for the ones that were struck
every time, which are dropped by the outcome's name.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.run.events import Event, Message
from tests.faults import matrix
from tests.faults.matrix import CLASSIFY, Ran
from tests.run import books
from tests.teacher_server.process import Server

ONCE = ["3", "4", "5", "6"]  # first digits of the requests that are struck once
EVERY_TIME = ["0", "1", "2"]

Params = dict[str, Any]

BAD: list[tuple[str, Params, str]] = [
    ("html", {}, "bad_envelope"),
    ("empty_body", {}, "bad_envelope"),
    ("invalid_json", {}, "bad_envelope"),
    ("invalid_json", {"variant": "tail"}, "bad_envelope"),
    ("invalid_json", {"variant": "text"}, "bad_envelope"),
    ("json_array", {}, "bad_envelope"),
    ("json_scalar", {}, "bad_envelope"),
    ("wrong_types", {}, "no_text"),
    ("wrong_types", {"variant": "content_list"}, "no_text"),
    ("wrong_types", {"variant": "message_text"}, "bad_envelope"),
    ("wrong_types", {"variant": "choices_text"}, "no_choices"),
    ("wrong_types", {"variant": "choice_null"}, "no_choices"),
    ("empty_choices", {}, "no_choices"),
    ("missing_choices", {}, "no_choices"),
    ("null_content", {}, "no_text"),
    ("tool_calls_only", {}, "tool_calls"),
    ("error_in_200", {}, "error_in_reply"),
    ("huge_body", {}, "too_large"),
    ("endless_body", {}, "too_large"),
    ("invalid_utf8", {}, "bad_envelope"),
    ("lone_surrogate", {}, "bad_text"),
    ("deep_nesting", {}, "bad_envelope"),
    ("duplicate_keys", {}, "no_choices"),
]

FINAL: list[tuple[str, Params, str]] = [
    ("refusal", {}, "refusal"),
    ("finish_content_filter", {}, "content_filter"),
    ("bad_request", {}, "bad_request"),
    ("context_length", {}, "bad_request"),
]

HARMLESS: list[tuple[str, Params]] = [
    ("wrong_content_type", {}),
    ("two_choices", {}),
    ("wrong_index", {}),
    ("other_model", {}),
    ("wrong_types", {"variant": "id_null"}),
    ("wrong_types", {"variant": "usage_list"}),
    ("usage_missing", {}),
    ("usage_zero", {}),
    ("usage_negative", {}),
    ("usage_float", {}),
    ("usage_text", {}),
    ("usage_bad_total", {}),
    ("bom", {}),
    ("utf16", {}),
    ("latin1_header", {}),
    ("nan", {}),
    ("infinity", {}),
    ("huge_number", {}),
]


def named(case: tuple[Any, ...]) -> str:
    """The name of a case, for people who read a list of tests."""
    variant = case[1].get("variant") or case[1].get("value")
    return f"{case[0]}-{variant}" if variant else case[0]


def plan(*rules: dict[str, Any], **content: object) -> dict[str, Any]:
    return {"content": matrix.THREE_ITEMS | content, "rules": list(rules)}


def check_siblings(ran: Ran, clean: Ran, outcome: str, n_dropped: int) -> None:
    """All rows are those of the clean run but for `n_dropped`, which say `outcome`."""
    dropped = ran.rows("classify", "dropped")
    assert {row["drop_reason"] for row in dropped} == {outcome}
    assert len(dropped) == n_dropped > 0
    gone = {row["row_id"] for row in dropped}
    left = [row for row in clean.rows("classify") if row["row_id"] not in gone]
    assert matrix.without_keys(ran.rows("classify")) == matrix.without_keys(left)


@pytest.mark.parametrize("case", BAD, ids=named)
def test_a_bad_reply_is_asked_again_then_dropped_by_name_and_no_other_row_changes(
    server: Server, clean: Ran, tmp_path: Path, case: tuple[str, Params, str]
) -> None:
    fault, params, outcome = case
    rule = {"fault": fault, **params}
    every_time = {"prompt": CLASSIFY, "hash": EVERY_TIME}
    once = {"hash": ONCE, "attempt": 1}
    server.set_plan(plan(rule | {"match": every_time}, rule | {"match": once}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults[fault] > 0
    hit = matrix.hashes_hit(server, fault)
    struck_out = {digest for digest in hit if digest[0] in EVERY_TIME}
    assert len(hit) > len(struck_out), "nothing was struck just once"
    assert ran.faults[fault] == len(hit) + 2 * len(struck_out), "three times each, and no more"
    for half in ("kept", "dropped"):
        ours, theirs = ran.rows("bootstrap", half), clean.rows("bootstrap", half)
        assert matrix.without_keys(ours) == matrix.without_keys(theirs)
    check_siblings(ran, clean, outcome, len(struck_out))
    matrix.check_interval(ran)


@pytest.mark.parametrize("case", FINAL, ids=named)
def test_what_asking_again_cannot_change_is_asked_once_and_dropped_by_name(
    server: Server, clean: Ran, tmp_path: Path, case: tuple[str, Params, str]
) -> None:
    fault, params, outcome = case
    match = {"prompt": CLASSIFY, "hash": EVERY_TIME}
    server.set_plan(plan({"fault": fault, **params, "match": match}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults[fault] == len(matrix.hashes_hit(server, fault))
    check_siblings(ran, clean, outcome, ran.faults[fault])
    matrix.check_interval(ran)


@pytest.mark.parametrize("case", HARMLESS, ids=named)
def test_an_odd_reply_with_one_whole_answer_in_it_gives_the_clean_runs_files(
    server: Server, clean: Ran, tmp_path: Path, case: tuple[str, Params]
) -> None:
    fault, params = case
    server.set_plan(plan({"fault": fault, **params, "match": {"hash": [*ONCE, *EVERY_TIME]}}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults[fault] > 10
    assert books.data_files(ran.out) == books.data_files(clean.out)
    matrix.check_interval(ran, exact=fault == "usage_bad_total")


def test_the_clean_runs_ledger_is_the_servers_bill(clean: Ran) -> None:
    matrix.check_interval(clean, exact=True)
    usage = [books.stage_json(clean.out, stage)["usage"][0] for stage in ("bootstrap", "classify")]
    assert sum(stage["input_tokens"] for stage in usage) == clean.billed["prompt_tokens"]
    assert sum(stage["output_tokens"] for stage in usage) == clean.billed["completion_tokens"]
    assert sum(stage["requests"] for stage in usage) == clean.requests
    assert [stage["unknown_usage"] for stage in usage] == [0, 0]


@pytest.mark.parametrize(
    "fault",
    ["usage_missing", "usage_null", "usage_zero", "usage_negative", "usage_float", "usage_text"],
)
def test_usage_that_states_nothing_is_unknown_and_valued_at_its_worst(
    server: Server, tmp_path: Path, fault: str
) -> None:
    server.set_plan(plan({"fault": fault}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults[fault] == ran.requests > 0
    assert matrix.ledger(ran.out).confirmed == (0, 0)
    matrix.check_interval(ran)
    usage = books.stage_json(ran.out, "classify")["usage"][0]
    assert usage["unknown_usage"] == usage["replies"] > 0


def test_the_model_that_answered_instead_is_recorded(server: Server, tmp_path: Path) -> None:
    server.set_plan(plan({"fault": "other_model", "match": {"hash": EVERY_TIME}}))
    told: list[Event] = []
    ran = matrix.run(server, tmp_path / "run", listener=told.append)
    assert ran.code == 0
    said = [event.text for event in told if isinstance(event, Message)]
    assert [text for text in said if "another-model" in text] == [
        "test-model was asked; replies name another-model."
    ]
    notes = [json.loads(r["note"]) for r in books.records(ran.out) if r["kind"] == "reply"]
    drifted = [note for note in notes if note.get("answered_as") == "another-model"]
    assert len(drifted) == ran.faults["other_model"] > 0
    assert json.loads((ran.out / "run.json").read_bytes())["answered_as"] == ["another-model"]


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("finish_length", "length"),
        ("finish_unknown", "unknown"),
        ("finish_null", "unknown"),
        ("finish_absent", "unknown"),
    ],
)
def test_the_last_item_of_every_cut_off_list_is_dropped_and_counted(
    server: Server, clean: Ran, tmp_path: Path, fault: str, detail: str
) -> None:
    server.set_plan(plan({"fault": fault, "match": {"hash": [*ONCE, *EVERY_TIME]}}))
    ran = matrix.run(server, tmp_path / "run", until="bootstrap")
    assert ran.code == 0
    hit = matrix.hashes_hit(server, fault)
    digests = {r["key"].hex(): json.loads(r["raw"])["id"].split("-")[1]
               for r in books.records(ran.out) if r["kind"] == "reply"}  # fmt: skip
    rows = ran.rows("bootstrap") + ran.rows("bootstrap", "dropped")
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["row_id"]):
        by_key.setdefault(row["requests"][0]["key"], []).append(row)
    struck = 0
    for key, items in by_key.items():
        is_struck = any(digest.startswith(digests[key]) for digest in hit)
        struck += is_struck
        assert (items[-1].get("drop_reason") == "item_cut_off") == is_struck
        assert all(item.get("drop_reason") != "item_cut_off" for item in items[:-1])
        if is_struck:
            assert items[-1]["drop_detail"] == detail
    assert struck == ran.dropped("bootstrap")["item_cut_off"] > 0
    matrix.check_interval(ran, exact=True)


def test_an_answer_that_was_cut_off_never_enters_whole(server: Server, tmp_path: Path) -> None:
    """The last instance of a cut-off reply is dropped, up to the end of the recipe."""
    instances = {"prompt": r"Example 1|Class label:"}
    server.set_plan(plan({"fault": "finish_unknown", "match": instances}))
    ran = matrix.run(server, tmp_path / "run", "bootstrap.target=40", until=None)
    assert ran.faults["finish_unknown"] >= 40
    cut_off = [
        r for r in ran.rows("instances", "dropped") if r["drop_reason"] == "instance_cut_off"
    ]
    assert len(cut_off) == len(ran.rows("classify"))
    kept = {(row["parent_id"], row["input"], row["output"]) for row in ran.rows("instances")}
    assert not kept & {(row["parent_id"], row["input"], row["output"]) for row in cut_off}


CHARACTERS = {
    "nul": "\x00",
    "control_chars": "\x1b[31m",
    "bidi": "\u202e",
    "noncharacter": "\uffff",
}


@pytest.mark.parametrize("fault", CHARACTERS)
def test_odd_characters_reach_the_published_files_as_they_came_or_in_a_dropped_row(
    server: Server, tmp_path: Path, fault: str
) -> None:
    server.set_plan(plan({"fault": fault, "match": {"hash": [*ONCE, *EVERY_TIME]}}))
    ran = matrix.run(server, tmp_path / "run", until=None)
    assert ran.code == 0
    assert ran.faults[fault] > 10
    held = [
        row
        for half in ("kept", "dropped")
        for stage in ("bootstrap", "instances")
        for row in ran.rows(stage, half)
        if any(CHARACTERS[fault] in (row.get(name) or "") for name in ("instruction", "output"))
    ]
    assert held
    matrix.check_interval(ran, exact=True)


def test_a_line_of_a_million_characters_does_no_harm(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    match = {"prompt": CLASSIFY, "hash": EVERY_TIME}
    server.set_plan(plan({"fault": "long_line", "match": match}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults["long_line"] > 0
    assert len(ran.rows("classify")) == len(clean.rows("classify"))
    server.set_plan(plan({"fault": "long_line", "match": {"hash": EVERY_TIME, "nth": {"max": 12}}}))
    ran = matrix.run(server, tmp_path / "lists", "seed=7", until="bootstrap")
    assert ran.code == 0
    assert ran.faults["long_line"] > 0
    assert ran.dropped("bootstrap")["too_many_words"] > 0


@pytest.mark.parametrize("variant", ["nan", "huge_number", "duplicate_keys", "deep_nesting"])
def test_a_reply_that_is_itself_bad_json_is_text(
    server: Server, tmp_path: Path, variant: str
) -> None:
    match = {"hash": EVERY_TIME}
    server.set_plan(plan({"fault": "json_text", "variant": variant, "match": match}))
    ran = matrix.run(server, tmp_path / "run", until=None)
    assert ran.code == 0
    assert ran.faults["json_text"] > 5
    assert ran.dropped("bootstrap")


def test_a_tenth_of_garbage_all_through_reaches_the_target_and_is_counted(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "garbage", "match": {"probability": 0.1}}))
    ran = matrix.run(server, tmp_path / "run", "bootstrap.target=100", until=None)
    assert ran.code == 0
    assert ran.faults["garbage"] > 10
    assert len(ran.rows("bootstrap")) >= 100
    slots = books.stage_json(ran.out, "bootstrap")["next_slot"]
    rows = ran.rows("bootstrap") + ran.rows("bootstrap", "dropped")
    assert {int(row["row_id"].split("-")[-2]) for row in rows} == set(range(slots))
    matrix.check_interval(ran, exact=True)


@pytest.mark.parametrize(
    ("fault", "outcome"), [("null_content", "no_text"), ("finish_length", "answer_cut_off")]
)
def test_the_same_holds_for_the_endpoint_of_base_models(
    server: Server, tmp_path: Path, fault: str, outcome: str
) -> None:
    """A reply that was cut off in its first word is no answer, and asking again changes nothing."""
    endpoint = "teacher.endpoint=completions"
    server.set_plan(plan())
    clean = matrix.run(server, tmp_path / "clean", endpoint)
    server.set_plan(plan({"fault": fault, "match": {"prompt": CLASSIFY, "hash": EVERY_TIME}}))
    ran = matrix.run(server, tmp_path / "run", endpoint)
    assert (clean.code, ran.code) == (0, 0)
    assert ran.faults[fault] > 0
    check_siblings(ran, clean, outcome, len(matrix.hashes_hit(server, fault)))
    matrix.check_interval(ran)
