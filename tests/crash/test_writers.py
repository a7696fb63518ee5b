"""One writer a run (rows 7, 39, 40): who comes at once, from elsewhere, or out of a long sleep."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash import campaign, hosts, planted, published
from tests.crash.workload import ROOT, Workload
from tests.soaked import soaked
from tests.teacher_server.process import Server, running_server

WORKLOAD = Workload(target=15, concurrency=8, shard_rows=10, median_s=0.05)
HAS_HOSTS = pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))


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


def chat(server: Server) -> int:
    return server.counts().get("requests_chat", 0)


def wait_for_requests(server: Server, n: int, process: campaign.Process) -> None:
    deadline = time.monotonic() + campaign.LONGEST_RUN_S
    while chat(server) < n:
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("n", [soaked(2), 8])
def test_of_several_starts_at_once_one_works_and_the_others_ask_nothing(
    server: Server, clean: dict[str, str], tmp_path: Path, n: int
) -> None:
    slow = replace(WORKLOAD, median_s=0.5)  # whoever wins is at work when the last one comes
    server.set_plan(slow.plan())
    line = WORKLOAD.command(tmp_path / "run", server.url)
    said = [tmp_path / f"said-{number}" for number in range(n)]
    processes = [campaign.start(line, WORKLOAD, path) for path in said]
    codes = [process.wait(campaign.LONGEST_RUN_S) for process in processes]
    assert sorted(codes) == [0, *[8] * (n - 1)]
    winner = processes[codes.index(0)].pid
    for code, path in zip(codes, said, strict=True):
        text = path.read_text()
        assert code == 0 or f"process {winner} on" in text or "being taken" in text, text
    assert server.counts()["requests_models"] == 1, "a loser asked"
    replies = [r for r in published.journal(tmp_path / "run") if r.kind == "reply"]
    assert chat(server) == len(replies), "a loser asked"
    assert published.data_files(tmp_path / "run") == clean


@HAS_HOSTS
def test_another_host_is_refused_until_the_lease_of_a_killed_run_is_over(
    server: Server, clean: dict[str, str], tmp_path: Path
) -> None:
    out, said = tmp_path / "run", tmp_path / "said"
    line = WORKLOAD.command(out, server.url)
    first = campaign.start(hosts.on("node-a", line), WORKLOAD, said)
    wait_for_requests(server, 10, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert published.holder(out) == "node-a"
    time.sleep(0.3)  # what was on its way is at the server
    seen = len(server.history("request"))
    for host in ("node-b", hosts.HERE):
        second = campaign.start(hosts.on(host, line), WORKLOAD, said)
        assert second.wait(campaign.LONGEST_RUN_S) == 8
        assert f"process {first.pid} on node-a, last seen" in said.read_text()
    assert len(server.history("request")) == seen, "who is refused asks nothing"
    then = time.time() - 61  # a minute later
    os.utime(out / "lock", (then, then))
    third = campaign.start(hosts.on("node-b", line), WORKLOAD, said)
    assert third.wait(campaign.LONGEST_RUN_S) == 0, said.read_text()[-500:]
    assert published.data_files(out) == clean


@HAS_HOSTS
def test_the_same_host_takes_a_killed_run_over_at_once(
    server: Server, clean: dict[str, str], tmp_path: Path
) -> None:
    out, said = tmp_path / "run", tmp_path / "said"
    line = hosts.on("node-a", WORKLOAD.command(out, server.url))
    first = campaign.start(line, WORKLOAD, said)
    wait_for_requests(server, 10, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert published.holder(out) == "node-a"
    assert campaign.start(line, WORKLOAD, said).wait(campaign.LONGEST_RUN_S) == 0
    assert published.data_files(out) == clean


def test_who_sleeps_longer_than_its_lease_and_is_alone_goes_on(
    server: Server, clean: dict[str, str], tmp_path: Path
) -> None:
    workload = replace(WORKLOAD, lease_s=0.5)
    out, said = tmp_path / "run", tmp_path / "said"
    process = campaign.start(workload.command(out, server.url), workload, said)
    wait_for_requests(server, 20, process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    had = chat(server)
    assert process.poll() is None
    process.send_signal(signal.SIGCONT)
    assert process.wait(campaign.LONGEST_RUN_S) == 0, said.read_text()[-500:]
    assert chat(server) > had, "it had ended before it slept"
    replies = [r for r in published.journal(out) if r.kind == "reply"]
    assert chat(server) == len(replies), "what had come while it slept was asked again"
    assert published.data_files(out) == clean


def test_who_wakes_up_after_another_took_over_writes_nothing_more(tmp_path: Path) -> None:
    assert not planted.zombie(ROOT, tmp_path)
