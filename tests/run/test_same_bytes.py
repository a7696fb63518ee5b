"""The same recipe and seed give the same files: any concurrency, hash seed, kill."""

import time
from pathlib import Path
from random import Random

import pytest

from tests.conftest import RunSynth, run_and_recount
from tests.run import books, processes
from tests.soaked import REASON, SOAK
from tests.teacher_server.process import Server, running_server

SMALL = ("bootstrap.target=60", "shard_rows=50")
OVER_HTTP = {  # by window: how many requests are open at once, and how many are needed
    64: ("bootstrap.target=60", "bootstrap.window=64", "shard_rows=50"),
    8: ("bootstrap.target=60", "bootstrap.window=8", "shard_rows=20"),
}
JITTER = {
    "latency": {"median_s": 0.02, "sigma": 0.8, "straggler_rate": 0.02},
    "content": {"items": 3},
}


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
def over_http(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By window, a run over HTTP that nothing disturbed."""
    folder = tmp_path_factory.mktemp("http")
    with running_server(folder / "history.jsonl", JITTER) as server:
        for window, settings in OVER_HTTP.items():
            teacher = f"openai:test-model@{server.url}"
            out = folder / f"window-{window}"
            run_and_recount(out, *settings, "teacher.concurrency=8", teacher=teacher)
    return {window: folder / f"window-{window}" for window in OVER_HTTP}


@pytest.mark.parametrize("concurrency", [1, 64])
def test_replies_in_any_order_give_the_same_files(
    run_synth: RunSynth,
    over_http: dict[int, Path],
    server: Server,
    tmp_path: Path,
    concurrency: int,
) -> None:
    quick, slow = {"median_s": 0.004, "sigma": 0.8}, {"median_s": 0.8, "sigma": 0.4}
    server.set_plan(JITTER | {"latency": quick if concurrency == 1 else slow})  # all are open once
    settings = (*OVER_HTTP[64], f"teacher.concurrency={concurrency}")
    run_synth(tmp_path / "run", *settings, teacher=f"openai:test-model@{server.url}")
    assert books.data_files(tmp_path / "run") == books.data_files(over_http[64])
    assert server.counts()["peak_in_flight"] == concurrency


def test_every_item_that_the_teacher_wrote_is_a_row(over_http: dict[int, Path]) -> None:
    state = books.stage_json(over_http[8], "bootstrap")
    assert state["candidates"] == 3 * state["next_slot"]


def test_drafts_are_shown_once_the_window_has_passed_and_never_before(
    over_http: dict[int, Path],
) -> None:
    for window, run in over_http.items():
        found = books.rows(run, "bootstrap") + books.rows(run, "bootstrap", "dropped")
        assert max(int(row["row_id"].split("-")[1]) for row in found) > 8
        for row in found:
            slot = int(row["row_id"].split("-")[1])
            drafts = [shown for shown in row["shown"] if shown.startswith("bootstrap-")]
            assert len(drafts) == (2 if slot >= window else 0)
            assert all(int(shown.split("-")[1]) <= slot - window for shown in drafts)


@pytest.mark.parametrize(
    ("window", "seed"),
    [(64, 1), pytest.param(8, 2, marks=pytest.mark.skipif(not SOAK, reason=REASON))],
)
def test_a_killed_run_asks_nothing_twice_that_its_journal_holds_and_ends_the_same(
    over_http: dict[int, Path], server: Server, tmp_path: Path, window: int, seed: int
) -> None:
    slow = JITTER["latency"] | {"median_s": 0.1}  # so that kills find requests in flight
    server.set_plan(JITTER | {"latency": slow})
    out, rng = tmp_path / "run", Random(seed)
    settings = (*OVER_HTTP[window], f"teacher.concurrency={window}")
    line = processes.command(out, settings, f"openai:test-model@{server.url}")
    kills = []
    aborted = 0
    n_in_flight = 0
    for least, most in ((3, 9), (3, 9), (5, 12), (20, 40)):  # replies before each kill
        wanted = len(books.replied(out)) + rng.randint(least, most)
        process = processes.start(line)
        is_there = processes.wait_until(
            lambda wanted=wanted: len(books.replied(out)) >= wanted, process
        )
        assert is_there, process.communicate()[1]
        processes.kill(process)
        time.sleep(0.3)  # the server sees the connections go
        now_aborted = server.counts().get("aborted", 0)
        n_in_flight += now_aborted > aborted
        aborted = now_aborted
        kills.append((server.history()[-1]["t"], set(books.replied(out))))
    assert n_in_flight >= 3, "most kills hit nothing in flight"
    assert len(kills[-1][1]) > 10
    assert processes.finish(line) == (0, "")
    books.check(out)
    assert books.data_files(out) == books.data_files(over_http[window])
    assert set(books.all_files(out)) == set(books.all_files(over_http[window]))

    sent = [event for event in server.history("request") if event["kind"] == "chat"]
    for at_death, settled in kills:
        later = [event["hash"][:24] for event in sent if event["t"] > at_death]
        assert not settled & set(later), "sent again, and the reply was in the journal"
    assert len(sent) <= books.slots_asked(out) + window * len(kills)
