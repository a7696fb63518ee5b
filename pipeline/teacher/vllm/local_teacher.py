"""A server of this run on this machine, asked by aiohttp alone.

There is no proxy before it, no certificate, no redirect, and nobody but this run speaks to it, so
that a request takes a third of the processor time that it takes through the `openai` package. What
it answers is read, bounded and judged as `OpenAITeacher` does.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
import openai

from pipeline.teacher.call import Call, Received
from pipeline.teacher.openai_teacher import OpenAITeacher, path
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.transport import MAX_REFUSAL
from pipeline.teacher.uri import TeacherURI


class LocalTeacher(OpenAITeacher):
    """One served model behind one address of this machine."""

    def __init__(self, uri: TeacherURI, key: str, settings: TeacherSettings) -> None:
        """Open nothing yet; connections are made as they are needed."""
        super().__init__(uri, key, settings)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._settings.concurrency),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=None, sock_connect=self._settings.connect_timeout_s
                ),
                headers=self._headers,
            )
        return self._session

    async def _response(self, client: openai.AsyncOpenAI, call: Call) -> Received:
        url = path(client, call.kind)
        url = url if "://" in url else str(client.base_url).rstrip("/") + url
        body = json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()
        async with self._open().post(url, data=body, allow_redirects=False) as response:
            if response.status >= 300:
                raise await _refusal(response)
            return await self._read(
                response.status, response.content.iter_any(), _closing(response)
            )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
        await super().close()


def _closing(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        response.close()

    return close


async def _refusal(response: aiohttp.ClientResponse) -> openai.APIStatusError:
    """The package's error for what a server refuses, of whose body a bounded part was read."""
    raw = b""
    async for chunk in response.content.iter_any():
        raw += chunk[: MAX_REFUSAL - len(raw)]
        if len(raw) >= MAX_REFUSAL:
            break
    text = raw.decode(errors="replace").strip()
    try:
        body: Any = json.loads(text)
    except ValueError:
        body = text
    if isinstance(body, dict):
        body = body.get("error", body)
    request = httpx2.Request("POST", str(response.url))
    told = httpx2.Response(response.status, headers=dict(response.headers), request=request)
    return openai.APIStatusError(text or f"status {response.status}", response=told, body=body)
