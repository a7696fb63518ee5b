"""A clock that is wrong or jumps while a run works (row 42): the same bytes, no lease stolen."""

import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crash import campaign, published
from tests.crash.workload import Workload
from tests.soaked import soaked
from tests.teacher_server.process import Server, running_server

pytestmark = pytest.mark.skipif(
    shutil.which("faketime") is None, reason="faketime is not installed"
)
WORKLOAD = Workload(target=15, concurrency=8, shard_rows=10, median_s=0.05)
BEFORE_2038 = "@2038-01-19 03:14:00"  # seven seconds before 32 bits of seconds are used up


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("clean")
    with running_server(folder / "server.jsonl") as server:
        return campaign.unkilled(WORKLOAD, server, folder / "run").files


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "server.jsonl") as server:
        server.set_plan(WORKLOAD.plan())
        yield server


def under_a_clock(line: list[str], folder: Path, said: Path) -> campaign.Process:
    """Start a command whose wall clock is what the file `clock` of a folder says at any moment."""
    variables = {
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKE_UTIME": "1",  # or files that are touched get times that are off from all others
        "TZ": "UTC",
    }
    # faketime itself would set a clock of its own; what it preloads reads the file
    preload = ["sh", "-c", 'unset FAKETIME; exec "$@"', "sh", *line]
    return campaign.start(["faketime", "-f", "+0", *preload], WORKLOAD, said, **variables)


def set_clock(folder: Path, says: str) -> None:
    (folder / "clock.new").write_text(f"{says}\n", encoding="ascii")
    (folder / "clock.new").replace(folder / "clock")


def wait_for_replies(server: Server, n: int, process: campaign.Process, said: Path) -> None:
    deadline = time.monotonic() + campaign.LONGEST_RUN_S
    while server.counts().get("replies", 0) < n:
        assert process.poll() is None, said.read_text()[-500:]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def years_seen(out: Path) -> set[int]:
    """The years that the run's own log tells of."""
    text = (out / "log.jsonl").read_text()
    now = datetime.now(UTC).year
    return {year for year in range(now - 15, now + 30) if f'"{year}-' in text}


@pytest.mark.parametrize(
    "jumps",
    [("+1h", "-1h"), soaked(("+10y", "-10y")), (BEFORE_2038, BEFORE_2038)],
    ids="+".join,
)
def test_a_clock_that_jumps_while_the_run_works_changes_no_byte(
    server: Server, clean: dict[str, str], tmp_path: Path, jumps: tuple[str, str]
) -> None:
    out, said = tmp_path / "run", tmp_path / "said"
    set_clock(tmp_path, jumps[0])
    process = under_a_clock(WORKLOAD.command(out, server.url), tmp_path, said)
    wait_for_replies(server, 8, process, said)
    set_clock(tmp_path, jumps[1])
    assert process.wait(campaign.LONGEST_RUN_S) == 0, said.read_text()[-500:]
    assert published.data_files(out) == clean
    if jumps[0] != "+1h":
        assert datetime.now(UTC).year not in years_seen(out), "the clock was right"


@pytest.mark.parametrize("says", ["+1h", soaked("-10y")])
def test_a_second_start_with_another_clock_takes_nothing_over(
    server: Server, clean: dict[str, str], tmp_path: Path, says: str
) -> None:
    out, said = tmp_path / "run", tmp_path / "said"
    line = WORKLOAD.command(out, server.url)
    first = campaign.start(line, WORKLOAD, said)
    wait_for_replies(server, 4, first, said)
    first.send_signal(signal.SIGSTOP)  # it is there, and does not renew its lease
    set_clock(tmp_path, says)
    second = under_a_clock(line, tmp_path, tmp_path / "second")
    assert second.wait(campaign.LONGEST_RUN_S) == 8, (tmp_path / "second").read_text()[-500:]
    first.send_signal(signal.SIGCONT)
    assert first.wait(campaign.LONGEST_RUN_S) == 0, said.read_text()[-500:]
    assert server.counts()["requests_models"] == 1
    assert published.data_files(out) == clean
