"""Requests to a run's own server: they differ from those of `OpenAITeacher` in their cost alone."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from pipeline.errors import TeacherError
from pipeline.teacher.call import Call, Received, Unanswered
from pipeline.teacher.openai_teacher import OpenAITeacher
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import TeacherURI
from pipeline.teacher.vllm.local_teacher import LocalTeacher

KEY = "a key of this run"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Say „é“ 你好"}], "max_tokens": 3}
Answer = Callable[[web.Request], web.StreamResponse]


def ask(
    kind: type[OpenAITeacher], answer: Answer, call: str = "chat", **settings: Any
) -> tuple[Received | Exception, list[tuple[str, str, Any]]]:
    """What one call brings, and what the server saw: path, authorization, body."""
    seen: list[tuple[str, str, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.headers["authorization"], await request.json()))
        return answer(request)

    async def send() -> Received | Exception:
        app = web.Application()
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        uri = TeacherURI("openai", "m", (f"http://127.0.0.1:{port}/v1",))
        teacher = kind(uri, KEY, TeacherSettings(**settings))
        content = json.dumps(BODY).encode()
        try:
            return await teacher.send(Call("rate", 0, call, BODY, content, "t", {}))
        except (TeacherError, Unanswered) as error:
            return error
        finally:
            await teacher.close()
            await runner.cleanup()

    return asyncio.run(send()), seen


def refuses(status: int, body: str, **headers: str) -> Answer:
    return lambda _: web.Response(status=status, text=body, headers=headers)


@pytest.mark.parametrize("call", ["chat", "completions", "tokenize"])
def test_sends_and_reads_the_same(call: str) -> None:
    def answer(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"text": "ja, „é“"}]})

    found, seen = ask(LocalTeacher, answer, call)
    assert isinstance(found, Received)
    assert json.loads(found.raw) == {"choices": [{"text": "ja, „é“"}]}
    assert (found, seen) == ask(OpenAITeacher, answer, call)
    assert seen[0][1:] == (f"Bearer {KEY}", BODY)


@pytest.mark.parametrize(
    "answer",
    [
        refuses(400, '{"error": {"message": "max_tokens is too large", "param": "max_tokens"}}'),
        refuses(400, '{"error": {"message": "the prompt is too long"}}'),
        refuses(401, '{"error": "Unauthorized"}'),
        refuses(404, '{"error": {"message": "The model `m` does not exist."}}'),
        refuses(429, "busy", **{"retry-after": "7"}),
        refuses(500, '{"error": {"message": "EngineCore encountered an issue"}}'),
        refuses(503, "no JSON {"),
        refuses(307, "", location="http://127.0.0.1:1/v1/elsewhere"),
        refuses(500, "x" * 200_000),
    ],
)
def test_judges_a_refusal_the_same(answer: Answer) -> None:
    (found, seen), (expected, as_seen) = ask(LocalTeacher, answer), ask(OpenAITeacher, answer)
    assert seen == as_seen
    assert len(seen) == 1
    assert type(found) is type(expected)
    assert str(found) == str(expected)
    if isinstance(found, Unanswered) and isinstance(expected, Unanswered):
        assert (found.outcome, found.wait_s, found.is_billed) == (
            (expected.outcome, expected.wait_s, expected.is_billed)
        )
    else:
        assert found == expected or isinstance(found, TeacherError)


def test_reads_no_more_than_a_reply_may_have() -> None:
    found, _ = ask(LocalTeacher, lambda _: web.Response(text="x" * 2**20), max_reply_mib=0.5)
    assert found == Received(200, b"", outcome="too_large")


def test_a_connection_that_ends_unanswered() -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        raise asyncio.CancelledError  # the connection is closed without an answer

    found, _ = ask(LocalTeacher, answer, timeout_s=5)
    assert isinstance(found, Unanswered)
    assert found.outcome == "connection"


def test_nobody_there_is_unreachable() -> None:
    async def send() -> Received:
        uri = TeacherURI("openai", "m", ("http://127.0.0.1:9/v1",))
        teacher = LocalTeacher(uri, KEY, TeacherSettings())
        try:
            return await teacher.send(Call("rate", 0, "chat", BODY, b"{}", "t", {}))
        finally:
            await teacher.close()

    with pytest.raises(Unanswered) as told:
        asyncio.run(send())
    assert (told.value.outcome, told.value.is_sent) == ("unreachable", False)
