"""The teacher that misbehaves does what it says: each fault is seen on a bare socket.

Every case also asserts that the history names the fault for this very request, so that a test of
the product that finds it there may trust it.
"""

import json
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.teacher_server.bare_client import (
    KEY,
    Answer,
    address,
    ask,
    chat,
    exchange,
    new_prompt,
    request,
    wait_until_idle,
)
from tests.teacher_server.faults import FAULTS
from tests.teacher_server.process import Server, auth_hash, running_server

Check = Callable[[Answer], bool]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("teacher") / "history.jsonl"
    with running_server(path, max_seconds=120) as running:
        yield running


def happens(server: Server, fault: str, params: dict[str, Any], **more: Any) -> Answer:
    """Ask once under a plan of this fault alone; the history must say that it fired once."""
    server.set_plan([{"fault": fault, **params}])
    before = len(server.history("fault"))
    answer = ask(server, **more)
    fired = server.history("fault")[before:]
    assert [event["fault"] for event in fired] == [fault]
    requests = {event["req"]: event for event in server.history("request")}
    assert requests[fired[0]["req"]]["hash"] == fired[0]["hash"]
    return answer


def events_of_last_request(server: Server) -> list[str]:
    events = server.history()
    last = max(event["req"] for event in events if event["event"] == "request")
    return [event["event"] for event in events if event.get("req") == last]


# Faults after which the reply is still whole: what its bytes must show.


def code(status: int, name: str | None) -> Check:
    return lambda a: a.status == status and a.json()["error"]["code"] == name


def retry_after(sent: str) -> Check:
    return lambda a: a.headers["retry-after"] == sent


def first(test: Callable[[dict[str, Any]], object]) -> Check:
    return lambda a: bool(test(a.json()["choices"][0]))


def content(test: Callable[[str], object]) -> Check:
    return lambda a: bool(test(a.text()))


def usage(test: Callable[[dict[str, Any]], object]) -> Check:
    return lambda a: bool(test(a.json()["usage"]))


def is_invalid_json(answer: Answer) -> bool:
    try:
        answer.json()
    except ValueError:
        return answer.status == 200
    return False


def is_invalid_utf8(answer: Answer) -> bool:
    try:
        answer.body.decode()
    except UnicodeDecodeError:
        return True
    return False


