"""Any server that speaks the OpenAI protocol, through the `openai` package.

The package's own retries are off, so that what the journal counts is what was sent; its aiohttp
transport and `client.post` cost a quarter of the processor time of the default. The body of a reply
is read here, at most `max_reply_mib` of it, and handed on as it came.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2
import openai

from pipeline.errors import TeacherError
from pipeline.stage import Sampling
from pipeline.teacher.call import TOO_LARGE, Call, Received, Unanswered, valid
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import NO_KEY, TeacherURI

PATHS = {"chat": "/chat/completions", "completions": "/completions"}
SHORTEST_SECRET = 12
"""Shorter keys (EMPTY, ollama, none) are stand-ins, and words that a reply may hold."""
MAX_WAIT_S = 600.0
"""A server that asks for a longer pause, or for none that can be read, is taken at this, or at our own."""


class OpenAITeacher:
    """One served model behind one or several addresses that share the load."""

    def __init__(self, uri: TeacherURI, key: str, settings: TeacherSettings) -> None:
        """Open nothing yet; connections are made as they are needed."""
        self.name = uri.model
        self._key = key
        self._secret = key if key != NO_KEY and len(key) >= SHORTEST_SECRET else None
        self._settings = settings
        self._limit = int(settings.max_reply_mib * 2**20)
        self._clients = [self._client(url) for url in uri.urls]
        self._busy = [0] * len(self._clients)

    def _client(self, url: str) -> openai.AsyncOpenAI:
        timeout = httpx2.Timeout(self._settings.timeout_s, connect=self._settings.connect_timeout_s)
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(
                base_url=url,
                timeout=timeout,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                follow_redirects=False,
            ),
        )

    async def check(self) -> None:
        """Ask each server for its models, unpaid.

        A server that cannot be reached or refuses the key raises `TeacherError`; one that has no such
        list, or another name for the model, is left to the first request.
        """
        for client in self._clients:
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s * 2):
                    await client.get("/models", cast_to=httpx2.Response)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise TeacherError(
                    f"{client.base_url} refuses the key: {self._hide(_said(error))}. Mend the key in the "
                    "environment and start the same command again."
                ) from error
            except openai.APIStatusError:
                continue
            except (openai.APIConnectionError, TimeoutError) as error:
                raise Unanswered("unreachable", f"{client.base_url}: {_cause(error)}") from error

    async def send(self, call: Call) -> Received:
        """Send one call once to the least busy server."""
        index = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[index] += 1
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._post(self._clients[index], call)
        except TimeoutError as error:
            raise Unanswered("timeout", f"no whole reply in {self._settings.timeout_s} s") from error
        finally:
            self._busy[index] -= 1

    async def _post(self, client: openai.AsyncOpenAI, call: Call) -> Received:
        try:
            response = await client.post(
                PATHS[call.kind],
                cast_to=httpx2.Response,
                body=dict(call.body),
                options={"headers": {"X-Stainless-Raw-Response": "stream"}},
            )
            body = await self._read(response)
            if body is None:
                return Received(TOO_LARGE, f"more than {self._settings.max_reply_mib} MiB".encode())
        except openai.APITimeoutError as error:
            raise Unanswered("timeout", _cause(error)) from error
        except openai.APIConnectionError as error:
            raise Unanswered("connection", _cause(error)) from error
        except openai.APIStatusError as error:
            return self._refused(error, call)
        except httpx2.HTTPError as error:
            raise Unanswered("connection", _cause(error)) from error
        if self._secret is not None:
            body = body.replace(self._secret.encode(), b"[key removed]")
        return Received(response.status_code, body)

    async def _read(self, response: httpx2.Response) -> bytes | None:
        """The body, or null where it is larger than a reply may be."""
        chunks, size = [], 0
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._limit:
                await response.aclose()
                return None
        return b"".join(chunks)

    def _refused(self, error: openai.APIStatusError, call: Call) -> Received:
        status = error.status_code
        said = self._hide(_said(error))
        if status in (408, 409, 429) or status >= 500:
            if "insufficient_quota" in said:
                raise TeacherError(f"the teacher's quota is spent: {said}") from error
            name = "rate_limited" if status == 429 else f"status_{status}"
            raise Unanswered(name, said, _wait_s(error.response.headers)) from error
        if status in (400, 422):
            refused = _refused_parameter(error, call.body)
            if refused is None:
                return Received(status, said.encode())
            raise TeacherError(
                f"{self.name} refuses the parameter {refused!r}: {said} "
                f"{_what_to_set(refused, call.stage)}"
            ) from error
        if status == 404:
            raise TeacherError(f"{self.name} is not there ({status}): {said}") from error
        if status in (401, 403):
            raise TeacherError(f"the teacher refuses the key ({status}): {said}") from error
        raise TeacherError(f"the teacher answers {status}: {said}") from error

    def _hide(self, said: str) -> str:
        return said if self._secret is None else said.replace(self._secret, "[key removed]")

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()


def _refused_parameter(error: openai.APIStatusError, body: Mapping[str, Any]) -> str | None:
    """Which of the parameters that we sent the server's message complains about, if any."""
    said = _said(error)
    sent = [name for name in body if name not in ("model", "messages", "prompt")]
    for name in sent:
        if name == getattr(error, "param", None) or f"'{name}'" in said:
            return name
    complains = ("unsupported", "not supported", "unknown", "unrecognized", "not permitted")
    if any(words in said.lower() for words in complains):
        return next((name for name in sent if re.search(rf"\b{re.escape(name)}\b", said)), None)
    return None


def _what_to_set(name: str, stage: str) -> str:
    sampling = f"{stage}.sampling"
    if name == "max_tokens":
        return f"Set teacher.max_tokens_name=max_completion_tokens, or {sampling}.max_tokens=null."
    if name == "max_completion_tokens":
        return f"Set teacher.max_tokens_name=max_tokens, or {sampling}.max_tokens=null."
    if name == "stop":
        return f"Set {sampling}.stop=[]."
    if name not in Sampling.model_fields:
        return f"Take it out of {sampling}.extra."
    return f"Set {sampling}.{name}=null, or another value."


def _said(error: openai.APIStatusError) -> str:
    body = error.body if error.body is not None else error.message
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    return valid(" ".join(text.split())[:500])


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"[:300]


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """The pause that the server asks for, in seconds: a number, or a date against its own clock."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(value)
            now = email.utils.parsedate_to_datetime(headers.get("date", ""))
            wait = (until - now).total_seconds()
        except (ValueError, TypeError):  # no date; one with a time zone and one without
            return None
    return min(wait, MAX_WAIT_S) if wait >= 0 else None
