"""The sockets that the server listens on, and how the main one is taken away and given back."""

import asyncio
import contextlib
import socket
import ssl

from .protocol import Connection, Service
from .teacher import Teacher

BACKLOG = 4096


class Listeners:
    """The teacher's port, a second host for redirects, and the control's port."""

    def __init__(
        self, teacher: Teacher, control: Service, tls: ssl.SSLContext | None = None
    ) -> None:
        self._teacher = teacher
        self._control = control
        self._tls = tls
        self._count = 0
        self._servers: dict[str, asyncio.Server] = {}
        self._holder: socket.socket | None = None
        self.ports: dict[str, int] = {}

    async def start(self, port: int = 0) -> None:
        """Open all three; the second host is 127.0.0.2, or another port where that is missing."""
        await self._open("main", self._bind("127.0.0.1", port))
        await self._open("control", self._bind("127.0.0.1", 0))
        try:
            other = self._bind("127.0.0.2", 0)
        except OSError:
            other = self._bind("127.0.0.1", 0)
        await self._open("other", other)
        self._teacher.other_url = f"http://{other.getsockname()[0]}:{self.ports['other']}"

    async def close(self) -> None:
        """Close everything."""
        for server in self._servers.values():
            server.close()
        if self._holder is not None:
            self._holder.close()

    def refuse(self, for_s: float | None, drop: bool = True) -> None:
        """Refuse connections for a time, or until `accept`; `drop` resets the open ones too.

        A socket that is bound but does not listen keeps the port ours: connecting to it is refused.
        """
        if self._holder is None:
            self._holder = self._bind("127.0.0.1", self.ports["main"])
            self._servers.pop("main").close()
            self._teacher.history.event("listener_down", for_s=for_s)
        if drop:
            for wire in list(self._teacher.connections):
                if wire.listener == "main":
                    wire.cut(reset=True)
        if for_s is not None:
            asyncio.get_running_loop().call_later(for_s, self.accept)

    def accept(self) -> None:
        """Accept connections again."""
        if self._holder is not None:
            holder, self._holder = self._holder, None
            holder.listen(BACKLOG)  # from here on clients queue
            task = asyncio.get_running_loop().create_task(self._open("main", holder))
            task.add_done_callback(lambda _: self._teacher.history.event("listener_up"))

    def _bind(self, host: str, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # for the holder of a port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        return sock

    async def _open(self, name: str, sock: socket.socket) -> None:
        service = self._control if name == "control" else self._teacher
        self.ports[name] = sock.getsockname()[1]

        def accepted() -> Connection:
            self._count += 1
            return Connection(service, self._count, name)

        self._servers[name] = await asyncio.get_running_loop().create_server(
            accepted, sock=sock, backlog=BACKLOG, ssl=self._tls if name == "main" else None
        )
