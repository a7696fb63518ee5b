"""Stages that hold a conversation about every row: the same rows whatever happens on the way."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline import stages
from pipeline.stage import (
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
from tests.run import books
from tests.teacher_server.process import Server

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
