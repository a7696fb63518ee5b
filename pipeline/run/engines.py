"""The vLLM servers of a run: one for each different model that is served here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.counted import counted
from pipeline.run.context import Context
from pipeline.run.events import Message, Starting
from pipeline.run.roles import Model
from pipeline.stage import AskingStage

if TYPE_CHECKING:
    from pipeline.teacher.vllm.command import Served
    from pipeline.teacher.vllm.engine import Engine
    from pipeline.teacher.vllm.metrics import Load

LOGS = "logs"
"""The folder of a run that holds what its servers said."""


class Engines:
    """The servers that a run starts; two roles that ask the same model share one."""

    def __init__(self, context: Context) -> None:
        """Nothing is started."""
        self._context = context
        self._found: dict[str, Engine] = {}

    def of(self, model: Model) -> Engine:
        """The server of a model, which starts when it is first wanted."""
        from pipeline.teacher.vllm.command import Served

        role = next(role for role, one in self._context.prepared.models.items() if one is model)
        served = Served(model.name, Path(model.uri.folder), model.vllm, role)
        return self.serving(served, _key(model))

    def serving(self, served: Served, key: str | None = None) -> Engine:
        """The server of what is served; one with a key is shared by those who give the same."""
        from pipeline.teacher.vllm import leftovers
        from pipeline.teacher.vllm.engine import Engine

        context, role = self._context, served.role
        key = f"{role} {served.folder}" if key is None else key
        if not self._found:
            marks = leftovers.marks(context.run, "")
            if ended := leftovers.end(leftovers.RUN, marks[leftovers.RUN]):
                said = counted(ended, "process", "processes")
                context.listener(
                    Message(f"{said} of a vLLM server that this run had left behind: ended.")
                )
        if key not in self._found:
            self._found[key] = Engine(
                served,
                context.run,
                context.run / LOGS / f"vllm-{role}.log",
                tell=lambda text: context.listener(Message(text)),
                show=lambda seconds, said, is_up: context.listener(
                    Starting(
                        f"vLLM ({role} {served.name})",
                        seconds,
                        said,
                        "done" if is_up else "running",
                    )
                ),
            )
        return self._found[key]

    def load_of(self, model: Model) -> Load | None:
        """How busy the server of a model says that it is, null where there is none."""
        engine = self._found.get(_key(model))
        return None if engine is None else engine.load

    async def end(self, engine: Engine) -> None:
        """End one that nobody asks any more."""
        self._found = {key: one for key, one in self._found.items() if one is not engine}
        await engine.close()

    async def release(self, done: int) -> None:
        """End those that no stage after the one at `done` asks: their memory is others' now."""
        prepared = self._context.prepared
        wanted = {
            _key(prepared.model_of(step))
            for step in prepared.steps[done + 1 :]
            if isinstance(step.stage, AskingStage)
        }
        idle = [self._found.pop(key) for key in self._found.keys() - wanted]
        await asyncio.gather(*(engine.close() for engine in idle))

    async def close(self) -> None:
        """End them all, at once."""
        await asyncio.gather(*(engine.close() for engine in self._found.values()))


def _key(model: Model) -> str:
    """What is equal for models that one server can serve."""
    return f"{model.uri.folder} {model.name} {model.vllm.model_dump_json()}"
