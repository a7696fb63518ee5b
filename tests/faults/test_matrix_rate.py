"""Row 13: the pace finds what a limited server can bear, on a real socket.

The full figures (a minute of warm-up, 90 % and 2 %, halved and doubled) are held on a clock that
runs ahead in tests/teacher/test_pace.py. Here 12 s of them are seen over HTTP; with SYNTH_SOAK set
six minutes, a minute of each limit after a minute of getting used to it.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import matrix
from tests.teacher_server.process import Server

LIMIT = 25.0  # requests a second
SETTINGS = ("bootstrap.window=64", "teacher.concurrency=32", "teacher.outage_limit_s=60")


def share(server: Server, start: float, end: float, rate: float) -> tuple[float, float]:
    """Of what could pass from `start` to `end` (seconds), what did; and the share of refusals."""
    status = {e["req"]: e["status"] for e in server.history("reply")}
    asked = [(e["t"] / 1e9, e["req"]) for e in server.history("request") if e["nth"]]
    began = asked[0][0]
    seen = Counter(status.get(req) for at, req in asked if start <= at - began < end)
    return seen[200] / (rate * (end - start)), seen[429] / max(seen[200] + seen[429], 1)


def ask_for(server: Server, out: Path, target: int, **limiter: object) -> matrix.Ran:
    """Draft tasks from a server that lets `LIMIT` requests a second in."""
    plan = {"content": {"items": 1}, "latency": 0.05}
    server.set_plan(plan | {"limiter": {"rps": LIMIT, **limiter}})
    settings = (f"bootstrap.target={target}", *SETTINGS)
    return matrix.run(server, out, *settings, until="bootstrap", deadline_s=600)


def test_a_limited_server_is_used_and_hardly_asked_too_often(
    server: Server, tmp_path: Path
) -> None:
    """Loose, for 5 s after 6 s of warm-up: 75 % of the limit, which a busy machine may cost."""
    ran = ask_for(server, tmp_path / "run", 290)
    assert ran.code == 0
    assert ran.faults["limiter"] > 0
    passed, refused = share(server, 6, 11, LIMIT)
    assert passed >= 0.75
    assert refused <= 0.02
    matrix.check_interval(ran, exact=True)


@pytest.mark.skipif("SYNTH_SOAK" not in os.environ, reason="six minutes; set SYNTH_SOAK")
def test_a_limit_that_is_halved_and_doubled_is_found_again(server: Server, tmp_path: Path) -> None:
    schedule = [[0, 1], [120, 0.5], [240, 1]]
    ran = ask_for(server, tmp_path / "run", 6900, schedule=schedule)
    assert ran.code == 0
    for start, end, rate in ((60, 120, LIMIT), (180, 240, LIMIT / 2), (300, 355, LIMIT)):
        passed, refused = share(server, start, end, rate)
        matrix.say(f"from {start} s: {passed:.3f} of the limit, {refused:.4f} refused")
        assert passed >= 0.9, (start, passed)
        assert refused <= 0.02, (start, refused)
