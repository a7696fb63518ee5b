"""One request over real sockets: what is sent, what comes back, what each failure is called."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import TeacherError
from pipeline.teacher.call import Answer, Call, Received, Unanswered, canonical, read_envelope
from pipeline.teacher.openai_teacher import OpenAITeacher
from pipeline.teacher.retry_after import asked_wait_s
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import parse
from tests.teacher_server.process import Server, auth_hash, running_server

KEY = "sk-canary-5f2b9c"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One teacher for the tests here; each sets its plan."""
    path = tmp_path_factory.mktemp("wire") / "history.jsonl"
    with running_server(path, keep_bodies=True) as server:
        yield server


def call(kind: str = "chat", **parameters: Any) -> Call:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Name a river."}]}
    if kind != "chat":
        asked = {"prompt" if kind == "completions" else "input": "Name a river."}
    body = {"model": "test-model"} | asked | parameters
    return Call("bootstrap", 0, kind, body, canonical(kind, body), "bootstrap", {})


def send(server: Server, call: Call, key: str = KEY, **settings: Any) -> Received:
    async def run() -> Received:
        uri = parse(f"openai:test-model@{server.url}", {})
        teacher = OpenAITeacher(uri, key, TeacherSettings(**settings))
        try:
            return await teacher.send(call)
        finally:
            await teacher.close()

    return asyncio.run(run())


def last(server: Server) -> dict[str, Any]:
    return server.history("request")[-1]


def test_what_is_sent_is_the_body_and_nothing_else(wire: Server) -> None:
    wire.set_plan([])
    asked = call(temperature=0.7, top_k=5, stop=["\n16."], max_tokens=9, min_p=0.1)
    received = send(wire, asked)
    event = last(wire)
    assert json.loads(event["body"]) == asked.body
    assert (event["path"], event["stream"]) == ("/v1/chat/completions", False)
    assert event["auth"] == auth_hash(KEY)
    assert received.status == 200
    assert isinstance(read_envelope("chat", received.raw), Answer)


def test_a_base_model_gets_a_prompt(wire: Server) -> None:
    wire.set_plan([])
    received = send(wire, call("completions"))
    assert last(wire)["path"] == "/v1/completions"
    assert isinstance(read_envelope("completions", received.raw), Answer)


def test_a_model_that_makes_vectors_gets_an_input(wire: Server) -> None:
    wire.set_plan([])
    received = send(wire, call("embeddings"))
    event = last(wire)
    assert event["path"] == "/v1/embeddings"
    assert json.loads(event["body"]) == {"model": "test-model", "input": "Name a river."}
    assert isinstance(read_envelope("embeddings", received.raw), Answer)


def test_a_text_that_is_too_long_for_a_vector_costs_its_row_and_not_the_run(wire: Server) -> None:
    said = "Invalid 'input': maximum context length is 8192 tokens."
    wire.set_plan([{"fault": "status", "status": 400, "message": said}])
    assert send(wire, call("embeddings")).status == 400


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"fault": "status", "status": 500}, "status_500"),
        ({"fault": "status", "status": 503, "html": True}, "status_503"),
        ({"fault": "status", "status": 529}, "status_529"),
        ({"fault": "rate_limit"}, "rate_limited"),
        ({"fault": "rst_before_headers"}, "connection"),
        ({"fault": "rst_after_headers"}, "connection"),
        ({"fault": "rst_mid_body"}, "connection"),
        ({"fault": "close_before_headers"}, "connection"),
        ({"fault": "short_body"}, "connection"),
        ({"fault": "chunk_cut"}, "connection"),
        ({"fault": "content_length_long"}, "timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["fault"],
)
def test_what_passes_is_unanswered_and_sent_once(
    wire: Server, rule: dict[str, Any], outcome: str
) -> None:
    wire.set_plan([rule])
    before = wire.counts()["requests"]
    with pytest.raises(Unanswered) as caught:
        send(wire, call(), timeout_s=1.5)
    assert caught.value.outcome == outcome
    assert wire.counts()["requests"] == before + 1, "the package's own retries are off"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "rule",
    [{"fault": "black_hole"}, {"fault": "stall"}, {"fault": "drip", "bytes": 1, "every_s": 0.1}],
    ids=lambda rule: rule["fault"],
)
def test_no_reply_is_waited_for_longer_than_the_deadline(
    wire: Server, rule: dict[str, Any]
) -> None:
    wire.set_plan([rule])
    began = time.monotonic()
    with pytest.raises(Unanswered) as caught:
        send(wire, call(), timeout_s=0.5)
    assert caught.value.outcome == "timeout"
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize(
    "rule",
    [{"fault": "huge_body"}, {"fault": "endless_body"}, {"fault": "gzip_bomb"}],
    ids=lambda rule: rule["fault"],
)
def test_a_reply_that_is_too_large_is_broken_off_and_is_an_answer_of_that_name(
    wire: Server, rule: dict[str, Any]
) -> None:
    wire.set_plan([rule])
    received = send(wire, call(), max_reply_mib=0.5, timeout_s=10)
    assert (received.outcome, received.raw) == ("too_large", b"")


@pytest.mark.parametrize("fault", ["redirect", "unauthorized", "forbidden", "model_not_found"])
def test_a_refusal_for_good_is_a_teacher_error(wire: Server, fault: str) -> None:
    wire.set_plan([{"fault": fault}])
    before = len(wire.history("request"))
    with pytest.raises(TeacherError):
        send(wire, call())
    assert len(wire.history("request")) == before + 1, "no redirect is followed"


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (f"Your key is {KEY}.", KEY, "Your key is [key removed]."),
        ("none or nonetheless", "none", "none or nonetheless"),
        ("EMPTY is a word", "EMPTY", "EMPTY is a word"),
    ],
)
def test_only_a_real_key_is_taken_out_of_replies(
    wire: Server, text: str, key: str, expected: str
) -> None:
    wire.set_plan({"content": {"mode": "fixed", "text": text}})
    found = read_envelope("chat", send(wire, call(), key).raw)
    assert isinstance(found, Answer)
    assert found.reply.text == expected


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e9"}, 600),
        ({"retry-after": "inf"}, 600),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 10:00:30 GMT",
                "date": "Fri, 20 Nov 2026 10:00:00 GMT",
            },
            30,
        ),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 09:00:30 GMT",
                "date": "Fri, 20 Nov 2026 10:00:00 GMT",
            },
            None,
        ),
        (
            {"retry-after": "Fri, 20 Nov 2026 10:00:30", "date": "Fri, 20 Nov 2026 10:00:00 GMT"},
            None,
        ),
    ],
)
def test_a_pause_is_seconds_or_a_date_by_the_servers_own_clock(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert asked_wait_s(headers) == wait_s


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        teacher = OpenAITeacher(parse(f"openai:m@{url}", {}), KEY, TeacherSettings())
        try:
            await teacher.check()
        finally:
            await teacher.close()

    for url in ("http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"):
        with pytest.raises(Unanswered, match="unreachable"):
            asyncio.run(run(url))
