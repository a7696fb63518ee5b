"""Measure replies a second: `python -m tests.teacher_server.measure [CONNECTIONS] [SECONDS]`.

The client is bare sockets over one selector, so that it is not what is measured.
"""

import json
import selectors
import socket
import sys
import tempfile
import time
from pathlib import Path

from .process import running_server


def request_bytes(number: int) -> bytes:
    """A small chat request, a different one for each number."""
    prompt = f"Come up with a series of tasks:\n1. Name {number} birds.\n2. Spell a word.\n3."
    body = json.dumps(
        {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": prompt}]}
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def replies_a_second(host: str, port: int, connections: int, seconds: float) -> float:
    """Keep `connections` busy with one request each for a time."""
    selector = selectors.DefaultSelector()
    number = 0
    for _ in range(connections):
        sock = socket.create_connection((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, bytearray())
        sock.sendall(request_bytes(number))
        number += 1
    done = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for key, _ in selector.select(1):
            sock = key.fileobj  # type: ignore[assignment]
            key.data.extend(sock.recv(1 << 16))
            head_end = key.data.find(b"\r\n\r\n")
            at = key.data.find(b"Content-Length: ")
            if head_end < 0:
                continue
            length = int(key.data[at + 16 : key.data.index(b"\r", at)])
            if len(key.data) >= head_end + 4 + length:
                key.data.clear()
                done += 1
                sock.sendall(request_bytes(number))
                number += 1
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    selector.close()
    return done / elapsed


def main() -> None:
    """Start a teacher, measure, print."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder) / "history.jsonl") as server,
    ):
        rate = replies_a_second(server.host, server.port, connections, seconds)
        counts = server.counts()
    sys.stdout.write(f"{rate:.0f} replies/s over {connections} connections, {seconds:.0f} s\n")
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
