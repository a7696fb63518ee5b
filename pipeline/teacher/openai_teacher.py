"""Any server that speaks the OpenAI protocol, through the `openai` package.

The package's own retries are off, so that what the journal counts is what was sent; its aiohttp
transport and `client.post` cost a quarter of the processor time of the default. The body of a reply
is read here, at most `max_reply_mib` of it, and handed on as it came.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import httpx2
import openai

from pipeline import redact
from pipeline.errors import TeacherError
from pipeline.stage import Sampling
from pipeline.teacher.call import Call, Received, Unanswered, valid
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import TeacherURI

UNREAD: Any = {"headers": {"X-Stainless-Raw-Response": "stream"}}
"""Has the package leave a reply's body to us."""
PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
}


def _path(client: openai.AsyncOpenAI, kind: str) -> str:
    """Where a kind of call goes; vLLM's `/tokenize` stands beside `/v1`, not below it."""
    if kind == "tokenize":
        return f"{str(client.base_url).rstrip('/').removesuffix('/v1')}/tokenize"
    return PATHS[kind]


MAX_REFUSAL = 65_536
MAX_WAIT_S = 600.0
"""The longest pause that a server's Retry-After is believed."""


class OpenAITeacher:
    """One served model behind one or several addresses that share the load."""

    def __init__(self, uri: TeacherURI, key: str, settings: TeacherSettings) -> None:
        """Open nothing yet; connections are made as they are needed."""
        self.name = uri.model
        self._key = key
        self._secrets = redact.spellings(key)
        self._settings = settings
        self._limit = int(settings.max_reply_mib * 2**20)
        self._clients = [self._client(url) for url in uri.urls]
        self._busy = [0] * len(self._clients)

    def _client(self, url: str) -> openai.AsyncOpenAI:
        timeout = httpx2.Timeout(self._settings.timeout_s, connect=self._settings.connect_timeout_s)
        return _Client(
            api_key=self._key,
            base_url=url,
            max_retries=0,
            timeout=timeout,
            http_client=_BoundedClient(
                base_url=url,
                timeout=timeout,
                limits=httpx2.Limits(max_connections=self._settings.concurrency),
                follow_redirects=False,
            ),
        )

    async def check(self) -> None:
        """Ask each server for its models, unpaid.

        A server that refuses the key or has a certificate that cannot be trusted raises
        `TeacherError`, one that cannot be reached `Unanswered`; one that has no such list, or
        another name for the model, is left to the first request.
        """
        for client in self._clients:
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s * 2):
                    response = await client.get("/models", cast_to=httpx2.Response, options=UNREAD)
                    await response.aclose()  # that it came is enough, however long it is
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise TeacherError(
                    f"{client.base_url} refuses the key: {self._said(error)}. Mend the key in the "
                    "environment and start the same command again."
                ) from error
            except openai.APIStatusError:
                continue
            except (openai.APIConnectionError, TimeoutError) as error:
                raise self._lost(client, error) from error

    async def send(self, call: Call) -> Received:
        """Send one call once to the least busy server."""
        index = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[index] += 1
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._post(self._clients[index], call)
        except TimeoutError as error:
            raise Unanswered(
                "timeout", f"no whole reply in {self._settings.timeout_s} s"
            ) from error
        finally:
            self._busy[index] -= 1

    async def _post(self, client: openai.AsyncOpenAI, call: Call) -> Received:
        try:
            response = await client.post(
                _path(client, call.kind),
                cast_to=httpx2.Response,
                body=dict(call.body),
                options=UNREAD,
            )
            return await self._read(response)
        except openai.APIStatusError as error:
            return self._refused(error, call)
        except (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise self._lost(client, error) from error

    async def _read(self, response: httpx2.Response) -> Received:
        """The body, decoded, at most `max_reply_mib` of it and never idle for `idle_timeout_s`."""
        chunks, size = [], 0
        body = response.aiter_bytes()
        while True:
            try:
                async with asyncio.timeout(self._settings.idle_timeout_s):
                    chunk = await anext(body, None)
            except TimeoutError as error:
                await response.aclose()
                raise Unanswered(
                    "timeout", f"the reply stopped for {self._settings.idle_timeout_s} s"
                ) from error
            if chunk is None:
                break
            chunks.append(chunk)
            size += len(chunk)
            if size > self._limit:
                await response.aclose()
                return Received(response.status_code, b"", outcome="too_large")
        raw = b"".join(chunks)
        for secret in self._secrets:
            raw = raw.replace(secret.encode(errors="surrogateescape"), redact.REMOVED.encode())
        return Received(response.status_code, raw)

    def _refused(self, error: openai.APIStatusError, call: Call) -> Received:
        status = error.status_code
        said = self._said(error)
        if status in (408, 409, 429) or status >= 500:
            if "insufficient_quota" in said:
                raise TeacherError(f"the teacher's quota is spent: {said}") from error
            name = "rate_limited" if status == 429 else f"status_{status}"
            wait_s = _wait_s(error.response.headers)
            raise Unanswered(name, said, wait_s=wait_s, is_billed=False) from error
        if status in (400, 422):
            parameter = _refused_parameter(error, said, call.body)
            if parameter is None:
                return Received(status, said.encode())
            raise TeacherError(
                f"{self.name} refuses the parameter {parameter!r}: {said} "
                f"{_what_to_set(parameter, call.stage)}"
            ) from error
        if status == 404:
            raise TeacherError(f"{self.name} is not there ({status}): {said}") from error
        if status in (401, 403):
            raise TeacherError(f"the teacher refuses the key ({status}): {said}") from error
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
            return Unanswered("unreachable", said, is_billed=False)
        return Unanswered("timeout" if isinstance(first, TimeoutError) else "connection", said)

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
        """Close all connections."""
        for client in self._clients:
            await client.close()


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


class _BoundedClient(openai.DefaultAioHttpClient):
    """The package's aiohttp client; of a refusal's body it reads a bounded part.

    It opens as many connections as its `limits` say and keeps no cookies.
    """

    def _init_transport(self, *given: Any, **options: Any) -> httpx2.AsyncBaseTransport:  # noqa: ANN401 - passed on
        transport: Any = super()._init_transport(*given, **options)
        transport.client = lambda: aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=transport.limits.max_connections, ssl=transport.ssl_context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_CarefulRequest,
        )
        return transport  # type: ignore[no-any-return]  # the package's own has more attributes

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


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _refused_parameter(
    error: openai.APIStatusError, said: str, body: Mapping[str, Any]
) -> str | None:
    """Which of the parameters that we sent the server's message complains about, if any."""
    sent = [name for name in body if name not in ("model", "messages", "prompt", "input")]
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


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """The pause that the server asks for, in seconds: a number, or a date against its own clock.

    OpenAI also says it in milliseconds, which counts where it is there; nonsense is no pause.
    """
    given = headers.get("retry-after", "")
    waits = (
        _number(headers.get("retry-after-ms", "")) / 1000,
        _number(given),
        _until(given, headers.get("date", "")),
    )
    wait = next((wait for wait in waits if not math.isnan(wait)), 0.0)
    return min(wait, MAX_WAIT_S) if wait > 0 else None


def _number(text: str) -> float:
    """A number; nan where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _until(date: str, now: str) -> float:
    """Seconds from one HTTP date to another; nan where one is none."""
    try:
        there, here = (email.utils.parsedate_to_datetime(text) for text in (date, now))
        return (there - here).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date; a date without a zone; year 10000
        return math.nan
