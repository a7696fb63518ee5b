"""One teacher behind a real socket, request by request."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.teacher.call import Call, Unanswered, canonical
from pipeline.teacher.openai_teacher import OpenAITeacher
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import NO_KEY, TeacherURI
from tests.teacher_server.process import Server, running_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "history.jsonl") as server:
        yield server


def call(slot: int) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": f"Topic {slot}."}]}
    return Call("s", slot, "chat", body, canonical("chat", body), "t", {})


def teacher_of(server: Server, **settings: float) -> OpenAITeacher:
    uri = TeacherURI("openai", "m", (server.url,))
    return OpenAITeacher(uri, NO_KEY, TeacherSettings(**settings))


def test_a_reply_that_lies_in_wait_on_a_connection_is_not_taken_for_the_next_ones(
    server: Server,
) -> None:
    async def talk() -> list[str]:
        teacher = teacher_of(server)
        found = []
        for slot in range(10):
            try:
                reply = await teacher.send(call(slot))
            except Unanswered:  # the connection is given up, and nothing was sent
                reply = await teacher.send(call(slot))
            found.append(json.loads(reply.raw)["id"].split("-")[1])
            await asyncio.sleep(0.1)
        await teacher.close()
        return found

    server.set_plan([{"fault": "double_reply"}])
    answered = asyncio.run(talk())
    assert server.faults("double_reply") == 10
    assert answered == [event["hash"][:24] for event in server.history("request")]


def test_as_many_requests_are_open_as_the_concurrency_says(server: Server) -> None:
    async def talk() -> None:
        teacher = teacher_of(server, concurrency=150)
        await asyncio.gather(*(teacher.send(call(slot)) for slot in range(150)))
        await teacher.close()

    server.set_plan({"latency": 0.5})
    asyncio.run(talk())
    assert server.counts()["peak_in_flight"] == 150


def test_a_cookie_is_not_sent_back(server: Server) -> None:
    async def talk() -> None:
        teacher = teacher_of(server)
        for slot in range(3):
            await teacher.send(call(slot))
        await teacher.close()

    server.set_plan([{"fault": "cookies"}])
    asyncio.run(talk())
    assert server.faults("cookies") == 3
    assert not any("cookie" in event["headers"] for event in server.history("request"))


def test_a_reply_that_came_while_this_process_was_held_up_is_taken(server: Server) -> None:
    """Every limit has passed when it can look again; the reply lies on the socket."""

    async def talk() -> bytes:
        teacher = teacher_of(server, timeout_s=1.2, idle_timeout_s=0.6)
        asking = asyncio.ensure_future(teacher.send(call(0)))
        while server.counts()["in_flight"] == 0 and not asking.done():
            await asyncio.sleep(0.01)
        time.sleep(3)
        reply = await asking
        await teacher.close()
        return reply.raw

    server.set_plan({"latency": 0.8})
    assert b"choices" in asyncio.run(talk())
    assert server.counts()["requests"] == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nothing_for_a_server_on_this_machine_goes_to_a_proxy(
    server: Server, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(url: str) -> None:
        teacher = OpenAITeacher(TeacherURI("openai", "m", (url,)), "k", TeacherSettings())
        try:
            await teacher.check()
            await teacher.send(call(0))
        finally:
            await teacher.close()

    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    asyncio.run(talk(server.url.replace("127.0.0.1", host)))
    assert server.counts()["requests_chat"] == 1
    with pytest.raises(Unanswered, match=r"127\.0\.0\.1', 9"):
        asyncio.run(talk("http://teacher.example/v1"))  # any other goes through it
