"""A model that vLLM serves for this run alone."""

from __future__ import annotations

import dataclasses

from pipeline.teacher.call import Call, Received, Unanswered
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.uri import TeacherURI
from pipeline.teacher.vllm.engine import Engine
from pipeline.teacher.vllm.local_teacher import LocalTeacher


class VLLMTeacher:
    """Answers calls through an engine; what dies with the server is asked again of the next."""

    def __init__(self, engine: Engine, settings: TeacherSettings, *, writes: bool) -> None:
        """Start nothing yet. `writes`: whether it is asked for text, not for token loss."""
        self.name = engine.served.name
        self._engine = engine
        self._settings = settings
        self._server: LocalTeacher | None = None
        self._generation = 0
        if writes and settings.endpoint == "chat":
            engine.chats = True

    async def check(self) -> None:
        """Start the server, if nobody has, and wait until it answers."""
        await self._engine.start()

    async def send(self, call: Call) -> Received:
        """Send one call; once more for every server that dies at it or before."""
        body = {name: value for name, value in call.body.items() if name != "sha256"}
        call = dataclasses.replace(call, body=body)
        await self._engine.start()
        while True:
            generation = await self._engine.up()
            try:
                return await (await self._client(generation)).send(call)
            except Unanswered:
                if not await self._engine.has_died(generation):
                    raise

    async def _client(self, generation: int) -> LocalTeacher:
        """A client of the server as it is now: another start may be at another port."""
        if self._server is None or self._generation != generation:
            before, self._generation = self._server, generation
            where = TeacherURI("openai", self.name, (f"{self._engine.url}/v1",))
            self._server = LocalTeacher(where, self._engine.key, self._settings)
            if before is not None:
                await before.close()
        return self._server

    async def close(self) -> None:
        """Let go of connections; the engine is ended by who made it."""
        if self._server is not None:
            await self._server.close()
