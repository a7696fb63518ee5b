"""How busy a vLLM server is, by its own `/metrics`, a page in Prometheus' text format."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

LINE = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|generation_tokens_total)(?:\{[^}]*\})? "
    r"([0-9.e+-]+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests a server works at and has waiting, and the tokens a second it writes."""

    running: int
    waiting: int
    tokens_per_s: float


class Meter:
    """Reads pages of one server, one after the other."""

    def __init__(self) -> None:
        """Nothing was read."""
        self._before: tuple[float, float] | None = None

    def read(self, page: str, now: float | None = None) -> Load | None:
        r"""The load that a page tells, its tokens a second since the page before; null if none.

        Several engines of one server are summed up. `now` is in seconds.

        >>> meter = Meter()
        >>> page = "vllm:num_requests_running 3\nvllm:num_requests_waiting 1\n"
        >>> meter.read(page + "vllm:generation_tokens_total 100", now=1).tokens_per_s
        0.0
        >>> meter.read(page + "vllm:generation_tokens_total 150", now=3)
        Load(running=3, waiting=1, tokens_per_s=25.0)
        """
        now = time.monotonic() if now is None else now
        sums: dict[str, float] = {}
        for name, value in LINE.findall(page):
            sums[name] = sums.get(name, 0.0) + float(value)
        if "num_requests_running" not in sums or "num_requests_waiting" not in sums:
            return None
        written = sums.get("generation_tokens_total", 0.0)
        began, had = self._before or (now, written)
        self._before = (now, written)
        rate = (written - had) / (now - began) if now > began and written >= had else 0.0
        return Load(
            int(sums["num_requests_running"]), int(sums["num_requests_waiting"]), round(rate, 1)
        )
