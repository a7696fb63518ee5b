"""Die at the n-th system call of every kind; write files in the order that a power cut needs."""

import os
from pathlib import Path
from random import Random

import pytest

from tests.conftest import RunSynth
from tests.crash import published, syscalls
from tests.crash.workload import Workload
from tests.run import books
from tests.teacher_server.process import running_server

MISSING = syscalls.missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SMALL = Workload(target=20, shard_rows=20, concurrency=4)
SETTINGS = ("bootstrap.target=20", "shard_rows=20", "bootstrap.window=4", "teacher.concurrency=4")
EACH = int(os.environ.get("SYNTH_SWEEP", "2"))  # calls of each kind at which the process dies
SEED = 0


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[syscalls.Call]]:
    out = tmp_path_factory.mktemp("traced") / "run"
    return out, syscalls.trace(SMALL, out)


@pytest.mark.parametrize("call", syscalls.CALLS)
def test_a_run_that_dies_as_it_enters_a_call_ends_the_same(
    call: str, traced: tuple[Path, list[syscalls.Call]], run_synth: RunSynth, tmp_path: Path
) -> None:
    clean, calls = traced
    there = syscalls.counts(calls)[call]
    assert there, f"a run never calls {call}"
    wanted = sorted(Random(f"{SEED}:{call}").sample(range(1, there + 1), min(EACH, there)))
    n_died = 0
    for nth in wanted:
        out = tmp_path / f"run-{nth}"
        code = syscalls.die_at(call, nth, SMALL, out)
        n_died += code in syscalls.KILLED
        again = f"tests.crash.syscalls.die_at({call!r}, {nth}, {SMALL}, Path({str(out)!r}))"
        assert code in (0, *syscalls.KILLED), again
        for name, digest in published.data_files(out).items():
            assert published.data_files(clean)[name] == digest, again
        before = published.journal(out)
        run_synth(out, *SETTINGS)
        assert books.data_files(out) == books.data_files(clean), again
        after = published.journal(out)
        assert after[: len(before)] == before, again
    # threads count for themselves: the last numbers of a call may not come up in any one of them
    assert n_died >= 1, f"no run died at {call} {wanted}"


def test_files_are_written_elsewhere_synced_read_back_renamed_and_only_then_listed(
    traced: tuple[Path, list[syscalls.Call]],
) -> None:
    out, calls = traced
    assert not syscalls.order_violations(calls, out)
    renamed = {call.paths[-1] for call in calls if call.name.startswith("rename")}
    files = {str(out / name) for name in books.data_files(out)}
    assert files <= renamed, "a file came to be without a rename"


def test_no_request_leaves_before_the_journal_is_durable(tmp_path: Path) -> None:
    workload = Workload(target=4, shard_rows=20, concurrency=1, median_s=0.0)
    with running_server(tmp_path / "server.jsonl") as server:
        calls = syscalls.trace(workload, tmp_path / "run", server.url, ",sendto,sendmsg")
        n_requests = server.counts()["requests_chat"]
    assert not syscalls.sends_before_the_journal_is_durable(calls)
    assert sum('"POST /v1' in call.given for call in calls) == n_requests
    assert not syscalls.order_violations(calls, tmp_path / "run")
