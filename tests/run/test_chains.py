"""Stages that hold a conversation about every row: the same rows whatever happens on the way."""

import dataclasses
import json
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import manifest, stages, store
from pipeline.errors import BudgetError
from pipeline.inspect import open_run
from pipeline.manifest import StageManifest
from pipeline.run.estimate import estimate
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from pipeline.stage import (
    NOT_ASKED,
    ChainStage,
    Conversation,
    Drop,
    Request,
    Row,
    Sampling,
    StageConfig,
)
from pipeline.verify import recount
from tests.conftest import run_and_recount
from tests.run import books, processes
from tests.teacher_server.process import Server

CLI = "from pipeline.cli import main; main()"
RECIPE = """
name: ponder
stages:
  - stage: bootstrap
    target: 40
    window: 8
  - stage: ponder
  - stage: count
"""
JITTER = {
    "latency": {"median_s": 0.01, "sigma": 1.0, "straggler_rate": 0.05},
    "content": {"items": 3},
}


class Config(StageConfig):
    """Settings of both stages."""

    sampling: Sampling = Sampling(temperature=1.0, max_tokens=50)


def ponder(row: Row, config: Config, rng: Random) -> Conversation:
    """Ask twice the same at once, then about a part of the row; some rows end earlier."""
    request = Request("classify", {"instruction": row["instruction"]})
    again = Request("classify", {"instruction": row["instruction"]})
    first, second = yield [request, again]
    if isinstance(first, Drop) or isinstance(second, Drop):
        return [one for one in (first, second) if isinstance(one, Drop)][:1]
    entries: list[Row | Drop] = [{"row_id": row["row_id"], "requests": []}]
    entries.append({"output": f"{first.text}|{second.text}", "requests": [request, again]})
    for _ in range(rng.randrange(3)):
        third = Request("classify", {"instruction": row["instruction"][:20]})
        (found,) = yield [third]
        if isinstance(found, Drop):
            return [*entries, Drop(found.reason, row={"requests": [third]})]
        place = len(entries) - 1
        entries.append({"output": found.text, "parent_id": place, "requests": [request, third]})
    return [*entries, Drop("too_plain", "last of its row", ref=1, row={"output": "x"})]


def count(row: Row, config: Config, rng: Random) -> Conversation:
    """One entry a row; rows that were kept as they are get no request."""
    if row["row_id"].startswith("bootstrap"):
        return [{"output": "none"}]
    (found,) = yield [Request("classify", {"instruction": row["output"]})]
    return [found if isinstance(found, Drop) else {"output": found.text}]


PONDER = ChainStage(
    name="ponder",
    version=1,
    config=Config,
    prompts=("classify",),
    work=ponder,
    reads=("row_id", "instruction"),
    writes=("row_id", "parent_id", "teacher", "output", "requests"),
    requests_a_row=lambda config: 3.0,
    rows_a_row=lambda config: 3.0,
    makes_rows=True,
)
COUNT = ChainStage(
    name="count",
    version=1,
    config=Config,
    prompts=lambda config: ("classify",),
    work=count,
    reads=("output",),
    writes=("output", "requests"),
    requests_a_row=lambda config: 1.0,
)


