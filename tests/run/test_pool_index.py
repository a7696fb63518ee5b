"""The index file beside a run: what it saves a resumed run, and that it decides nothing."""

from pathlib import Path

import pytest

from filters.novelty import NoveltyIndex
from pipeline import manifest, seed_tasks, store
from pipeline.manifest import StageManifest
from pipeline.run import pool_index
from pipeline.run.pool_index import PoolIndex
from pipeline.stages.bootstrap import Config
from pipeline.store import StageFolder
from pipeline.verify import verify
from tests.conftest import RunSynth

SEEDS = ["Name a river.", "Sort these numbers: 3 1 2"]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_index, "WORTH_KEEPING", 20)


def files(run: Path) -> list[Path]:
    return sorted((run / ".index").glob("*"))


def digest(run: Path) -> str:
    found = manifest.read(manifest.RunManifest, run / "run.json").digest
    assert found is not None
    return found


def opened(run: Path, seeds: list[str] = SEEDS, config: Config = Config()) -> PoolIndex:  # noqa: B008
    state = manifest.read(StageManifest, run / "stages/01-bootstrap/stage.json")
    return PoolIndex(StageFolder(run, state, 50), config, seeds)


def run_seeds(run: Path) -> list[str]:
    return [seed.instruction for seed in seed_tasks.load(str(run / "inputs/seeds.jsonl")).tasks]


def config_of(run: Path) -> Config:
    state = manifest.read(StageManifest, run / "stages/01-bootstrap/stage.json")
    return Config.model_validate(state.settings)


@pytest.fixture
def given(run_synth: RunSynth, tmp_path: Path, small_files: None) -> Path:
    run_synth(tmp_path / "run", "bootstrap.target=200", "shard_rows=40")
    return tmp_path / "run"


@pytest.mark.usefixtures("small_files")
def test_a_resumed_run_reads_the_file_and_ends_as_one_without(
    run_synth: RunSynth, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = files(given)
    assert len(opened(given, run_seeds(given), config_of(given)).restore([])) > 150  # readable
    (given / ".index/.new-half").write_bytes(b"what a killed process was writing")
    run_synth(given, "bootstrap.target=300", "shard_rows=40")
    (after,) = files(given)
    assert after != before  # the pool has grown by half
    assert not verify(given).findings

    monkeypatch.setattr(pool_index, "WORTH_KEEPING", 10**9)
    for target in (200, 300):
        run_synth(tmp_path / "plain", f"bootstrap.target={target}", "shard_rows=40")
    assert files(tmp_path / "plain") == []
    assert digest(given) == digest(tmp_path / "plain")


def test_the_file_holds_the_seed_tasks_and_the_published_rows(given: Path) -> None:
    state = manifest.read(StageManifest, given / "stages/01-bootstrap/stage.json")
    shards = store.shards(given / state.folder, state)
    texts = run_seeds(given) + [
        row["instruction"] for row in store.read_rows(shards, ("instruction",))
    ]
    (path,) = files(given)
    held = NoveltyIndex.load(path)
    assert 0.75 * len(texts) < len(held) <= len(texts)
    for entry, text in enumerate(texts[: len(held)]):
        found = held.nearest(text)
        assert found is not None
        assert (found.f, found.entry <= entry) == (1.0, True)
    restored = opened(given, run_seeds(given), config_of(given)).restore(texts)
    assert len(restored) == len(texts)
    last = restored.nearest(texts[-1])
    assert last is not None
    assert last.f == 1.0


@pytest.mark.parametrize("at", [0, 0.5, 0.99])
def test_a_damaged_file_is_removed_and_the_texts_are_read(given: Path, at: float) -> None:
    (path,) = files(given)
    whole = path.read_bytes()
    cut = int(at * len(whole))
    path.write_bytes(whole[:cut] + bytes([whole[cut] ^ 1]) * 3 + whole[cut + 3 :])
    restored = opened(given, run_seeds(given), config_of(given)).restore(["one", "two", "three"])
    assert len(restored) == 3
    assert files(given) == []


def test_a_file_of_other_seeds_settings_or_rows_is_not_taken(given: Path) -> None:
    (path,) = files(given)
    whole = path.read_bytes()
    seeds, config = run_seeds(given), config_of(given)
    others = [
        opened(given, SEEDS, config),
        opened(given, seeds, config.model_copy(update={"rule": "published"})),
        opened(given, seeds, config.model_copy(update={"threshold": 0.6})),
    ]
    state = manifest.read(StageManifest, given / "stages/01-bootstrap/stage.json")
    state.parts[0].kept.sha256 = "0" * 64
    others.append(PoolIndex(StageFolder(given, state, 50), config, seeds))
    for other in others:
        assert len(other.restore(["one", "two", "three"])) == 3
        assert files(given) == []
        path.write_bytes(whole)
    assert len(opened(given, seeds, config).restore([])) > 100


def test_a_run_goes_on_where_no_file_can_be_written(
    run_synth: RunSynth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run_synth(run, "bootstrap.target=30", "shard_rows=40")
    assert files(run) == []
    (run / ".index").write_text("in the way")
    monkeypatch.setattr(pool_index, "WORTH_KEEPING", 20)
    manifest = run_synth(run, "bootstrap.target=150", "shard_rows=40")
    assert (manifest.status, (run / ".index").read_text()) == ("finished", "in the way")


def test_a_small_run_writes_no_file(small_run: Path) -> None:
    assert not (small_run / ".index").exists()
