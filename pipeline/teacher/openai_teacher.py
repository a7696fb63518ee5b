"""Any server that speaks the OpenAI protocol, through the `openai` package.

The body of a reply is read here, at most `max_reply_mib` of it, and handed on as it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import httpx2
import openai

from pipeline import redact
from pipeline.errors import TeacherError
from pipeline.teacher.call import Call, Received, Unanswered, valid
from pipeline.teacher.refused_parameter import refused_parameter, what_to_set
from pipeline.teacher.retry_after import asked_wait_s
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.time_limit import TimeLimit
from pipeline.teacher.transport import NEVER_SENT, open_client
from pipeline.teacher.uri import NO_KEY, TeacherURI, why_no_key

UNREAD: Any = {"headers": {"X-Stainless-Raw-Response": "stream"}}
"""Has the package leave a reply's body to us."""
CLOSE_S = 5.0
"""How long the connections to one server may take to close."""
PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
}


def path(client: openai.AsyncOpenAI, kind: str) -> str:
    """Where a kind of call goes; vLLM's `/tokenize` stands beside `/v1`, not below it."""
    if kind == "tokenize":
        return f"{str(client.base_url).rstrip('/').removesuffix('/v1')}/tokenize"
    return PATHS[kind]


class OpenAITeacher:
    """One served model behind one or several addresses that share the load."""

    def __init__(self, uri: TeacherURI, key: str, settings: TeacherSettings) -> None:
        """Open nothing yet; connections are made as they are needed."""
        self.name = uri.model
        self._no_key = why_no_key(uri) if key == NO_KEY else None
        self._secrets = redact.spellings(key)
        self._settings = settings
        self._limit = int(settings.max_reply_mib * 2**20)
        self._clients = [open_client(url, key, settings) for url in uri.urls]
        self._busy = [0] * len(self._clients)

    async def check(self) -> None:
        """Ask each server for its models, unpaid.

        A server that refuses the key or has a certificate that cannot be trusted raises
        `TeacherError`, one that cannot be reached `Unanswered`; one that has no such list, or
        another name for the model, is left to the first request.
        """
        for client in self._clients:
            try:
                async with TimeLimit(self._settings.connect_timeout_s * 2):
                    response = await client.get("/models", cast_to=httpx2.Response, options=UNREAD)
                    await response.aclose()  # that it came is enough, however long it is
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise TeacherError(f"{client.base_url} {self._refusal(error)}") from error
            except openai.APIStatusError:
                continue
            except (openai.APIConnectionError, TimeoutError) as error:
                raise self._lost(client, error) from error

    async def send(self, call: Call) -> Received:
        """Send one call once to the least busy server."""
        index = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[index] += 1
        try:
            async with TimeLimit(self._settings.timeout_s):
                return await self._post(self._clients[index], call)
        except TimeoutError as error:
            raise Unanswered(
                "timeout", f"no whole reply in {self._settings.timeout_s} s"
            ) from error
        finally:
            self._busy[index] -= 1

    async def _post(self, client: openai.AsyncOpenAI, call: Call) -> Received:
        try:
            return await self._response(client, call)
        except openai.APIStatusError as error:
            return self._refused(error, call)
        except (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise self._lost(client, error) from error

    async def _response(self, client: openai.AsyncOpenAI, call: Call) -> Received:
        """Send, and read what comes."""
        response = await client.post(
            path(client, call.kind), cast_to=httpx2.Response, body=dict(call.body), options=UNREAD
        )
        return await self._read(response.status_code, response.aiter_bytes(), response.aclose)

    async def _read(
        self, status: int, body: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]
    ) -> Received:
        """The body, decoded, at most `max_reply_mib` of it and never idle for `idle_timeout_s`."""
        chunks, size = [], 0
        while True:
            try:
                async with TimeLimit(self._settings.idle_timeout_s):
                    chunk = await anext(body, None)
            except TimeoutError as error:
                await close()
                raise Unanswered(
                    "timeout", f"the reply stopped for {self._settings.idle_timeout_s} s"
                ) from error
            if chunk is None:
                break
            chunks.append(chunk)
            size += len(chunk)
            if size > self._limit:
                await close()
                return Received(status, b"", outcome="too_large")
        raw = b"".join(chunks)
        for secret in self._secrets:
            raw = raw.replace(secret.encode(errors="surrogateescape"), redact.REMOVED.encode())
        return Received(status, raw)

    def _refused(self, error: openai.APIStatusError, call: Call) -> Received:
        status = error.status_code
        said = self._said(error)
        if status in (408, 409, 429) or status >= 500:
            if "insufficient_quota" in said:
                raise TeacherError(f"the teacher's quota is spent: {said}") from error
            name = "rate_limited" if status == 429 else f"status_{status}"
            wait_s = asked_wait_s(error.response.headers)
            raise Unanswered(name, said, wait_s=wait_s, is_billed=False) from error
        if status in (400, 422):
            parameter = refused_parameter(getattr(error, "param", None), said, call.body)
            if parameter is None:
                return Received(status, said.encode())
            raise TeacherError(
                f"{self.name} refuses the parameter {parameter!r}: {said} "
                f"{what_to_set(parameter, call.stage)}"
            ) from error
        if status == 404:
            raise TeacherError(
                f"{self.name} is not there ({status}): {said}. Mend the model's name or its "
                "address (openai:MODEL@URL; most end in /v1)."
            ) from error
        if status in (401, 403):
            raise TeacherError(f"the teacher {self._refusal(error)}") from error
        if "location" in error.response.headers:
            to = self._shown(error.response.headers["location"])
            said = f"it sends to {to}, and a key goes to the named host alone. Name that address."
        raise TeacherError(f"the teacher answers {status}: {said}") from error

    def _lost(self, client: openai.AsyncOpenAI, error: BaseException) -> Unanswered | TeacherError:
        """What became of a request whose connection failed; it is unbilled where there was none.

        The transport calls whatever befalls a connection a timeout while connecting, so that what
        was raised first decides.
        """
        chain = list(_chain(error))
        first = [found for found in chain if not isinstance(found, asyncio.CancelledError)][-1]
        said = self._shown(f"{client.base_url} {type(first).__name__} {first}")
        if isinstance(first, ssl.SSLCertVerificationError):
            return TeacherError(
                f"the certificate cannot be trusted: {said}. Mend the address, or name a file of "
                "authorities to trust as SSL_CERT_FILE in the environment."
            )
        if any(isinstance(found, NEVER_SENT) for found in chain):
            return Unanswered("unreachable", said, is_sent=False)
        return Unanswered("timeout" if isinstance(first, TimeoutError) else "connection", said)

    def _refusal(self, error: openai.APIStatusError) -> str:
        """What a server refuses with 401 or 403: the key that it got, or to go without one."""
        status, said = error.status_code, self._said(error)
        if self._no_key is not None:
            return f"refuses ({status}). {self._no_key} It says: {said}"
        return f"refuses the key ({status}): {said}. Mend the key in the environment."

    def _said(self, error: openai.APIStatusError) -> str:
        """What the server says."""
        body = error.body if error.body is not None else error.message
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
        return self._shown(text)

    def _shown(self, text: str) -> str:
        """A server's words in one line, without the key that it may repeat."""
        for secret in self._secrets:
            text = text.replace(secret, redact.REMOVED)
        return valid(" ".join(text.split())[:500])

    async def close(self) -> None:
        """Close all connections; one that does not let itself be closed is left to the system."""
        for client in self._clients:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await client.close()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
