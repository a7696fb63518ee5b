"""The process dies at each named place, and the same command then ends with the same files."""

import re
import signal
from pathlib import Path

import pytest

from pipeline import crashpoint
from tests.conftest import RunSynth
from tests.crash import published
from tests.run import books, processes

SETTINGS = ("bootstrap.target=20", "shard_rows=15", "bootstrap.window=4")
LATER = {"before_commit": 5, "after_commit": 6, "file_written": 9, "file_renamed": 12}
OF_RUNS = [name for name in crashpoint.NAMES if not name.startswith("purge_")]
PLACES = [*(f"{name}:{LATER.get(name, 1)}" for name in OF_RUNS), "file_renamed:16"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean") / "run"
    assert processes.finish(processes.command(out, SETTINGS)) == (0, "")
    return out


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_dies_there_loses_nothing(
    place: str, clean: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, said = processes.finish(processes.command(out, SETTINGS), SYNTH_CRASH_AT=place)
    assert code == -signal.SIGKILL, f"{place} was not hit: {code} {said}"
    settled = [record for record in published.journal(out) if record.kind == "reply"]
    assert all(record.is_sound for record in settled)
    for path, digest in published.data_files(out).items():
        assert published.data_files(clean)[path] == digest
    run_synth(out, *SETTINGS)
    assert books.data_files(out) == books.data_files(clean)
    again = [record for record in published.journal(out) if record.kind == "reply"]
    assert again[: len(settled)] == settled
    assert len({record.key for record in again}) == len(again), "a reply was bought twice"


def test_every_place_stands_in_the_product_once() -> None:
    root = Path(crashpoint.__file__).parent
    texts = [path.read_text() for path in root.rglob("*.py") if path.name != "crashpoint.py"]
    found = [name for text in texts for name in re.findall(r"crashpoint\(\"(\w+)\"\)", text)]
    assert sorted(found) == sorted(crashpoint.NAMES)


def test_without_the_variable_a_place_does_nothing() -> None:
    assert crashpoint.crashpoint.__code__.co_names == ()
    assert not crashpoint.crashpoint("sealed")


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    line = processes.command(tmp_path / "run", SETTINGS)
    code, said = processes.finish(line, SYNTH_CRASH_AT="nowhere")
    assert code != 0
    assert "no such place" in said
