"""Rows 16-19, 26, 33, 34: replies that break off, stall, drip, swell, come late or come twice."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.faults import matrix
from tests.faults.matrix import CLASSIFY, Ran
from tests.faults.test_matrix_keys import KEY, holds_key
from tests.run import books
from tests.teacher_server.process import Server, auth_hash

SOME = ["0", "1", "2"]  # first digits of the requests that are struck
QUICK = ("teacher.timeout_s=0.6", "teacher.idle_timeout_s=0.3")
ONCE = {"hash": SOME, "attempt": 1}

BREAKS: list[tuple[str, dict[str, Any]]] = [
    ("rst_before_headers", {}),
    ("close_before_headers", {}),
    ("rst_after_headers", {}),
    ("rst_mid_body", {}),
    ("short_body", {}),
    ("chunk_cut", {}),
    ("chunk_cut", {"at": "before_end"}),
    ("stall", {}),
    ("content_length_long", {}),
    ("black_hole", {}),
    ("drip", {"every_s": 0.1}),
    ("drip", {"every_s": 0.1, "head": True}),
    ("drip", {"every_s": 5.0}),
]


def named(case: tuple[str, dict[str, Any]]) -> str:
    """The name of a case, for people who read a list of tests."""
    return "-".join([case[0], *(str(value) for value in case[1].values())])


def plan(*rules: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"content": matrix.THREE_ITEMS, "rules": list(rules), **more}


@pytest.mark.parametrize("case", BREAKS, ids=named)
def test_a_reply_that_does_not_come_whole_is_asked_for_again_and_valued_as_unknown(
    server: Server, clean: Ran, tmp_path: Path, case: tuple[str, dict[str, Any]]
) -> None:
    fault, params = case
    server.set_plan(plan({"fault": fault, **params, "match": ONCE}))
    ran = matrix.run(server, tmp_path / "run", *QUICK)
    assert ran.code == 0
    assert ran.faults[fault] == len(matrix.hashes_hit(server, fault)) > 5
    assert books.data_files(ran.out) == books.data_files(clean.out), "a part was taken for a whole"
    matrix.check_interval(ran)
    stated = matrix.ledger(ran.out)
    failures = [json.loads(r["note"]) for r in books.records(ran.out) if r["kind"] == "failure"]
    left = [note for note in failures if note.get("sent", True)]
    assert len(left) == ran.faults[fault]
    assert stated.unknown > (0, 0)


@pytest.mark.parametrize(
    ("fault", "params", "limit_s"),
    [
        ("black_hole", {}, 0.6),
        ("stall", {}, 0.3),  # and a whole reply may take 5 s
        ("drip", {"every_s": 0.1}, 0.6),
        ("drip", {"every_s": 0.1, "head": True}, 0.6),
    ],
)
def test_silence_and_dribble_end_at_their_deadline(
    server: Server, tmp_path: Path, fault: str, params: dict[str, Any], limit_s: float
) -> None:
    server.set_plan(plan({"fault": fault, **params, "match": {"nth": [1, 2, 3]}}))
    limits = ("teacher.timeout_s=5", QUICK[1]) if fault == "stall" else QUICK
    ran = matrix.run(server, tmp_path / "run", *limits)
    assert ran.code == 0
    assert ran.faults[fault] == 3
    events = {event["req"]: event["t"] for event in server.history("request")}
    waited = [(e["t"] - events[e["req"]]) / 1e9 for e in server.history("abort")]
    assert len(waited) == 3
    assert all(0.5 * limit_s <= seconds <= limit_s + 1 for seconds in waited), waited


def test_the_other_slots_go_on_at_full_speed_beside_one_that_stalls(
    server: Server, tmp_path: Path
) -> None:
    """One of eight connections stalls: the other seven carry what seven carried before.

    A second is short for two rates on a busy machine; the soak looks at ten and asks for 95 %.
    """
    seconds, at_least = (10, 0.95) if "SYNTH_SOAK" in os.environ else (1, 0.85)
    server.set_plan(plan({"fault": "stall", "match": {"nth": 60 * seconds}}, latency=0.1))
    settings = (f"teacher.timeout_s={seconds}", f"teacher.idle_timeout_s={seconds}")
    settings += (f"bootstrap.target={360 * seconds}", f"bootstrap.window={256 * seconds}")
    ran = matrix.run(server, tmp_path / "run", *settings, until="bootstrap", deadline_s=60)
    assert ran.code == 0
    assert ran.faults["stall"] == 1
    (stalled,), (ended,) = server.history("fault"), server.history("abort")
    replies = [event["t"] for event in server.history("reply")]
    before = [t for t in replies if t < stalled["t"]][10:]
    during = [t for t in replies if stalled["t"] < t < ended["t"]]
    assert during[-1] - during[0] > 0.5e9 * seconds
    rates = [len(times) / (times[-1] - times[0]) for times in (before, during)]
    matrix.say(f"{rates[1] / rates[0] * 8 / 7:.3f} of what seven of eight carried")
    assert rates[1] >= at_least * 7 / 8 * rates[0]


HARMLESS = ["close_after", "chunked", "continue_100", "cookies", "http10_close"]


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_http_allows_gives_the_clean_runs_files(
    server: Server, clean: Ran, tmp_path: Path, fault: str
) -> None:
    server.set_plan(plan({"fault": fault}))
    ran = matrix.run(
        server, tmp_path / "run", "teacher.key=env:MY_KEY", environment={"MY_KEY": KEY}
    )
    assert ran.code == 0
    assert ran.faults[fault] == ran.requests
    assert books.data_files(ran.out) == books.data_files(clean.out)
    matrix.check_interval(ran, exact=True)
    assert b"canary; Path" not in b"".join(
        p.read_bytes() for p in ran.out.rglob("*") if p.is_file()
    )


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_to_another_host_is_refused_and_no_key_follows_it(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.set_plan(plan({"fault": "redirect", "status": status}))
    ran = matrix.run(
        server, tmp_path / "run", "teacher.key=env:MY_KEY", environment={"MY_KEY": KEY}
    )
    assert ran.code == 5
    assert ran.faults["redirect"] > 0
    assert ran.requests <= matrix.C
    assert server.other_url in str(ran.error)
    seen = {(event["listener"], event["auth"]) for event in server.history("request")}
    assert seen == {("main", auth_hash(KEY))}
    assert holds_key(ran.out) == []


def test_a_reply_that_comes_after_its_deadline_is_one_row_and_two_in_the_books(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "late", "delay_s": 0.9, "match": ONCE}))
    ran = matrix.run(server, tmp_path / "run", "teacher.timeout_s=0.6")
    assert ran.code == 0
    assert ran.faults["late"] > 5
    assert books.data_files(ran.out) == books.data_files(clean.out)
    matrix.check_interval(ran)
    assert ran.billed["requests"] == ran.requests
    stated = matrix.ledger(ran.out)
    kinds = [record["kind"] for record in books.records(ran.out)]
    assert kinds.count("failure") == ran.faults["late"]
    assert kinds.count("reply") == stated.sent - ran.faults["late"]


def peak_rss_mib() -> float:
    """The most memory that this process has held since `forget_peak_rss`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def forget_peak_rss() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        pytest.skip(f"the peak of a process's memory cannot be reset here: {error}")