WHOLE: list[tuple[str, dict[str, Any], Check]] = [
    ("rate_limit", {}, lambda a: a.status == 429 and "retry-after" not in a.headers),
    *(
        (
            "rate_limit",
            {"retry_after": given},
            lambda a, sent=sent: a.headers["retry-after"] == sent,
        )
        for given, sent in [
            (3, "3"),
            (0.5, "0.5"),
            (-5, "-5"),
            (1e9, "1000000000"),
            (10**40, "1" + "0" * 40),
            ("soon, I think", "soon, I think"),
        ]
    ),
    ("rate_limit", {"retry_after": 2, "ms": True}, lambda a: a.headers["retry-after-ms"] == "2000"),
    ("rate_limit", {"retry_after": 1, "status": 503}, code(503, "rate_limit_exceeded")),
    ("insufficient_quota", {}, code(429, "insufficient_quota")),
    ("unauthorized", {}, code(401, "invalid_api_key")),
    ("forbidden", {}, code(403, "unsupported_country")),
    ("model_not_found", {}, code(404, "model_not_found")),
    ("bad_request", {}, code(400, "invalid_value")),
    ("context_length", {}, code(400, "context_length_exceeded")),
    *(("status", {"status": n}, code(n, None)) for n in (500, 502, 503, 504, 529)),
    ("status", {"status": 502, "html": True}, lambda a: a.status == 502 and b"<html>" in a.body),
    ("close_after", {}, lambda a: a.is_whole),
    ("sse_no_done", {}, lambda a: b"[DONE]" not in a.body and b"stop" not in a.body and a.is_whole),
    (
        "sse_no_done",
        {"drop_finish": False},
        lambda a: b"[DONE]" not in a.body and b'"finish_reason":"stop"' in a.body,
    ),
    ("html", {}, lambda a: a.status == 200 and b"<!DOCTYPE html>" in a.body),
    ("empty_body", {}, lambda a: a.status == 200 and a.body == b""),
    *(
        ("invalid_json", {"variant": variant}, is_invalid_json)
        for variant in ("cut", "tail", "single_quotes", "text")
    ),
    ("wrong_content_type", {}, lambda a: a.headers["content-type"] == "text/plain"),
    ("json_array", {}, lambda a: isinstance(a.json(), list)),
    ("json_scalar", {}, lambda a: a.json() is None),
    ("json_scalar", {"value": 7}, lambda a: a.json() == 7),
    ("wrong_types", {}, first(lambda c: c["message"]["content"] == 42)),
    ("wrong_types", {"variant": "content_list"}, content(lambda t: isinstance(t, list))),
    ("wrong_types", {"variant": "message_text"}, first(lambda c: c["message"] == "just text")),
    ("wrong_types", {"variant": "choices_text"}, lambda a: a.json()["choices"] == "none"),
    ("wrong_types", {"variant": "choices_object"}, lambda a: "0" in a.json()["choices"]),
    ("wrong_types", {"variant": "choice_null"}, first(lambda c: c is None)),
    ("wrong_types", {"variant": "usage_list"}, usage(lambda u: u == [1, 2, 3])),
    ("wrong_types", {"variant": "id_null"}, lambda a: a.json()["model"] is None),
    ("empty_choices", {}, lambda a: a.json()["choices"] == []),
    ("missing_choices", {}, lambda a: "choices" not in a.json() and "usage" in a.json()),
    ("null_content", {}, content(lambda t: t is None)),
    ("tool_calls_only", {}, first(lambda c: c["message"]["tool_calls"] and not c.get("text"))),
    ("refusal", {}, first(lambda c: c["message"]["refusal"] and not c["message"]["content"])),
    ("two_choices", {}, lambda a: [c["index"] for c in a.json()["choices"]] == [0, 1]),
    ("wrong_index", {}, first(lambda c: c["index"] == 7)),
    ("other_model", {}, lambda a: a.json()["model"] == "another-model"),
    ("finish_length", {}, first(lambda c: c["finish_reason"] == "length")),
    ("finish_content_filter", {}, first(lambda c: c["finish_reason"] == "content_filter")),
    ("finish_unknown", {}, first(lambda c: c["finish_reason"] == "eos_probably")),
    ("finish_null", {}, first(lambda c: c["finish_reason"] is None)),
    ("finish_absent", {}, first(lambda c: "finish_reason" not in c)),
    ("error_in_200", {}, lambda a: a.status == 200 and list(a.json()) == ["error"]),
    ("usage_missing", {}, lambda a: "usage" not in a.json() and a.text()),
    ("usage_null", {}, usage(lambda u: u is None)),
    ("usage_zero", {}, usage(lambda u: set(u.values()) == {0})),
    ("usage_negative", {}, usage(lambda u: u["prompt_tokens"] < 0)),
    ("usage_float", {}, usage(lambda u: u["completion_tokens"] % 1 == 0.5)),
    ("usage_text", {}, usage(lambda u: isinstance(u["total_tokens"], str))),
    (
        "usage_bad_total",
        {},
        usage(lambda u: u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] + 1),
    ),
    ("huge_body", {"bytes": 3_000_000}, lambda a: len(a.body) == 3_000_000 and bool(a.text())),
    ("bom", {}, lambda a: a.body.startswith(b"\xef\xbb\xbf{")),
    ("invalid_utf8", {}, is_invalid_utf8),
    ("utf16", {}, lambda a: json.loads(a.body.decode("utf-16"))["choices"]),
    ("utf16", {"declare": True}, lambda a: "utf-16" in a.headers["content-type"]),
    ("latin1_header", {}, lambda a: b"X-Served-By: caf\xe9 \xfc\r\n" in a.head + b"\r\n"),
    ("bidi", {}, content(lambda t: "\u202e" in t and "\u2066" in t)),
    ("control_chars", {}, content(lambda t: "\x1b[31m" in t and "\x9b" in t)),
    ("nul", {"at": "end"}, content(lambda t: t.endswith("\x00"))),
    ("noncharacter", {}, content(lambda t: "\uffff" in t and "\ufffe" in t)),
    ("lone_surrogate", {}, content(lambda t: "\ud800" in t)),
    ("lone_surrogate", {}, lambda a: b"\\ud800" in a.body),
    ("long_line", {}, content(lambda t: len(t) == 1_000_000)),
    ("nan", {}, lambda a: b'"score":NaN' in a.body),
    ("infinity", {}, lambda a: b'"score":-Infinity' in a.body),
    ("huge_number", {}, lambda a: a.json()["score"] == float("inf")),
    ("duplicate_keys", {}, lambda a: a.body.count(b'"choices"') == 2),
    ("deep_nesting", {}, lambda a: b"[" * 100_000 in a.body),
    ("json_text", {}, content(lambda t: t == '{"score": NaN}')),
    ("json_text", {"variant": "huge_number"}, content(lambda t: "1e999" in t)),
    ("json_text", {"variant": "duplicate_keys"}, content(lambda t: t.count("score") == 2)),
    ("json_text", {"variant": "deep_nesting"}, content(lambda t: t.count("[") == 100_000)),
    ("same_reply", {"text": "Same."}, content(lambda t: t == "Same.")),
    ("redirect", {}, lambda a: a.status == 307 and "127.0.0." in a.headers["location"]),
    ("redirect", {"to": "http://x.invalid/"}, lambda a: "x.invalid" in a.headers["location"]),
    ("cookies", {}, lambda a: "canary" in a.headers["set-cookie"]),
    ("chunked", {}, lambda a: a.is_whole and "content-length" not in a.headers and bool(a.text())),
    ("http10_close", {}, lambda a: a.raw.startswith(b"HTTP/1.0 200") and bool(a.text())),
    ("http10_close", {}, lambda a: "content-length" not in a.headers),
    ("continue_100", {}, lambda a: a.raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")),
    ("echo_key", {}, content(lambda t: KEY in t)),
    ("echo_key_error", {}, lambda a: a.status == 401 and a.raw.count(KEY.encode()) == 2),
    ("late", {"delay_s": 0.2}, lambda a: a.is_whole and a.seconds >= 0.2),
    ("double_reply", {}, lambda a: a.raw.count(b"HTTP/1.1 200 OK") == 2),
    (
        "content_length_short",
        {},
        lambda a: len(a.rest) == int(a.headers["content-length"]) + 20,
    ),
]


