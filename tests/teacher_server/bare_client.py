"""A client of bare sockets: it sees what is on the wire, and forgives nothing."""

import json
import socket
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .process import Server

NUMBERS = count(1)
KEY = "sk-canary-0123456789"


@dataclass
class Answer:
    """All bytes that came back, and how the connection ended: eof, reset, timeout or enough."""

    raw: bytes
    end: str
    seconds: float
    arrivals: list[float] = field(default_factory=list)  # seconds after the request, one a read

    @property
    def head(self) -> bytes:
        """Status line and headers."""
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def rest(self) -> bytes:
        """What follows the headers, as it came."""
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case, values read as Latin-1."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def body(self) -> bytes:
        """The body, with the framing of chunks taken off."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rest
        body, rest = b"", self.rest
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if length == 0:
                break
            body, rest = body + rest[:length], rest[length + 2 :]
        return body

    @property
    def is_whole(self) -> bool:
        """Whether the framing says that the body is complete and nothing follows it."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self.rest.endswith(b"\r\n0\r\n\r\n")
        return len(self.rest) == int(self.headers["content-length"])

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def text(self) -> str:
        """What the teacher wrote in its first choice."""
        choice = self.json()["choices"][0]
        text: str = choice["message"]["content"] if "message" in choice else choice["text"]
        return text


def chat(prompt: str, **more: object) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": "test-model", "messages": [{"role": "user", "content": prompt}], **more}


def request(
    body: dict[str, Any] | None,
    path: str = "/v1/chat/completions",
    key: str | None = KEY,
    headers: dict[str, str] | None = None,
    close: bool = True,
) -> bytes:
    """The bytes of one request."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["Connection: close"] if close else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(data)}", "", ""]
    return "\r\n".join(lines).encode() + data


def exchange(
    address: tuple[str, int], data: bytes, timeout_s: float = 5.0, enough: int = 1 << 40
) -> Answer:
    """Send `data` on a connection of its own and read to its end, to a time or to a size."""
    start = time.monotonic()
    raw = bytearray()
    arrivals: list[float] = []
    with socket.create_connection(address, timeout=timeout_s) as sock:
        end = "enough"
        try:
            sock.sendall(data)
            while len(raw) < enough:
                left = start + timeout_s - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
                read = sock.recv(1 << 20)
                arrivals.append(time.monotonic() - start)
                if not read:
                    end = "eof"
                    break
                raw += read
        except TimeoutError:
            end = "timeout"
        except ConnectionResetError:
            end = "reset"
    return Answer(bytes(raw), end, time.monotonic() - start, arrivals)


def address(server: Server) -> tuple[str, int]:
    """Where a teacher listens."""
    return server.host, server.port


def new_prompt() -> str:
    """A prompt that no other call gave."""
    return f"Tell me about number {next(NUMBERS)}."


def ask(
    server: Server,
    prompt: str | None = None,
    timeout_s: float = 5.0,
    enough: int = 1 << 40,
    **more: object,
) -> Answer:
    """Ask one chat question, by default one that nobody asked before."""
    data = request(chat(prompt or new_prompt(), **more))
    return exchange(address(server), data, timeout_s, enough)


def wait_until_idle(server: Server) -> None:
    """Wait until the teacher has noticed that nobody waits for an answer."""
    for _ in range(200):
        if server.counts()["in_flight"] == 0:
            return
        time.sleep(0.01)
    raise AssertionError("a request is still in flight")
