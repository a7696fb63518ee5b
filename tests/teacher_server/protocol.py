"""HTTP/1.1 by hand over asyncio's transports: parsing requests, writing replies, breaking off.

One request of a connection is answered at a time; pipelined ones wait in the buffer.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

from .replies import Ask, Reply, error

LARGEST_REQUEST = 64 << 20
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class IncompleteError(Exception):
    """More bytes are needed."""


class BadRequestError(Exception):
    """The bytes are no HTTP request."""


class Service(Protocol):
    """What stands behind a listener: the teacher, or its control."""

    def opened(self, wire: "Connection") -> None:
        """A connection was accepted."""

    def closed(self, wire: "Connection") -> None:
        """A connection is gone; `wire.ask` is set if it had not been answered."""

    def take(
        self, wire: "Connection", method: str, target: str, headers: dict[bytes, bytes], body: bytes
    ) -> None:
        """Answer one request, at once or later, with `wire.respond` or by writing."""

    def wrote_first(self, wire: "Connection") -> None:
        """The first byte of the answer to `wire.ask` was written."""

    def wrote_all(self, wire: "Connection", status: int) -> None:
        """The last byte of a whole answer to `wire.ask` was handed to the kernel."""

    def cut(self, wire: "Connection") -> None:
        """The server itself ends the answer to `wire.ask` before its end."""

    def refuse(self, for_s: float | None) -> None:
        """Refuse new connections for a time."""


def parse(data: bytearray) -> tuple[str, str, dict[bytes, bytes], bytes, int]:
    """Take one request off `data`: method, target, headers, body, and how long it was."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > 1 << 20:
            raise BadRequestError
        raise IncompleteError
    first, *lines = bytes(data[:end]).split(b"\r\n")
    try:
        method, target, _ = first.decode("latin-1").split(" ")
    except ValueError:
        raise BadRequestError from None
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    start = end + 4
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        body, stop = _parse_chunks(data, start)
    else:
        try:
            length = int(headers.get(b"content-length", b"0"))
        except ValueError:
            raise BadRequestError from None
        stop = start + length
        if not 0 <= length <= LARGEST_REQUEST:
            raise BadRequestError
        if len(data) < stop:
            raise IncompleteError
        body = bytes(data[start:stop])
    return method, target, headers, body, stop


def _parse_chunks(data: bytearray, at: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            raise IncompleteError
        try:
            size = int(bytes(data[at:line_end]).partition(b";")[0], 16)
        except ValueError:
            raise BadRequestError from None
        at = line_end + 2
        if len(data) < at + size + 2:
            raise IncompleteError
        if size == 0:
            return b"".join(parts), at + 2
        parts.append(bytes(data[at : at + size]))
        at += size + 2


class Connection(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, service: Service, number: int, listener: str) -> None:
        self.service = service
        self.number = number
        self.listener = listener
        self.transport: Any = None
        self.ask: Ask | None = None  # the request that is being answered
        self.has_begun = False  # its first byte is written
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.bytes_out = 0
        self._buffer = bytearray()
        self._when_drained: Callable[[], None] | None = None
        self._continued = False
        self._advancing = False
        self._close_asked = False

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self.transport = transport
        self.transport.set_write_buffer_limits(high=0)  # so that resume_writing means "all sent"
        self.service.opened(self)

    def data_received(self, data: bytes) -> None:
        """Collect, and answer what is whole."""
        self._buffer += data
        self._advance()

    def resume_writing(self) -> None:
        """All bytes are in the kernel's hands."""
        if self._when_drained is not None:
            then, self._when_drained = self._when_drained, None
            then()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: what was not answered is aborted."""
        if self.timer is not None:
            self.timer.cancel()
        self.service.closed(self)
        if self.task is not None:
            self.task.cancel()
        self.ask = None

    # services and faults call these

    @property
    def is_open(self) -> bool:
        """Whether the client is still there."""
        return not self.transport.is_closing()

    def respond(self, reply: Reply, close: bool = False) -> None:
        """Write a whole reply, then take the next request, or close."""
        self.write(reply.wire())
        self.when_drained(lambda: self.finish(reply.status, close or reply.framing == "close"))

    def write(self, data: bytes) -> None:
        """Write some bytes of the answer."""
        if not self.is_open:
            return
        self.bytes_out += len(data)
        self.transport.write(data)
        if not self.has_begun and self.ask is not None:
            self.has_begun = True
            self.service.wrote_first(self)

    def when_drained(self, then: Callable[[], None]) -> None:
        """Call `then` once all written bytes are in the kernel's hands; never if that fails."""
        if not self.is_open:
            return
        if self.transport.get_write_buffer_size() == 0:
            then()
        else:
            self._when_drained = then

    async def drain(self) -> None:
        """Wait until all written bytes are in the kernel's hands."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_drained(lambda: future.set_result(None))
        await future

    def finish(self, status: int, close: bool = False) -> None:
        """Note that a whole answer was written; one to a client that has left is aborted."""
        if not self.is_open:
            return
        self.service.wrote_all(self, status)
        self.release()
        if close or self._close_asked:
            self.transport.close()
        else:
            self._advance()

    def release(self) -> None:
        """Be done with the request; nothing is noted."""
        self.ask = None
        self.has_begun = False
        self.bytes_out = 0
        self._continued = False

    def cut(self, reset: bool = False) -> None:
        """End an answer before its end: close the connection, or reset it."""
        if self.ask is not None:
            self.service.cut(self)
            self.release()
        if reset:
            self.reset()
        else:
            self.transport.close()

    def reset(self) -> None:
        """Break off with a TCP reset."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if sock is not None and self.is_open:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    def _advance(self) -> None:
        if self._advancing:  # called from within: the loop below goes on
            return
        self._advancing = True
        try:
            while self.ask is None and self._buffer and self.is_open:
                try:
                    method, target, headers, body, size = parse(self._buffer)
                except IncompleteError:
                    self._send_continue()
                    return
                except BadRequestError:
                    self.transport.write(error(400, "not an HTTP request").wire())
                    self.transport.close()
                    return
                del self._buffer[:size]
                self._close_asked = headers.get(b"connection", b"").lower() == b"close"
                self.service.take(self, method, target, headers, body)
        finally:
            self._advancing = False

    def _send_continue(self) -> None:
        head, found, _ = bytes(self._buffer[: 1 << 16]).partition(b"\r\n\r\n")
        if found and not self._continued and b"expect: 100-continue" in head.lower():
            self._continued = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