@pytest.mark.parametrize(("fault", "params", "shows"), WHOLE)
def test_a_fault_shows_in_a_reply_that_was_sent_whole(
    server: Server, fault: str, params: dict[str, Any], shows: Check
) -> None:
    more = {"stream": True} if FAULTS[fault].stream_only else {}
    answer = happens(server, fault, params, **more)
    assert answer.end == "eof"
    assert shows(answer)
    assert "reply" in events_of_last_request(server)


# Faults that break the sending: what arrived, how it ended, and whether it was a whole reply.

BROKEN: list[tuple[str, dict[str, Any], dict[str, Any], str, Check]] = [
    ("rst_before_headers", {}, {}, "reset", lambda a: a.raw == b""),
    ("close_before_headers", {}, {}, "eof", lambda a: a.raw == b""),
    ("rst_after_headers", {}, {}, "reset", lambda a: a.raw.endswith(b"\r\n\r\n")),
    ("rst_mid_body", {}, {}, "reset", lambda a: b'"choices"' in a.rest and not a.is_whole),
    ("rst_mid_body", {}, {"stream": True}, "reset", lambda a: b"data:" in a.rest),
    ("black_hole", {"for_s": 0.2}, {}, "eof", lambda a: a.raw == b"" and a.seconds >= 0.2),
    ("black_hole", {}, {"timeout_s": 0.3}, "timeout", lambda a: a.raw == b""),
    (
        "drip",
        {"every_s": 0.02},
        {"timeout_s": 0.5},
        "timeout",
        lambda a: 10 <= len(a.rest) <= 30 and len(a.arrivals) >= 10,
    ),
    (
        "drip",
        {"every_s": 0.02, "head": True},
        {"timeout_s": 0.3},
        "timeout",
        lambda a: b"HTTP/1.1".startswith(a.raw[:8]) and len(a.raw) < 20,
    ),
    ("stall", {}, {"timeout_s": 0.3}, "timeout", lambda a: a.rest != b"" and not a.is_whole),
    (
        "stall",
        {},
        {"timeout_s": 0.3, "stream": True},
        "timeout",
        lambda a: b"data: {" in a.rest and b"[DONE]" not in a.rest,
    ),
    ("stall", {"for_s": 0.1}, {}, "eof", lambda a: not a.is_whole),
    ("short_body", {}, {}, "eof", lambda a: a.rest != b"" and not a.is_whole),
    ("chunk_cut", {}, {}, "eof", lambda a: not a.rest.endswith(b"\r\n") and not a.is_whole),
    (
        "chunk_cut",
        {"at": "before_end"},
        {},
        "eof",
        lambda a: a.rest.endswith(b"}\r\n") and not a.is_whole,
    ),
    ("chunk_cut", {}, {"stream": True}, "eof", lambda a: b"data:" in a.rest and not a.is_whole),
    (
        "content_length_long",
        {},
        {"timeout_s": 0.3},
        "timeout",
        lambda a: len(a.rest) + 20 == int(a.headers["content-length"]) and bool(a.text()),
    ),
    ("huge_body", {}, {"enough": 1 << 20}, "enough", lambda a: b"100000000" in a.head),
    ("endless_body", {}, {"enough": 20 << 20}, "enough", lambda a: len(a.raw) >= 20 << 20),
    ("endless_body", {"bytes": 1 << 20}, {}, "eof", lambda a: not a.is_whole),
    ("late", {"delay_s": 9}, {"timeout_s": 0.2}, "timeout", lambda a: a.raw == b""),
]


