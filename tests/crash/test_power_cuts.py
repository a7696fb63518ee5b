"""Whatever a power cut leaves of a run's writes, nothing published is invalid and it goes on."""

import dataclasses
import os
import shutil
from pathlib import Path
from random import Random

import pytest

from pipeline.run.prepare import Options, prepare
from pipeline.verify import recount
from tests.conftest import RunSynth
from tests.crash import published, syscalls, write_log
from tests.crash.workload import Workload
from tests.crash.write_log import WriteLog
from tests.run import books

MISSING = syscalls.missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SETTINGS = ("bootstrap.target=20", "shard_rows=10", "bootstrap.window=4", "teacher.concurrency=4")
SMALL = Workload(target=20, shard_rows=10, concurrency=4)
CUTS = 1000 if os.environ.get("SYNTH_SOAK") else 100
SHARES = (0.0, 0.3, 0.7, 1.0)  # of what no sync covers


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clean") / "run"


@pytest.fixture(scope="module")
def log(clean: Path) -> WriteLog:
    return write_log.record(SMALL, clean)


def cuts(log: WriteLog, n: int) -> list[int]:
    """Cut points all over the run, half of them right after a rename."""
    rng = Random(7)
    renames = [at + 1 for at, one in enumerate(log.operations) if one.kind == "rename"]
    anywhere = range(1, len(log.operations) + 1)
    chosen = rng.sample(renames, min(n // 2, len(renames)))
    return sorted(chosen + rng.sample(anywhere, min(n - len(chosen), len(anywhere))))


def problems(run: Path, clean: Path) -> list[str]:
    """What the product itself finds wrong with a directory, and files that are not the clean run's.

    The start of the same command looks at it, too, and refuses what it cannot go on with.
    """
    prepare(Options("self-instruct", out=str(run), settings=SETTINGS), {})
    if not (run / "run.json").exists():
        return []
    found = recount(run).findings
    for path in run.glob("stages/*/*/*.parquet"):
        listed = (path.parents[1] / "stage.json").read_text()
        if f'"{path.parent.name}/{path.name}"' in listed:
            name = path.relative_to(run)
            if books.digest(path) != books.digest(clean / name):
                found.append(f"{name} is listed and is not the clean run's")
    return found


def test_the_log_holds_the_whole_run(clean: Path, log: WriteLog, tmp_path: Path) -> None:
    log.state(len(log.operations), tmp_path / "run", Random(0), share=1.0)
    ours = {name for name in books.all_files(tmp_path / "run") if ".staging" not in name}
    assert ours == set(books.all_files(clean))
    for name in ours:
        assert (tmp_path / "run" / name).read_bytes() == (clean / name).read_bytes(), name
    unsynced = [one for one in log.operations if one.durable_at is None]
    assert unsynced, "everything was durable at once: nothing to lose"
    assert len(log.operations) > 300


def test_what_is_left_after_a_power_cut_is_whole_and_no_settled_record_is_lost(
    clean: Path, log: WriteLog, tmp_path: Path
) -> None:
    settled = 0
    states = published_states = 0
    for number, cut in enumerate(cuts(log, CUTS)):
        where = f"cut {cut} of {len(log.operations)}"
        least, some = tmp_path / "least", tmp_path / "some"
        log.state(cut, least, Random(cut), share=0.0)
        log.state(cut, some, Random(cut), share=SHARES[number % len(SHARES)])
        for run in (least, some):
            assert problems(run, clean) == [], f"{where}, {run.name}"
            states += 1
            published_states += any(run.glob("stages/*/kept/*.parquet"))
        promised, held = published.journal(least), published.journal(some)
        assert all(record.is_sound for record in held), where
        assert held[: len(promised)] == promised, where
        assert len(promised) >= settled, f"{where}: a record that was durable is gone"
        settled = len(promised)
    assert states >= 2 * CUTS - 2
    assert published_states > states / 4
    assert settled > 40


def test_the_same_command_ends_with_the_same_files_after_a_power_cut(
    clean: Path, log: WriteLog, run_synth: RunSynth, tmp_path: Path
) -> None:
    for number, cut in enumerate(cuts(log, 6)):
        out = tmp_path / f"run-{cut}"
        log.state(cut, out, Random(cut), share=SHARES[number % len(SHARES)])
        before = published.journal(out)
        run_synth(out, *SETTINGS)
        assert books.data_files(out) == books.data_files(clean), cut
        assert published.journal(out)[: len(before)] == before


@pytest.mark.parametrize("forgotten", [".staging/", "journal.sqlite-wal"])
def test_a_sync_that_was_forgotten_is_found(
    clean: Path, log: WriteLog, tmp_path: Path, forgotten: str
) -> None:
    """The test of the test: without the syncs of these files some state is bad."""
    unsynced = WriteLog(log.root)
    for one in log.operations:
        is_forgotten = one.is_of_bytes and forgotten in one.path
        unsynced.operations.append(
            dataclasses.replace(one, durable_at=None if is_forgotten else one.durable_at)
        )
    found = []
    for cut in cuts(log, 30):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        unsynced.state(cut, tmp_path / "run", Random(cut), share=0.0)
        found += problems(tmp_path / "run", clean)
    assert found
