"""One vLLM server of a run: started, asked whether it works, watched, started again, ended.

    started -> answers a request -> serves -> died -> started again, at most `MOST_RESTARTS` times

A keeper (`keeper.py`) stands between this process and the server and ends it however this process
ends. What the server says goes to a log, of which an error shows the last lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from pipeline import redact
from pipeline.counted import counted
from pipeline.errors import InterruptedRunError, SynthError, TeacherError
from pipeline.teacher.vllm import keeper, leftovers, log
from pipeline.teacher.vllm.command import Served
from pipeline.teacher.vllm.metrics import Load, Meter

MOST_RESTARTS = 3
LOOK_EVERY_S = 4.0
"""How often a server that works is asked how it is."""
START_LOOK_S = 0.25
ASK_S = 10.0
"""How long a server may take to say how it is; a machine at its limits is slow, not dead."""
PROBE_S = 300.0
"""The same for the first request, at which a model may still be compiled."""
END_S = keeper.GRACE_S + 5.0
PORTS = 3
"""How many free ports are tried, where somebody takes each before the server does."""

Tell = Callable[[str], None]
"""Told what a person should read once."""
Show = Callable[[float, str, bool], None]
"""Told how a start goes: seconds, what the server said last, and whether it is up."""


class Engine:
    """A vLLM server as a child; `load` is how busy it says that it is."""

    def __init__(
        self, served: Served, run: Path, log_path: Path, *, tell: Tell, show: Show
    ) -> None:
        """Start nothing yet. `run` is the run's folder; `log_path` is appended to."""
        self.served = served
        self.load: Load | None = None
        self.generation = 0
        """How often it was started."""
        self.key = secrets.token_urlsafe(24)
        """What the server asks for: on a machine that others use, nobody else is answered."""
        self.chats = False
        """Whether it is asked as a chat; then that is tried before it counts as up."""
        self._run = run
        self._id = secrets.token_hex(16)
        self._log = log_path
        self._log_since = 0
        """Where in the log the server that is there now began."""
        self._tell = tell
        self._show = show
        self._port = 0
        self._restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._failure: BaseException | None = None
        self._watch: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        redact.remember(self.key)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the server and wait until it answers a request; nothing where it is up.

        Raises `TeacherError` where it ends before that, `InterruptedRunError` where it does not get
        there in time or its port is taken.
        """
        async with self._starting:
            if self._failure is not None:
                raise self._failure
            if self._watch is not None:
                return
            if self._session is None:
                timeout = aiohttp.ClientTimeout(total=ASK_S)
                headers = {"Authorization": f"Bearer {self.key}"}
                self._session = aiohttp.ClientSession(timeout=timeout, headers=headers)
            try:
                await self._open()
            except SynthError as error:
                self._failure = error  # the others that wait for it need not try too
                raise
            self._watch = asyncio.create_task(self._keep_up())
            self._watch.add_done_callback(self._note_end_of_watch)

    async def up(self) -> int:
        """Wait until the server is up; gives which start of it this is.

        Raises why it will never be.
        """
        await self._up.wait()
        if self._failure is not None:
            raise self._failure
        return self.generation

    async def has_died(self, generation: int) -> bool:
        """Whether the server of a start is gone: one that just failed to answer."""
        if self.generation != generation or self._down.is_set():
            return True
        if await self._is_healthy():
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_S):
                await self._down.wait()
        return self.generation != generation or self._down.is_set()

    def _note_end_of_watch(self, watch: asyncio.Task[None]) -> None:
        """Let nobody wait for a server that is watched no more: what ended that is raised."""
        if not watch.cancelled() and (error := watch.exception()) is not None:
            self._failure = error
            self._up.set()

    async def close(self) -> None:
        """End the server."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._end()
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> None:
        """Start the server and wait until it answers."""
        for left in reversed(range(PORTS)):
            try:
                await self._open_once()
                return
            except _TakenPortError:
                if left == 0 or self.served.settings.port is not None:
                    raise
            finally:
                if not self._up.is_set():
                    await self._end()

    async def _open_once(self) -> None:
        began = time.monotonic()
        self._port = self._free_port()
        self._log.parent.mkdir(exist_ok=True)
        with self._log.open("ab") as file:
            self._log_since = file.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", keeper.__file__, str(os.getpid())),
                *self.served.command(self._port),
                stdin=asyncio.subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=self.served.environment(self.key, leftovers.marks(self._run, self._id)),
                start_new_session=True,
            )
        until = began + self.served.settings.start_timeout_s
        while not await self._is_healthy():
            self._check_start(until)
            said = (log.lines(self._log, self._log_since) or [""])[-1]
            self._show(time.monotonic() - began, said, False)
            await asyncio.sleep(START_LOOK_S)
        await self._probe(until)
        self.generation += 1
        self._down.clear()
        self._up.set()
        self._show(time.monotonic() - began, "", True)

    def _free_port(self) -> int:
        wanted = self.served.settings.port
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(("127.0.0.1", wanted or 0))
            except OSError as error:
                raise InterruptedRunError(
                    f"{self._named} cannot start: port {wanted} is taken by another process. End "
                    f"that, or leave {self.served.role}.vllm.port out, and a free one is taken."
                ) from error
            return int(found.getsockname()[1])

    def _check_start(self, until: float) -> None:
        """Raise where the server has ended, or has had its time."""
        assert self._process is not None
        code = self._process.returncode
        if code is not None:
            said = self._said()
            if "address already in use" in said.lower():
                raise _TakenPortError(f"{self._named} cannot start: its port is taken.{said}")
            raise TeacherError(f"{self._named} ended with {_how(code)} before it answered.{said}")
        if time.monotonic() > until:
            limit_s = self.served.settings.start_timeout_s
            raise InterruptedRunError(
                f"{self._named} has not answered within {limit_s:g} s.{self._said()} Start the "
                f"same command again, with a higher {self.served.role}.vllm.start_timeout_s if it "
                "is slow."
            )

    async def _probe(self, until: float) -> None:
        """Have the server answer as it will be asked: that it says it is well is not enough."""
        text = "Is it there?"
        asked = [("completions", {"prompt": text, "prompt_logprobs": 0})]
        if self.chats:
            asked.append(("chat/completions", {"messages": [{"role": "user", "content": text}]}))
        for path, body in asked:
            status, said = await self._answer(path, {"model": self.served.name, **body}, until)
            if status != 200:
                raise TeacherError(
                    f"{self._named} refuses its first request ({path}, {status}): {said}"
                    f"{self._said()}"
                )

    async def _answer(self, path: str, body: dict[str, object], until: float) -> tuple[int, str]:
        """The status and the text of a reply to a request of one token."""
        assert self._session is not None
        asked = body | {"max_tokens": 1, "temperature": 0}
        limit_s = max(min(PROBE_S, until - time.monotonic()), 1.0)
        try:
            async with self._session.post(
                f"{self.url}/v1/{path}", json=asked, timeout=aiohttp.ClientTimeout(total=limit_s)
            ) as reply:
                status, text = reply.status, await reply.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await self._wait_for_end()
            self._check_start(min(until, time.monotonic() + 1))
            raise TeacherError(
                f"{self._named} has not answered its first request ({type(error).__name__})."
                f"{self._said()}"
            ) from error
        if status >= 500:
            await self._wait_for_end()
            self._check_start(until)
        return status, " ".join(text.split())[: log.LONGEST]

    async def _wait_for_end(self) -> None:
        """Wait a while for a process that is about to end."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._process.wait()

    async def _is_healthy(self) -> bool:
        return await self._get("/health") is not None

    async def _get(self, path: str) -> str | None:
        """A page of the server, null where it has none for us."""
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}{path}") as reply:
                return await reply.text() if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def _keep_up(self) -> None:
        """Watch the server; where it dies, start it again."""
        while True:
            await self._watch_over()
            self._up.clear()
            self._down.set()
            self.load = None
            assert self._process is not None
            code = self._process.returncode
            died = f"{self._named} died ({_how(code) if code is not None else 'its engine'})"
            await self._end()
            while not self._up.is_set():
                if self._restarts == MOST_RESTARTS:
                    self._failure = SynthError(
                        f"{died}, after {counted(self._restarts, 'restart')}.{self._said()}"
                    )
                    self._up.set()
                    return
                self._restarts += 1
                self._tell(f"{died}: restart {self._restarts} of {MOST_RESTARTS}.")
                try:
                    await self._open()
                except SynthError as error:
                    died = str(error).partition("\n")[0].removesuffix(".")

    async def _watch_over(self) -> None:
        """Return once the server has died, or says that its engine has."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        meter = Meter()
        try:
            while True:
                if (page := await self._get("/metrics")) is not None:
                    self.load = meter.read(page)
                await asyncio.wait({ended}, timeout=LOOK_EVERY_S)
                if ended.done() or await self._says_dead():
                    return
        finally:
            ended.cancel()

    async def _says_dead(self) -> bool:
        """Whether the server says that its engine is gone; silence says nothing."""
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}/health") as reply:
                return reply.status >= 500
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _end(self) -> None:
        """End the server and its keeper, and all that they started.

        Where this is cancelled, it is to be called again.
        """
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.wait()
        # where its keeper was killed; what goes on beside need not wait for that
        await asyncio.to_thread(leftovers.end, leftovers.SERVER, self._id)
        self._process = None

    @property
    def _named(self) -> str:
        return f"vLLM ({self.served.role} {self.served.name})"

    def _said(self) -> str:
        """What the server said last, and what to do about it."""
        lines = log.lines(self._log, self._log_since)
        said = "".join(f"\n  {line}" for line in log.last_words(lines))
        hint = log.hint(lines, self.served.role)
        parts = filter(None, [hint, f"All that it said is in {self._log}."])
        return (f" It said last:{said}\n" if said else " It said nothing. ") + " ".join(parts)


class _TakenPortError(InterruptedRunError):
    """Somebody took the port that was free a moment ago."""


def _how(code: int) -> str:
    """How a process ended, by the exit code that its keeper handed on, or by what ended that."""
    code = 128 - code if code < 0 else code
    if code > 128 and code - 128 in set(signal.Signals):
        name = signal.Signals(code - 128).name
        many = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"{name}{many}"
    return f"exit code {code}"
