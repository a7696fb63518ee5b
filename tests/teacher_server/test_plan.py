"""When rules strike, how the limiter limits, and what is billed."""

import socket
import time

import pytest

from tests.teacher_server.bare_client import (
    address,
    ask,
    chat,
    exchange,
    new_prompt,
    request,
    wait_until_idle,
)
from tests.teacher_server.process import Server

# When a rule strikes.


def test_a_request_fails_twice_and_then_succeeds_on_any_connection(server: Server) -> None:
    server.set_plan([{"fault": "status", "match": {"attempt": {"max": 2}}}])
    one, two = new_prompt(), new_prompt()
    order = [one, two, one, one, two, two]
    assert [ask(server, p).status for p in order] == [500, 500, 500, 200, 500, 200]


def test_rules_match_by_number_kind_model_prompt_hash_and_count(server: Server) -> None:
    server.set_plan(
        [
            {"fault": "none", "match": {"prompt": "spare me"}},
            {"fault": "status", "status": 501, "match": {"nth": [2, 3]}},
            {"fault": "status", "status": 502, "match": {"model": "big"}},
            {"fault": "status", "status": 503, "match": {"kind": "completion"}},
            {"fault": "status", "status": 504, "match": {"prompt": "fail", "every": 2}, "times": 1},
        ]
    )
    seen = [ask(server, prompt).status for prompt in ("a", "b", "spare me b", "fail", "fail 5")]
    assert seen == [200, 501, 200, 504, 200]
    assert ask(server, "fail 6").status == 200  # `times` is used up
    assert ask(server, model="big").status == 502
    plain = request({"model": "m", "prompt": "x"}, "/v1/completions")
    assert exchange(address(server), plain).status == 503
    digest = server.history("request")[-1]["hash"]
    server.set_plan([{"fault": "html", "match": {"hash": digest[:10]}}])
    assert b"<html>" in exchange(address(server), plain).body
    assert b"<html>" not in ask(server).body


def test_an_outage_lasts_for_its_window(server: Server) -> None:
    server.set_plan([{"fault": "status", "status": 503, "match": {"after": 0.1, "until": 0.3}}])
    seen = []
    for _ in range(9):
        seen.append(ask(server).status)
        time.sleep(0.05)
    assert seen[0] == seen[-1] == 200
    assert 503 in seen


@pytest.mark.parametrize(
    "plan",
    [
        [{"fault": "no_such_fault"}],
        [{"fault": "html", "size": 3}],
        [{"fault": "html", "match": {"atempt": 1}}],
        [{"fault": "rate_limit", "hold": True}],
        {"rule": []},
        {"content": {"mode": "no such mode"}},
        {"limiter": {"rpm": 3}},
        "html",
    ],
)
def test_a_plan_that_names_something_unknown_is_refused(server: Server, plan: object) -> None:
    with pytest.raises(ValueError, match=r"unknown|no parameter|hold needs|unexpected|a plan is"):
        server.set_plan(plan)


# The limiter.


def test_the_limiter_says_truly_what_is_left_and_halves_and_doubles(server: Server) -> None:
    server.set_plan({"limiter": {"rps": 10, "burst": 3}})
    answers = [ask(server) for _ in range(4)]
    assert [a.status for a in answers] == [200, 200, 200, 429]
    left = [a.headers["x-ratelimit-remaining-requests"] for a in answers]
    assert left == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    assert answers[3].headers["retry-after"] == "1"
    assert 0 < int(answers[3].headers["retry-after-ms"]) <= 100
    assert server.history("fault")[-1]["fault"] == "limiter"
    server.command("advance", {"s": 10})
    assert [ask(server).status for _ in range(4)] == [200, 200, 200, 429]
    waits = []
    for factor in (0.1, 0.2):
        server.command("scale", {"factor": factor})
        waits.append(int(ask(server).headers["retry-after-ms"]))
    assert waits[0] > 1.5 * waits[1] > 0


def test_the_limiter_changes_by_its_schedule_in_its_own_time(server: Server) -> None:
    server.set_plan({"limiter": {"rps": 10, "burst": 1, "schedule": [[60, 0.5], [120, 2]]}})
    waits = []
    for _ in range(3):
        assert ask(server).status == 200
        waits.append(int(ask(server).headers["retry-after-ms"]))
        server.command("advance", {"s": 61})
    assert [bound - 40 < wait <= bound for wait, bound in zip(waits, (100, 200, 50), strict=True)]


def test_the_limiter_counts_tokens(server: Server) -> None:
    server.set_plan({"limiter": {"tps": 1, "token_burst": 30}, "content": {"mode": "fixed"}})
    seen = [ask(server, "x" * 40) for _ in range(3)]  # 10 + 4 + 5 tokens each
    assert [a.status for a in seen] == [200, 429, 429]
    assert seen[0].headers["x-ratelimit-remaining-tokens"] == "11"
    other_key = exchange(address(server), request(chat("x" * 40), key="sk-other"))
    assert other_key.status == 200


def test_the_control_swaps_what_stands_behind_the_address_and_drops_connections(
    server: Server,
) -> None:
    server.set_plan([])
    prompt = new_prompt()
    before = ask(server, prompt).text()
    server.command("swap", {"seed": 99})
    assert ask(server, prompt).text() != before
    server.command("swap", {"seed": 0})
    assert ask(server, prompt).text() == before
    with socket.create_connection(address(server), timeout=2) as idle:
        idle.sendall(b"P")
        while server.counts()["open_connections"] == 0:
            time.sleep(0.01)
        server.command("drop")
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    with pytest.raises(ValueError, match="cannot do 'fly'"):
        server.command("fly")


def test_a_held_key_is_refused_until_its_time_and_early_requests_are_counted(
    server: Server,
) -> None:
    hold = {"fault": "rate_limit", "retry_after": 0.4, "hold": True, "times": 1}
    server.set_plan([hold])
    before = server.counts().get("early", 0)
    assert [ask(server).status for _ in range(3)] == [429, 429, 429]
    other_key = exchange(address(server), request(chat(new_prompt()), key="sk-other"))
    assert other_key.status == 200
    time.sleep(0.45)
    assert ask(server).status == 200
    assert server.counts()["early"] - before == 2


def test_a_client_that_leaves_is_billed_for_what_was_begun_unless_the_plan_forbids(
    server: Server,
) -> None:
    rules = {"rules": [{"fault": "late", "delay_s": 9}]}
    for plan, bills in ((rules, 1), ({**rules, "bill_on_abort": False}, 0)):
        server.set_plan(plan)
        before = len(server.history("bill"))
        ask(server, max_tokens=8, timeout_s=0.1)
        wait_until_idle(server)
        new = server.history("bill")[before:]
        assert len(new) == bills
        assert all(e["why"] == "abort" and 0 < e["completion_tokens"] <= 8 for e in new)


def test_refusals_are_not_billed(server: Server) -> None:
    server.set_plan([{"fault": "status", "status": 503}])
    before = len(server.history("bill"))
    ask(server)
    assert len(server.history("bill")) == before