@pytest.mark.parametrize(("fault", "params", "how", "end", "shows"), BROKEN)
def test_a_fault_breaks_the_sending(
    server: Server,
    fault: str,
    params: dict[str, Any],
    how: dict[str, Any],
    end: str,
    shows: Check,
) -> None:
    answer = happens(server, fault, params, **how)
    assert answer.end == end
    assert shows(answer)
    wait_until_idle(server)
    events = events_of_last_request(server)
    assert "reply" not in events
    assert events.count("cut") + events.count("abort") == 1
    assert ("abort" in events) == (end in ("timeout", "enough"))
    assert events.count("bill") == 1


def test_every_fault_has_a_case() -> None:
    in_tables = {case[0] for case in WHOLE} | {case[0] for case in BROKEN}
    on_their_own = {"refuse_connections", "gzip_bomb", "usage_over_max", "collapse", "garbage"}
    assert in_tables | on_their_own == set(FAULTS)


# Faults that need a test of their own.


def test_connections_are_refused_for_a_time_and_the_port_stays(server: Server) -> None:
    assert happens(server, "refuse_connections", {"for_s": 0.3}).end == "reset"
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    time.sleep(0.35)
    server.set_plan([])
    assert ask(server).status == 200
    names = [event["event"] for event in server.history()]
    assert names.index("listener_down") < names.index("listener_up")


def test_the_control_refuses_and_accepts_connections_and_drops_open_ones(server: Server) -> None:
    server.set_plan([])
    with socket.create_connection(address(server), timeout=2) as idle:
        idle.sendall(request(chat(new_prompt()), close=False))
        assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200")
        server.refuse()
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    server.accept()
    assert ask(server).status == 200


def test_a_gzip_bomb_unpacks_to_valid_json_a_thousand_times_its_size(server: Server) -> None:
    size = 32 << 20
    answer = happens(server, "gzip_bomb", {"bytes": size})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < size / 900
    unpacked = zlib.decompress(answer.body, wbits=31)  # checks the length and CRC too
    assert len(unpacked) > size
    assert json.loads(unpacked)["choices"]


def test_usage_over_the_maximum_is_what_gets_billed(server: Server) -> None:
    answer = happens(server, "usage_over_max", {"factor": 5}, max_tokens=10)
    assert answer.json()["usage"]["completion_tokens"] == 50
    assert server.history("bill")[-1]["completion_tokens"] == 50


def test_a_collapse_sets_in_at_a_request_and_repeats_twenty_instructions(server: Server) -> None:
    server.set_plan([{"fault": "collapse", "match": {"nth": {"min": 4}}}])
    texts = [ask(server, f"Topic {i}.\n1. a\n2. b\n3.").text() for i in range(12)]
    items = [re.split(r"\n?\d+\. ", text)[1:] for text in texts]
    assert len({item for reply in items[:3] for item in reply}) == 21
    assert len({item for reply in items[3:] for item in reply}) <= 20
    assert server.faults("collapse") >= 9


def test_garbage_strikes_a_tenth_of_requests_whatever_their_order(server: Server) -> None:
    plan = [{"fault": "garbage", "match": {"probability": 0.1}}]
    prompts = [new_prompt() for _ in range(300)]
    rounds = []
    for order in (prompts, prompts[::-1]):
        with running_server(server.history_path.with_name(f"{order[0]}.jsonl"), plan) as fresh:
            for prompt in order:
                ask(fresh, prompt)
            rounds.append({event["hash"] for event in fresh.history("fault")})
    assert rounds[0] == rounds[1]
    assert 15 <= len(rounds[0]) <= 50


def test_a_date_to_retry_after_is_meant_by_the_servers_own_clock(server: Server) -> None:
    shift = -86_400
    params = {"retry_after": 7, "form": "date", "clock_shift_s": shift}
    headers = happens(server, "rate_limit", params).headers
    retry = parsedate_to_datetime(headers["retry-after"]).timestamp()
    date = parsedate_to_datetime(headers["date"]).timestamp()
    assert retry - date == 7
    assert abs(date - time.time() - shift) < 5


def test_a_redirect_leads_to_a_host_that_notes_the_key_it_is_sent(server: Server) -> None:
    answer = happens(server, "redirect", {})
    host, _, rest = answer.headers["location"].removeprefix("http://").partition(":")
    port = int(rest.partition("/")[0])
    for key in (KEY, None):
        assert exchange((host, port), request(chat(new_prompt()), key=key)).status == 200
    with_key, without = server.history("request")[-2:]
    assert (with_key["listener"], without["listener"]) == ("other", "other")
    assert (with_key["auth"], without["auth"]) == (auth_hash(KEY), None)