SWELLS = [("huge_body", {}), ("endless_body", {}), ("gzip_bomb", {"bytes": 128 << 20})]


@pytest.mark.parametrize("case", SWELLS, ids=named)
def test_a_reply_without_measure_is_given_up_within_64_mib_of_memory(
    server: Server, clean: Ran, tmp_path: Path, case: tuple[str, dict[str, Any]]
) -> None:
    fault, params = case
    server.set_plan(
        plan({"fault": fault, **params, "match": {"prompt": CLASSIFY, "hash": SOME[:2]}})
    )
    matrix.run(server, tmp_path / "first", "teacher.timeout_s=5")  # loads what is loaded once
    forget_peak_rss()
    before = peak_rss_mib()
    ran = matrix.run(server, tmp_path / "run", "teacher.timeout_s=5")
    assert ran.code == 0
    assert ran.faults[fault] > 5
    n_dropped = ran.dropped("classify")["too_large"]
    assert n_dropped > 3
    assert len(ran.rows("classify")) + n_dropped == len(clean.rows("classify"))
    assert peak_rss_mib() - before <= 64


def test_a_list_of_models_without_an_end_is_not_read(server: Server, tmp_path: Path) -> None:
    server.set_plan(plan({"fault": "endless_body", "match": {"kind": "models"}}))
    ran = matrix.run(server, tmp_path / "run", deadline_s=5)
    assert ran.faults["endless_body"] == 1
    assert ran.code == 0


def test_a_content_length_that_is_too_short_never_makes_a_row_of_a_part(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "content_length_short", "match": ONCE}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults["content_length_short"] > 5
    for stage in ("bootstrap", "classify"):
        ours, theirs = ran.rows(stage), clean.rows(stage)
        assert matrix.without_keys(ours) == matrix.without_keys(theirs)
    matrix.check_interval(ran)


def test_a_reply_sent_twice_breaks_nothing_and_the_books_hold(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "double_reply", "match": {"nth": [5, 20, 30]}}))
    ran = matrix.run(server, tmp_path / "run")
    assert ran.code == 0
    assert ran.faults["double_reply"] == 3
