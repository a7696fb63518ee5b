"""A power cut at any moment loses nothing that was published (row 5)."""

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.crash import campaign, planted, power_cut, published, syscalls
from tests.crash.planted import BUGS
from tests.crash.workload import Workload

MISSING = syscalls.missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

IS_SOAK = bool(os.environ.get("SYNTH_SOAK"))
STATES, RESUMED = (1000, 40) if IS_SOAK else (150, 3)
SMALL = Workload(target=20, shard_rows=20, concurrency=4)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, power_cut.Recording]:
    out = tmp_path_factory.mktemp("recorded") / "run"
    return out, power_cut.Recording(power_cut.trace(SMALL, out), out)


def test_the_recording_tells_how_every_file_came_to_be(
    recorded: tuple[Path, power_cut.Recording],
) -> None:
    out, recording = recorded
    there = {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert recording.whole() == there


def states(
    recording: power_cut.Recording, folder: Path, n: int, seed: str = "cuts"
) -> list[tuple[int, list[str]]]:
    """Call numbers of power cuts, and what each broke."""
    rng = Random(seed)
    found = []
    for number in range(n):
        cut = rng.randint(0, recording.n_calls)
        out = folder / f"state-{number}"
        power_cut.lay_out(recording.after(cut, rng), recording.run, out)
        found.append((cut, power_cut.violations(out)))
        shutil.rmtree(out)
    return found


def test_whatever_was_not_synced_is_lost_and_nothing_published_is(
    recorded: tuple[Path, power_cut.Recording], tmp_path: Path
) -> None:
    found = states(recorded[1], tmp_path, STATES)
    assert not [state for state in found if state[1]]
    assert len({cut for cut, _ in found}) >= STATES // 3


def test_the_same_command_goes_on_after_a_power_cut(
    recorded: tuple[Path, power_cut.Recording], tmp_path: Path
) -> None:
    clean, recording = recorded
    rng = Random("resumed")
    for number in range(RESUMED):
        cut = rng.randint(recording.n_calls // 4, recording.n_calls)
        out = tmp_path / f"state-{number}"
        power_cut.lay_out(recording.after(cut, rng), recording.run, out)
        settled = [r.key for r in published.journal(out) if r.kind == "reply"]
        said = out.with_suffix(".said")
        process = campaign.start(SMALL.command(out, None), SMALL, said)
        assert process.wait(campaign.LONGEST_RUN_S) == 0, f"cut {cut}: {said.read_text()[-500:]}"
        assert published.data_files(out) == published.data_files(clean), f"cut {cut}"
        keys = [r.key for r in published.journal(out) if r.kind == "reply"]
        assert keys[: len(settled)] == settled
        assert len(keys) == len(set(keys)), "a reply was bought twice"


def test_a_shard_that_was_not_synced_is_found(tmp_path: Path) -> None:
    [bug] = [bug for bug in BUGS if bug.name == "no fsync"]
    workload = Workload(target=20, shard_rows=20, concurrency=4, root=planted.plant(bug, tmp_path))
    out = tmp_path / "run"
    recording = power_cut.Recording(power_cut.trace(workload, out), out)
    assert any(problems for _, problems in states(recording, tmp_path, 60))
