"""Vectors of a server, and rows dropped by them: import, embed, semantic."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.errors import InterruptedRunError, RecipeError
from pipeline.inspect import open_run
from pipeline.run.estimate import estimate
from pipeline.run.prepare import Options, prepare
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books
from tests.teacher_server.process import Server

RECIPE = """\
name: vectors
stages:
  - stage: import
  - stage: embed
  - stage: semantic
"""
TEXTS = [
    *(f"Explain what number {n} is the {n * n}th digit of, and why." for n in range(10)),
    "Explain what Number 4 is the 16th digit of -- and why!",  # two words of fourteen
    "explain WHAT number 7 is the 49th digit of, and why",
]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """The recipe and its rows, for `run_synth`."""
    (tmp_path / "vectors.yaml").write_text(RECIPE)
    pl.DataFrame({"instruction": TEXTS, "input": [""] * len(TEXTS)}).write_parquet(
        tmp_path / "rows.parquet"
    )
    return {"recipe": str(tmp_path / "vectors.yaml"), "input": str(tmp_path / "rows.parquet")}


def uri(server: Server) -> str:
    return f"openai:test-embedding@{server.url}"


def asked(server: Server) -> int:
    return sum(event["kind"] == "embedding" for event in server.history("request"))


def test_every_row_gets_the_vector_of_its_text_in_order(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    server.set_plan({"latency": {"median_s": 0.02, "sigma": 1.0}})
    out = tmp_path / "run"
    run_synth(out, teacher=uri(server), **given)
    rows = open_run(out).kept("embed")
    assert rows["instruction"].to_list() == TEXTS
    assert rows.schema["embedding"] == pl.List(pl.Float32)
    keys = {r["key"].hex(): r["raw"] for r in books.records(out) if r["kind"] == "reply"}
    for vector, (request,) in rows.select("embedding", "requests").iter_rows():
        sent = json.loads(keys[request["key"]])["data"][0]["embedding"]
        assert vector == pytest.approx(sent, rel=1e-6)
        assert (request["template"], request["model"]) == ("embed@1", "test-embedding")
    assert asked(server) == len(TEXTS)
    assert verify(out).findings == []


def test_a_row_that_says_nearly_the_same_is_dropped_and_names_the_other(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run_synth(out, "semantic.threshold=0.999", teacher=uri(server), **given)
    dropped = open_run(out).dropped("semantic").select("row_id", "drop_reason", "drop_ref")
    assert dropped.rows() == [("import-000011-00", "semantic_duplicate", "import-000007-00")]


def test_another_threshold_asks_nothing_again(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    run_synth(tmp_path / "run", "semantic.threshold=0.999", teacher=uri(server), **given)
    more = given | {"made_from": str(tmp_path / "run")}
    run_synth(tmp_path / "looser", "semantic.threshold=0.5", teacher=uri(server), **more)
    assert asked(server) == len(TEXTS)
    assert len(books.rows(tmp_path / "looser", "semantic", "dropped")) > 1


def test_vectors_of_a_run_of_their_own_are_taken_in_by_another(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    alone = {"recipe": "embed", "input": given["input"], "teacher": uri(server)}
    run_synth(tmp_path / "vectors", "embed.length=8", **alone)
    out = tmp_path / "run"
    taken = {"recipe": "semantic", "input": str(tmp_path / "vectors")}
    run_synth(out, "semantic.threshold=0.999", **taken)
    assert [row["row_id"] for row in books.rows(out, "semantic", "dropped")] == ["import-000011-00"]
    assert verify(out).findings == []


def test_a_run_that_was_ended_asks_no_vector_twice(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    more = ("shard_rows=2", "teacher.concurrency=1", "teacher.outage_limit_s=0")
    server.set_plan([{"fault": "status", "match": {"kind": "embedding", "nth": 8}}])
    with pytest.raises(InterruptedRunError):
        run_synth(out, *more, teacher=uri(server), **given)
    before = asked(server)
    assert 0 < len(books.rows(out, "embed")) < len(TEXTS)
    server.set_plan([])
    run_synth(out, *more, teacher=uri(server), **given)
    assert before == 8
    assert asked(server) == len(TEXTS) + 1  # the one that failed
    assert len(books.rows(out, "embed")) == len(TEXTS)


def test_a_reply_that_holds_no_vector_is_asked_for_again_then_dropped_by_name(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    once = {"fault": "invalid_json", "match": {"kind": "embedding", "nth": 2}, "times": 1}
    always = {"fault": "html", "match": {"kind": "embedding", "prompt": "number 5"}}
    server.set_plan([once, always])
    out = tmp_path / "run"
    run_synth(out, "teacher.concurrency=1", teacher=uri(server), **given)
    (dropped,) = books.rows(out, "embed", "dropped")
    assert (dropped["row_id"], dropped["drop_reason"]) == ("import-000005-00", "bad_envelope")
    assert asked(server) == len(TEXTS) + 1 + 2


def test_only_input_tokens_are_billed(
    run_synth: RunSynth, server: Server, given: dict[str, Any], tmp_path: Path
) -> None:
    priced = ("prices={test-embedding: {input: 1, output: 10}}", "budget.tokens=100000")
    run_synth(tmp_path / "run", *priced, teacher=uri(server), **given)
    (usage,) = books.stage_json(tmp_path / "run", "embed")["usage"]
    billed = server.counts()["billed"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (billed["prompt_tokens"], 0)
    assert usage["unknown_usage"] == 0


def test_a_plan_writes_no_tokens(server: Server, given: dict[str, Any], tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    (found,) = estimate(prepare(Options(out=out, teacher=uri(server), **given), {})).stages
    assert (found.requests, found.output_tokens, found.worst_output_tokens) == (len(TEXTS), 0, 0)
    assert found.input_tokens > 0


def test_the_offline_teacher_is_refused_before_anything_starts(
    given: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="embed: the offline teacher has no embeddings"):
        prepare(Options(out=str(tmp_path / "run"), **given), {})
    assert not (tmp_path / "run").exists()
