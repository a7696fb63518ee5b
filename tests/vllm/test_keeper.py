"""What stands between a run and its server ends all that the server has started."""

import os
import secrets
import signal
import subprocess
import sys
import time

import pytest

from pipeline.teacher.vllm import keeper, leftovers

MANY = "for n in $(seq 60); do sleep 600 & done; exit 3"
"""A server that ends by itself, and leaves others behind."""


def kept(script: str, mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", keeper.__file__, str(os.getpid()), "sh", "-c", script],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {leftovers.SERVER: mark},
    )


def test_what_a_server_that_ended_has_left_is_ended_and_its_exit_code_handed_on() -> None:
    mark = secrets.token_hex(16)
    with kept(MANY, mark) as process:
        assert process.wait(30) == 3
    assert list(leftovers.of(leftovers.SERVER, mark)) == []


@pytest.mark.parametrize("delay_ms", range(0, 24, 2))
def test_nothing_is_left_where_a_server_is_unwanted_just_as_it_ends(delay_ms: int) -> None:
    mark = secrets.token_hex(16)
    process = kept(f"sleep 0.2; {MANY}", mark)
    while not any(process.pid != one for one in leftovers.of(leftovers.SERVER, mark)):
        time.sleep(0.01)
    while process.poll() is None and len(list(leftovers.of(leftovers.SERVER, mark))) < 50:
        time.sleep(0.001)
    time.sleep(delay_ms / 1000)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    left = list(leftovers.of(leftovers.SERVER, mark))
    leftovers.end(leftovers.SERVER, mark)
    assert left == [], said
    assert said == b""
