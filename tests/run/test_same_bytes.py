"""The same recipe and seed give the same files: any concurrency, hash seed, kill."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import RunSynth
from tests.run import books, processes
from tests.teacher_server.process import Server, running_server

SMALL = ("bootstrap.target=60", "shard_rows=50")
OVER_HTTP = ("bootstrap.target=60", "bootstrap.window=64", "shard_rows=50")
JITTER = {"latency": {"median_s": 0.02, "sigma": 0.8, "straggler_rate": 0.02}}


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_the_offline_teachers_files_are_the_same_at_any_concurrency(
    run_synth: RunSynth, small_run: Path, tmp_path: Path, concurrency: int
) -> None:
    run_synth(tmp_path / "run", *SMALL, f"teacher.concurrency={concurrency}")
    assert books.data_files(tmp_path / "run") == books.data_files(small_run)


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_the_files_are_the_same_for_any_hash_seed(
    small_run: Path, tmp_path: Path, hash_seed: str
) -> None:
    line = processes.command(tmp_path / "run", SMALL)
    assert processes.finish(line, PYTHONHASHSEED=hash_seed) == (0, "")
    books.check(tmp_path / "run")
    assert books.data_files(tmp_path / "run") == books.data_files(small_run)


def test_another_seed_gives_other_files(
    run_synth: RunSynth, small_run: Path, tmp_path: Path
) -> None:
    run_synth(tmp_path / "run", *SMALL, "seed=43")
    ours, theirs = books.rows(tmp_path / "run", "dedup"), books.rows(small_run, "dedup")
    assert not {row["instruction"] for row in ours} & {row["instruction"] for row in theirs}


def test_an_offline_run_that_was_killed_four_times_ends_with_the_same_files(
    small_run: Path, tmp_path: Path
) -> None:
    out, rng = tmp_path / "run", Random(20)
    line = processes.command(out, SMALL)
    stages = ["01-bootstrap", "02-classify", "03-instances", "04-filter"]
    for stage in stages:
        process = processes.start(line)
        processes.wait_until((out / "stages" / stage / "stage.json").exists, process)
        time.sleep(rng.uniform(0, 0.15))
        processes.kill(process)
    assert processes.finish(line) == (0, "")
    books.check(out)
    assert books.data_files(out) == books.data_files(small_run)
    assert set(books.all_files(out)) == set(books.all_files(small_run)), "something was left behind"


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory, run_synth_once: RunSynth) -> Iterator[Path]:
    """A run over HTTP that nothing disturbed, at a concurrency of 8."""
    folder = tmp_path_factory.mktemp("http")
    with running_server(folder / "history.jsonl", JITTER) as server:
        run_synth_once(
            folder / "run",
            *OVER_HTTP,
            "teacher.concurrency=8",
            teacher=f"openai:test-model@{server.url}",
        )
    yield folder / "run"


@pytest.fixture(scope="module")
def run_synth_once() -> RunSynth:
    from tests.conftest import run_and_recount

    return run_and_recount


@pytest.mark.parametrize("concurrency", [1, 64])
def test_replies_in_any_order_give_the_same_files(
    run_synth: RunSynth, over_http: Path, server: Server, tmp_path: Path, concurrency: int
) -> None:
    quick = {"latency": {"median_s": 0.004, "sigma": 0.8}}
    server.set_plan(quick if concurrency == 1 else JITTER)
    teacher = f"openai:test-model@{server.url}"
    run_synth(tmp_path / "run", *OVER_HTTP, f"teacher.concurrency={concurrency}", teacher=teacher)
    assert books.data_files(tmp_path / "run") == books.data_files(over_http)
    assert server.counts()["peak_in_flight"] == concurrency


@pytest.mark.parametrize(("concurrency", "seed"), [(64, 1), (8, 2)])
def test_a_killed_run_asks_nothing_twice_that_its_journal_holds_and_ends_the_same(
    over_http: Path, server: Server, tmp_path: Path, concurrency: int, seed: int
) -> None:
    server.set_plan(JITTER)
    out, rng = tmp_path / "run", Random(seed)
    settings = (*OVER_HTTP, f"teacher.concurrency={concurrency}")
    line = processes.command(out, settings, f"openai:test-model@{server.url}")
    kills = []
    for least, most in ((5, 50), (5, 20), (20, 40), (20, 40)):  # requests of each launch
        before = server.counts().get("requests_chat", 0)
        wanted = before + rng.randint(least, most)
        process = processes.start(line)
        is_there = processes.wait_until(
            lambda wanted=wanted: server.counts().get("requests_chat", 0) >= wanted, process
        )
        assert is_there, process.communicate()[1]
        processes.kill(process)
        time.sleep(0.3)  # the server sees the connections go
        at_death = server.history()[-1]["t"]
        kills.append((at_death, set(books.replied(out)), server.counts()["aborted"]))
    assert processes.finish(line) == (0, "")
    books.check(out)
    assert books.data_files(out) == books.data_files(over_http)
    assert set(books.all_files(out)) == set(books.all_files(over_http))

    sent = [event for event in server.history("request") if event["kind"] == "chat"]
    for at_death, settled, _ in kills:
        again = [event for event in sent if event["t"] > at_death and event["hash"][:24] in settled]
        assert not again, f"{len(again)} requests whose replies were in the journal were sent again"
    in_flight = [
        now - before for (_, _, before), (_, _, now) in zip(kills, kills[1:], strict=False)
    ]
    assert sum(n > 0 for n in [kills[0][2], *in_flight]) >= 3, "most kills hit nothing in flight"
    assert len(sent) <= books.slots_asked(out) + concurrency * len(kills)
