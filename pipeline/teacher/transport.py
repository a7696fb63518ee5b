"""The `openai` package's client, opened so that one request is one request and tells no more.

Its own retries and redirects are off, so that what the journal counts is what was sent; its aiohttp
transport costs a quarter of the processor time of the default.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai

from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import LOOPBACK

MAX_REFUSAL = 65_536
"""Bytes that are read of the body of a refusal."""


def open_client(url: str, key: str, settings: TeacherSettings) -> openai.AsyncOpenAI:
    """A client for one server; connections are made as they are needed.

    A proxy of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) is used, but not for a server on
    this machine: its key would go to the proxy in clear text.
    """
    host = urlsplit(url).hostname or ""
    here = f"all://[{host}]" if ":" in host else f"all://{host}"
    timeout = httpx2.Timeout(settings.timeout_s, connect=settings.connect_timeout_s)
    return _Client(
        api_key=key,
        base_url=url,
        max_retries=0,
        timeout=timeout,
        http_client=_BoundedClient(
            base_url=url,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=settings.concurrency),
            follow_redirects=False,
            mounts={here: None} if host in LOOPBACK else None,
        ),
    )


class _Client(openai.AsyncOpenAI):
    """The package's client; it tells nobody about this machine, and starts no `uname` for that."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - passed on
        """As the package's."""
        super().__init__(**options)
        self._platform = "Unknown"  # the package asks the system where this is null

    def platform_headers(self) -> dict[str, str]:
        """No name and version of system, processor and interpreter with each request."""
        return {}


class UnaskedReplyError(aiohttp.ClientConnectionError):
    """On a connection that waited for its next request lay a reply already."""


NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, UnaskedReplyError)
"""What is raised before a request leaves: refused, no such name, no certificate."""


class _CarefulRequest(aiohttp.ClientRequest):
    """Uses no connection where a reply lies in wait, which would be taken for its own."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        await asyncio.sleep(0)  # twice: the loop looks at its sockets, then reads what came
        await asyncio.sleep(0)
        if conn.protocol is not None and conn.protocol.should_close:
            raise UnaskedReplyError("the server had sent a reply that nobody asked for")
        return await super().send(conn)


def _careful(transport: Any) -> httpx2.AsyncBaseTransport:  # noqa: ANN401 - the package's own
    """The package's transport, with sessions of ours."""
    transport.client = lambda: aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=transport.limits.max_connections, ssl=transport.ssl_context
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_CarefulRequest,
    )
    return transport  # type: ignore[no-any-return]  # the package's own has more attributes


class _BoundedClient(openai.DefaultAioHttpClient):
    """The package's aiohttp client; of a refusal's body it reads a bounded part.

    It opens as many connections as its `limits` say and keeps no cookies.
    """

    def _init_transport(self, *given: Any, **options: Any) -> httpx2.AsyncBaseTransport:  # noqa: ANN401 - passed on
        return _careful(super()._init_transport(*given, **options))

    def _init_proxy_transport(self, *given: Any, **options: Any) -> httpx2.AsyncBaseTransport:  # noqa: ANN401 - passed on
        return _careful(super()._init_proxy_transport(*given, **options))

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401 - passed on
        """Send; of a response of 300 and above at most `MAX_REFUSAL` bytes come back, undecoded."""
        is_stream = options.pop("stream", False)
        response = await super().send(request, stream=True, **options)
        self.cookies.clear()
        if response.status_code < 300:
            if not is_stream:
                await response.aread()
            return response
        body = b""
        async for chunk in response.aiter_raw():
            body += chunk[: MAX_REFUSAL - len(body)]
            if len(body) >= MAX_REFUSAL:
                break
        await response.aclose()
        skipped = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(k, v) for k, v in response.headers.items() if k.lower() not in skipped]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)
