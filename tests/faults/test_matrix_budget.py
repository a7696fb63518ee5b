"""Rows 25 and 49: the cap, by the server's own books."""

import json
import os
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.teacher.journal_reader import JournalReader
from tests.faults import matrix
from tests.faults.matrix import Ran
from tests.run import books
from tests.soaked import soaked
from tests.teacher_server.process import Server, running_server

# where only output costs, the worst case of a request is near to what it costs: many are let in
PRICE = ("prices={test-model: {input: 0, output: 0.60}}", "bootstrap.sampling.max_tokens=256")
SOAK = "SYNTH_SOAK" in os.environ  # 204 runs, all with C = 256, instead of 30
WIDE = ("bootstrap.target=4000", "bootstrap.window=256")
FAULTS: list[dict[str, Any]] = [
    {"fault": "rst_mid_body", "pause_s": 0.0, "match": {"probability": 0.1}},
    {"fault": "usage_missing", "match": {"probability": 0.1}},
    {"fault": "usage_zero", "match": {"probability": 0.1}},
    {"fault": "html", "match": {"probability": 0.1}},
]


def plan(*rules: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"content": {"items": 6}, "rules": list(rules), "latency": 0.01, **more}


def usd(ran: Ran) -> Decimal:
    """What the server would bill at `PRICE`."""
    return ran.billed["completion_tokens"] * Decimal("0.60") / 1_000_000


def capped(server: Server, out: Path, seed: int, *settings: str) -> Ran:
    """A run that cannot reach its target, with C from 64 to 256."""
    concurrency = 256 if SOAK else (256, 64, 128)[seed % 3]
    patient = ("teacher.connect_timeout_s=5", "teacher.timeout_s=5")  # 256 connections at once
    base = (
        *matrix.SHORT, *WIDE, *patient, f"teacher.concurrency={concurrency}", f"seed={seed}"
    )  # fmt: skip
    return matrix.run(server, out, *settings, base=base, until="bootstrap")


@pytest.mark.parametrize("faults", [soaked([]), FAULTS], ids=["no_fault", "faults"])
def test_no_cap_is_passed_by_the_servers_books_with_up_to_256_in_flight(
    tmp_path: Path, faults: list[dict[str, Any]]
) -> None:
    with running_server(tmp_path / "history.jsonl", max_seconds=3600) as server:
        check_caps(server, tmp_path, faults)


def check_caps(server: Server, tmp_path: Path, faults: list[dict[str, Any]]) -> None:
    """Runs under random caps in dollars, tokens and requests."""
    server.set_plan(plan(*faults))
    shares = []
    for seed in range(5 if not SOAK else 34):
        rng = Random(seed)
        cost = Decimal(rng.randint(100, 450)) / 10_000
        ran = capped(server, tmp_path / f"usd-{seed}", seed, f"budget.usd={cost}", *PRICE)
        assert ran.code == 3
        assert 0 < usd(ran) <= cost
        shares.append(usd(ran) / cost)
        matrix.check_interval(ran, exact=not faults)
        assert books.stage_json(ran.out, "bootstrap")["stopped"] == "budget"

        cap = rng.randint(10_000, 60_000)
        ran = capped(server, tmp_path / f"tokens-{seed}", seed, f"budget.tokens={cap}")
        assert ran.code == 3
        assert 0 < ran.billed["prompt_tokens"] + ran.billed["completion_tokens"] <= cap
        matrix.check_interval(ran, exact=not faults)
        shares.append(Decimal(ran.billed.total() - ran.billed["requests"]) / cap)

        n = rng.randint(1, 300)
        ran = capped(server, tmp_path / f"requests-{seed}", seed, f"budget.requests={n}")
        assert ran.code == 3
        assert ran.requests == n
        matrix.check_interval(ran, exact=not faults)
    assert server.counts()["peak_in_flight"] > 128
    matrix.say(
        f"{len(shares)} runs under caps of money and tokens spent {min(shares):.3f} to "
        f"{max(shares):.3f} of them; {server.counts()['peak_in_flight']} requests open at most"
    )
    for rule in faults:
        assert server.faults(rule["fault"]) > 10


def test_a_reached_cap_sends_nothing_more_and_a_raised_one_goes_on_to_the_same_rows(
    server: Server, clean: Ran, tmp_path: Path
) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS})
    first = matrix.run(server, tmp_path / "run", "budget.requests=25")
    assert (first.code, first.requests) == (3, 25)
    again = matrix.run(server, tmp_path / "run", "budget.requests=25")
    assert (again.code, again.requests) == (3, 0)
    assert "raise the cap" in str(again.error)
    last = matrix.run(server, tmp_path / "run", "budget.requests=500")
    assert last.code == 0
    for stage in ("bootstrap", "classify"):
        assert last.rows(stage) == clean.rows(stage)
    matrix.check_interval(first, again, last, exact=True)


def test_a_cap_holds_over_timeouts_that_nobody_knows_the_price_of(
    server: Server, tmp_path: Path
) -> None:
    """Every request is billed and none answered: each counts at its worst, and the cap holds."""
    server.set_plan(plan({"fault": "black_hole"}))
    settings = ("teacher.timeout_s=0.3", "budget.tokens=60000", "teacher.outage_limit_s=60")
    ran = matrix.run(server, tmp_path / "run", *settings, until="bootstrap")
    assert ran.faults["black_hole"] == ran.requests > 8
    assert ran.code == 3
    assert 0 < ran.billed["prompt_tokens"] + ran.billed["completion_tokens"] <= 60_000
    matrix.check_interval(ran)


def test_the_overshoot_of_a_server_that_bills_more_than_was_allowed_is_what_was_in_flight(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "usage_over_max", "factor": 3}))
    cap = 60_000
    settings = ("bootstrap.target=4000", f"budget.tokens={cap}")
    ran = matrix.run(server, tmp_path / "run", *settings, until="bootstrap")
    assert ran.faults["usage_over_max"] == ran.requests
    assert ran.code == 5
    largest = max(e["prompt_tokens"] + e["completion_tokens"] for e in server.history("bill"))
    billed = ran.billed["prompt_tokens"] + ran.billed["completion_tokens"]
    assert billed <= cap + matrix.C * largest
    matrix.check_interval(ran, exact=True)


def test_a_request_that_never_left_takes_no_place_under_the_cap(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan(plan({"fault": "refuse_connections", "for_s": 1.0, "match": {"nth": 10}}))
    settings = ("budget.requests=30", "bootstrap.target=4000", "teacher.outage_limit_s=20")
    ran = matrix.run(server, tmp_path / "run", *settings, until="bootstrap", deadline_s=40)
    assert ran.code == 3
    assert ran.faults["refuse_connections"] == 1
    failures = [json.loads(r["note"]) for r in books.records(ran.out) if r["kind"] == "failure"]
    never_left = [note for note in failures if note.get("sent") is False]
    assert {note["outcome"] for note in never_left} == {"unreachable"}
    assert matrix.ledger(ran.out).sent == 30
    lost = len(failures) - len(never_left)  # on connections that the server had just closed
    assert 30 - lost <= ran.requests <= 30
    assert lost <= matrix.C
    with closing(JournalReader(ran.out / "journal.sqlite")) as reader:
        assert [one.requests for one in reader.usage("bootstrap")] == [30]