@pytest.fixture(autouse=True)
def chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more stages than the package has."""
    _with(monkeypatch, PONDER)


def _with(monkeypatch: pytest.MonkeyPatch, stage: ChainStage) -> None:
    more = (*stages.STAGES, stage, COUNT)
    for place in ("pipeline.recipe.STAGES", "pipeline.verify.stage.STAGES"):
        monkeypatch.setattr(place, more)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "ponder.yaml"
    path.write_text(RECIPE)
    return path


def _run(recipe: Path, out: Path, *settings: str, **options: Any) -> Path:
    run_and_recount(out, *settings, recipe=str(recipe), **options)
    return out


def _keys(run: Path) -> set[bytes]:
    """What the two stages asked, by key."""
    asked = (r for r in books.records(run) if r["kind"] == "intent" and r["stage"] != "bootstrap")
    return {record["key"] for record in asked}


def _sent(run: Path) -> list[bytes]:
    """The keys of all intents but those that are noted as never sent."""
    records = books.records(run)
    sent: list[bytes] = [record["key"] for record in records if record["kind"] == "intent"]
    for record in records:
        if record["kind"] == "failure" and json.loads(record["note"]).get("sent") is False:
            sent.remove(record["key"])
    return sent


def test_rows_name_their_parents_and_the_requests_that_made_them(
    recipe: Path, tmp_path: Path
) -> None:
    run = _run(recipe, tmp_path / "run")
    received = {row["row_id"]: row for row in books.rows(run, "bootstrap")}
    rows = books.rows(run, "ponder") + books.rows(run, "ponder", "dropped")
    by_id = {row["row_id"]: row for row in rows}
    n_deep = 0
    for row in rows:
        parts = row["row_id"].split("-")
        if parts[0] == "bootstrap":
            assert row == received[row["row_id"]] | {"output": None, "parent_id": None}
            continue
        about = list(received)[int(parts[1])]
        own = [one for one in row["requests"] if one["stage"] == "ponder"]
        assert row["teacher"] == "offline"
        if row.get("drop_reason") == "too_plain":
            assert row["drop_ref"] == f"ponder-{parts[1]}-00"
            continue
        assert len(own) == 2
        if parts[2] == "00":
            assert row["parent_id"] == about
        else:
            n_deep += 1
            assert row["parent_id"] == f"ponder-{parts[1]}-{int(parts[2]) - 1:02d}"
            first = by_id[f"ponder-{parts[1]}-00"]["requests"]
            assert own[0] in first
            assert own[1] not in first
    assert n_deep > 20
    assert recount(run).findings == []


def test_equal_requests_of_one_row_and_of_different_rows_are_different_samples(
    recipe: Path, tmp_path: Path
) -> None:
    run = _run(recipe, tmp_path / "run")
    keys = [r["key"] for r in books.records(run) if r["kind"] == "intent"]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_the_files_are_the_same_at_any_concurrency(
    recipe: Path, server: Server, tmp_path: Path, concurrency: int
) -> None:
    server.set_plan(JITTER)
    teacher = f"openai:test-model@{server.url}"
    plain = _run(recipe, tmp_path / "plain", "teacher.concurrency=8", teacher=teacher)
    other = _run(recipe, tmp_path / "other", f"teacher.concurrency={concurrency}", teacher=teacher)
    assert books.data_files(other) == books.data_files(plain)
    assert _keys(other) == _keys(plain)


def test_a_failure_in_a_stages_own_code_drops_the_row_and_the_run_goes_on(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(row: Row, config: Config, rng: Random) -> Conversation:
        entries = yield from ponder(row, config, rng)
        if row["row_id"] in bad:
            raise ValueError("this row is poison")
        return entries

    bad: set[str] = set()
    plain = _run(recipe, tmp_path / "plain")
    received = [row["row_id"] for row in books.rows(plain, "bootstrap")]
    bad |= {received[3], received[20]}
    _with(monkeypatch, dataclasses.replace(PONDER, work=poisoned))
    run = _run(recipe, tmp_path / "run")
    dropped = [
        row for row in books.rows(run, "ponder", "dropped") if row["drop_reason"] == "error_read"
    ]
    assert {row["parent_id"] for row in dropped} == bad
    assert all("ValueError" in row["drop_detail"] for row in dropped)
    others = [
        [row for row in books.rows(one, "ponder") if not _is_about(row, bad, received)]
        for one in (plain, run)
    ]
    assert others[0] == others[1]
    assert recount(run).findings == []


def _is_about(row: Row, ids: set[str], received: list[str]) -> bool:
    parts = row["row_id"].split("-")
    about = row["row_id"] if parts[0] == "bootstrap" else received[int(parts[1])]
    return about in ids


def test_a_budget_ends_the_conversations_and_a_higher_one_goes_on_with_them(
    recipe: Path, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    plain = _run(recipe, tmp_path / "plain", teacher=teacher)
    n = len(_keys(plain))
    out = tmp_path / "run"
    with pytest.raises(BudgetError):
        _run(recipe, out, "budget.requests=60", teacher=teacher)
    intents = [r for r in books.records(out) if r["kind"] == "intent"]
    unsent = [r for r in books.records(out) if not json.loads(r["note"]).get("sent", True)]
    assert len(intents) - len(unsent) == 60
    assert _keys(out) < _keys(plain)
    _run(recipe, out, "budget.requests=5000", teacher=teacher)
    sent = _sent(out)
    assert len(sent) == len(set(sent))
    assert len(_keys(out)) == n
    assert [r["row_id"] for r in books.rows(out, "count")] == [
        r["row_id"] for r in books.rows(plain, "count")
    ]


def test_a_replay_asks_nothing_and_says_of_every_row_that_lacks_a_reply(
    recipe: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def longer(row: Row, config: Config, rng: Random) -> Conversation:
        entries = yield from ponder(row, config, rng)
        (found,) = yield [Request("classify", {"instruction": row["instruction"][:9]})]
        if not isinstance(found, Drop):
            entries.append({"output": found.text})
        return entries  # it does not say that a reply was missing

    teacher = f"openai:test-model@{server.url}"
    run = _run(recipe, tmp_path / "run", teacher=teacher)
    before, sent = books.data_files(run), server.counts()["requests"]
    replay(run, lambda event: None)
    assert books.data_files(run) == before
    _with(monkeypatch, dataclasses.replace(PONDER, work=longer, version=2))
    state = replay(run, lambda event: None)
    assert server.counts()["requests"] == sent
    assert state.status == "stopped"
    n = open_run(run).stage("ponder").dropped_by_reason[NOT_ASKED]
    assert n == len(books.rows(run, "bootstrap"))
    assert recount(run).findings == []
    _run(recipe, run, teacher=teacher)
    assert NOT_ASKED not in open_run(run).stage("ponder").dropped_by_reason
    assert open_run(run).manifest.status == "finished"
    assert len({r["output"] for r in books.rows(run, "count")}) > 1


def test_rows_that_changed_before_a_stage_are_worked_on_anew(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(row: Row, config: Config, rng: Random) -> Conversation:
        entries = yield from ponder(row, config, rng)
        return entries[1:]  # without the row itself: every later row moves up

    run = _run(recipe, tmp_path / "run")
    _with(monkeypatch, dataclasses.replace(PONDER, work=other, version=2))
    replay(run, lambda event: None)
    assert recount(run).findings == []
    counted = [row["row_id"] for row in books.rows(run, "count")]
    assert counted == [row["row_id"] for row in books.rows(run, "ponder")]
    assert not [row_id for row_id in counted if row_id.startswith("bootstrap")]


def test_a_plan_counts_the_requests_of_a_conversation(
    recipe: Path, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    options = Options(str(recipe), out=str(tmp_path / "run"), teacher=teacher)
    found = {one.stage: one for one in estimate(prepare(options, {})).stages}
    assert found["ponder"].requests == 3 * 40
    assert found["ponder"].input_tokens > 0
    assert found["count"].requests == 3 * 40
    said = estimate(prepare(options, {})).assumptions
    assert "ponder: 3 requests about a row, and 3 rows of it" in said
    assert server.counts().get("requests", 0) == 0
    execute(prepare(options, {}), lambda event: None)
    again = {one.stage: one for one in estimate(prepare(options, {})).stages}
    assert again["ponder"].already_asked == len(
        [r for r in books.records(tmp_path / "run") if r["stage"] == "ponder" and r["raw"]]
    )


def test_a_signal_ends_conversations_in_good_order_and_keeps_what_came(
    server: Server, tmp_path: Path
) -> None:
    tasks = [f"Name {n} rivers and say where each of them ends." for n in range(40)]
    given = tmp_path / "tasks.jsonl"
    given.write_text("".join(json.dumps({"instruction": task}) + "\n" for task in tasks))

    def command(out: Path) -> list[str]:
        asked = ["--teacher", f"openai:test-model@{server.url}", "--set", "respond.samples=3"]
        asked += ["--set", "respond.steps=false"]  # the server writes no answer line
        line = ["run", "respond", "--input", str(given), "--out", str(out), *asked]
        return [sys.executable, "-c", CLI, *line, "--set", "teacher.concurrency=8"]

    server.set_plan({"latency": {"median_s": 0.05, "sigma": 0.5}})
    assert processes.finish(command(tmp_path / "plain"))[0] == 0
    before = server.counts()["replies"]
    process = processes.start(command(tmp_path / "run"))
    assert processes.wait_until(lambda: server.counts()["replies"] > before + 20, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "SIGTERM came" in said
    records = books.records(tmp_path / "run")
    kinds = [r["kind"] for r in records if json.loads(r["note"]).get("sent", True)]
    unsent = len(records) - len(kinds)
    assert kinds.count("intent") - unsent == kinds.count("reply"), "what was in flight came back"
    assert len(_keys(tmp_path / "run")) < len(_keys(tmp_path / "plain"))
    assert processes.finish(command(tmp_path / "run"))[0] == 0
    assert books.data_files(tmp_path / "run") == books.data_files(tmp_path / "plain")
    asked = [r["key"] for r in books.records(tmp_path / "run") if r["kind"] == "intent"]
    assert len(asked) - unsent == len(set(asked)), "only what had not been sent is asked again"


def test_verify_names_a_row_that_a_conversation_left_no_entry_of(
    recipe: Path, tmp_path: Path
) -> None:
    run = _run(recipe, tmp_path / "run")
    lost = books.rows(run, "bootstrap")[3]["row_id"]
    folder = run / "stages" / "02-ponder"
    state = manifest.read(StageManifest, folder / "stage.json")
    for half in ("kept", "dropped"):
        path = folder / half / "part-00000.parquet"
        table = pq.read_table(path)
        about = [
            one == lost or one.startswith("ponder-000003-") for one in table["row_id"].to_pylist()
        ]
        left = table.filter(pa.array([not one for one in about]))
        assert left.num_rows < table.num_rows
        entry = store.write_shard(left, path, run)
        part = state.parts[0]
        setattr(part, half, entry.model_copy(update={"path": f"{half}/{path.name}"}))
        part.candidates -= table.num_rows - left.num_rows
    state.parts[0].dropped_by_reason["too_plain"] -= 1
    manifest.replace(folder / "stage.json", state)
    findings = [one for one in recount(run).findings if "neither kept nor dropped" in one]
    where = "stages/02-ponder/kept/part-00000.parquet"
    assert findings == [f"{where}: 1 rows received are neither kept nor dropped, {lost} first"]
