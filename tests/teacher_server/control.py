"""The control port: read the counters, change the plan, move the limiter, take the port away.

GET /counts, PUT /plan, POST /advance {"s": ..}, /scale {"factor": ..}, /swap {"seed": .., "models":
[..]}, /refuse {"for_s": ..}, /accept, /drop, /flush. Each answers with the counters, as JSON.
"""

import json
from collections.abc import Callable
from typing import Any

from .plan import PlanError, parse_plan
from .protocol import Connection
from .replies import Reply, error, to_json
from .teacher import Teacher


class Control:
    """Commands for one teacher."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self.close_listener: Callable[..., None] | None = None  # set by whoever owns the listeners
        self.open_listener: Callable[[], None] | None = None

    def opened(self, wire: Connection) -> None:
        """Nothing: control connections are not in the history."""

    def closed(self, wire: Connection) -> None:
        """Nothing."""

    def wrote_first(self, wire: Connection) -> None:
        """Nothing."""

    def wrote_all(self, wire: Connection, status: int) -> None:
        """Nothing."""

    def cut(self, wire: Connection) -> None:
        """Nothing."""

    def refuse(self, for_s: float | None) -> None:
        """Nothing: the control port stays."""

    def take(
        self, wire: Connection, method: str, target: str, headers: dict[bytes, bytes], body: bytes
    ) -> None:
        """Run one command."""
        try:
            given = json.loads(body) if body else {}
            self._run(target.strip("/").removeprefix("_control/"), given)
        except (PlanError, KeyError, TypeError, ValueError) as problem:
            wire.respond(error(400, f"{type(problem).__name__}: {problem}"))
            return
        self._teacher.history.flush()
        headers_out = {"Content-Type": "application/json"}
        wire.respond(Reply(headers=headers_out, body=to_json(self._teacher.counts())))

    def _run(self, command: str, given: Any) -> None:
        teacher = self._teacher
        match command:
            case "counts" | "flush":
                return
            case "plan":
                teacher.plan = parse_plan(given)
            case "advance" if teacher.plan.limiter is not None:
                teacher.plan.limiter.advance(float(given["s"]))
            case "scale" if teacher.plan.limiter is not None:
                teacher.plan.limiter.scale = float(given["factor"])
            case "swap":
                teacher.seed = int(given.get("seed", teacher.seed))
                teacher.plan.models = list(given.get("models", teacher.plan.models))
            case "refuse" if self.close_listener is not None:
                self.close_listener(given.get("for_s"), given.get("drop", True))
            case "accept" if self.open_listener is not None:
                self.open_listener()
            case "drop":
                for wire in list(teacher.connections):
                    wire.cut(reset=True)
            case _:
                raise ValueError(f"cannot do {command!r} now")
        if command != "plan":
            teacher.history.event("control", command=command, given=given)
        else:
            teacher.history.event("plan", plan=given)
