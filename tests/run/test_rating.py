"""Runs with a judge: its own model and books, its failures, and other decisions for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.look import status_text
from pipeline.errors import BudgetError, InterruptedRunError, RecipeError
from pipeline.inspect import open_run
from pipeline.run.estimate import estimate
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.status import stage_statuses
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books
from tests.teacher_server.process import Server

RECIPE = """
name: rated
stages:
  - stage: import
  - stage: rate
  - stage: export
"""
N = 40


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    lines = [
        {"instruction": f"Name river {n}.", "output": f"{n} " * 5 + f"the river {n} of {n}{n}"}
        for n in range(N)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "rated.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return str(path)


def judge(server: Server) -> str:
    return f"openai:the-judge@{server.url}"


def asked(server: Server) -> list[dict[str, Any]]:
    """The requests that wanted a reply."""
    return [event for event in server.history("request") if "completions" in event["path"]]


def test_the_judge_has_its_own_name_books_and_price(
    run_synth: RunSynth, server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    prices = "prices={the-judge: {input: 1, output: 2}}"
    state = run_synth(out, prices, "rate.votes=2", recipe=recipe, input=rows, judge=judge(server))
    assert state.judge == "the-judge"
    assert len(asked(server)) == 2 * N
    (usage,) = books.stage_json(out, "rate")["usage"]
    assert (usage["model"], usage["requests"]) == ("the-judge", 2 * N)
    assert usage["cost_usd"] is not None
    kept, dropped = books.rows(out, "rate-keep"), books.rows(out, "rate-keep", "dropped")
    assert len(kept) + len(dropped) == N
    assert min(row["rating"] for row in kept) >= 4.5 > max(row["rating"] for row in dropped)
    assert {row["drop_reason"] for row in dropped} == {"rated_low"}
    for row in kept:
        assert row["requests"][-1]["model"] == "the-judge"
        assert len(row["ratings"][0]["votes"]) == 2
    histogram = books.stage_json(out, "rate")["measures"]["histogram"]
    assert sum(histogram.values()) == N
    run = open_run(out)
    text = status_text(run, stage_statuses(run), None)
    assert "judge the-judge" in text
    assert "rate: ratings" in text
    assert "Rated by the judge `the-judge`" in (out / "data" / "README.md").read_text("utf-8")
    verify(out)


def test_another_threshold_asks_nothing_and_leaves_the_ratings_alone(
    run_synth: RunSynth, server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run_synth(old, recipe=recipe, input=rows, judge=judge(server))
    before = len(asked(server))
    files = books.data_files(old)
    state = run_synth(new, "rate.keep_at_least=2", recipe=recipe, input=rows, judge=judge(server),
                      made_from=str(old))  # fmt: skip
    assert len(asked(server)) == before == N
    assert state.kept > len(books.rows(old, "rate-keep"))
    same = [name for name in files if "/01-" in name or "/02-" in name]
    assert same
    assert {name: books.data_files(new)[name] for name in same} == {
        name: files[name] for name in same
    }
    with pytest.raises(RecipeError, match=r"rate-keep\.keep_at_least was 4\.5 and is 2\.0"):
        run_synth(old, "rate.keep_at_least=2.0", recipe=recipe, input=rows, judge=judge(server))


def test_another_threshold_needs_no_judge_that_answers(
    run_synth: RunSynth, server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run_synth(old, recipe=recipe, input=rows, judge=judge(server))
    events = len(server.history("request"))
    run_synth(new, "rate.keep_at_least=2", recipe=recipe, input=rows, judge=judge(server),
              made_from=str(old))  # fmt: skip
    assert len(server.history("request")) == events  # not even which models there are
    gone = "openai:the-judge@http://127.0.0.1:9/v1"
    for _ in range(2):  # then again, as after a kill
        run_synth(tmp_path / "gone", "rate.keep_top=5", recipe=recipe, input=rows, judge=gone,
                  made_from=str(old))  # fmt: skip
        manifest = tmp_path / "gone" / "run.json"
        manifest.write_text(manifest.read_text().replace('"finished"', '"running"', 1))
    with pytest.raises(InterruptedRunError, match="cannot be reached"):
        run_synth(tmp_path / "more", "rate.votes=2", recipe=recipe, input=rows, judge=gone,
                  made_from=str(old))  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"fault": "refusal"}, "refusal"),
        ({"fault": "null_content"}, None),
    ],
)
def test_rows_that_the_judge_does_not_rate_are_kept_apart(
    rule: dict[str, Any], reason: str | None, run_synth: RunSynth, server: Server, rows: str,
    recipe: str, tmp_path: Path,
) -> None:  # fmt: skip
    server.set_plan([rule | {"match": {"prompt": r"river \d*[37]\."}}])
    out = tmp_path / "run"
    run_synth(out, recipe=recipe, input=rows, judge=judge(server))
    dropped = books.rows(out, "rate", "dropped")
    assert {row["instruction"] for row in dropped} == {
        f"Name river {n}." for n in range(N) if n % 10 in (3, 7)
    }
    assert all(row["rating"] is None and row["drop_reason"] for row in dropped)
    if reason:
        assert {row["drop_reason"] for row in dropped} == {reason}
    assert len(books.rows(out, "rate")) == N - len(dropped)


@pytest.mark.parametrize(
    ("text", "reason"), [("10\nPerfect", "out_of_range"), ("I like it.", "no_number")]
)
def test_a_number_that_is_none_is_null_and_the_whole_reply_stays(
    text: str, reason: str, run_synth: RunSynth, server: Server, rows: str, recipe: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    server.set_plan({"content": {"mode": "fixed", "text": text}})
    out = tmp_path / "run"
    run_synth(out, "rate.keep_at_least=0", recipe=recipe, input=rows, judge=judge(server))
    dropped = books.rows(out, "rate", "dropped")
    assert [row["drop_reason"] for row in dropped] == [reason] * N
    replies = [record for record in books.records(out) if record["kind"] == "reply"]
    assert len(replies) == N
    assert all(json.dumps(text).encode() in record["raw"] for record in replies)


def test_a_busy_judge_costs_no_row(
    run_synth: RunSynth, server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    server.set_plan([{"fault": "rate_limit", "times": 15, "retry_after": "0"}])
    out = tmp_path / "run"
    run_synth(out, recipe=recipe, input=rows, judge=judge(server))
    assert server.faults("rate_limit") == 15
    assert len(books.rows(out, "rate")) == N


def test_a_judge_that_fails_ends_the_run_which_then_goes_on(
    run_synth: RunSynth, server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(BudgetError):
        run_synth(out, "budget.requests=15", recipe=recipe, input=rows, judge=judge(server))
    assert len(asked(server)) == 15
    server.set_plan([{"fault": "status", "status": 503, "match": {"nth": {"min": 6}}}])
    with pytest.raises(InterruptedRunError):
        run_synth(out, "judge.outage_limit_s=0", recipe=recipe, input=rows, judge=judge(server))
    replies = len(books.replied(out))
    assert 15 <= replies < N
    server.set_plan([])
    run_synth(out, recipe=recipe, input=rows, judge=judge(server))
    assert len(books.replied(out)) == N
    once = tmp_path / "once"
    run_synth(once, recipe=recipe, input=rows, judge=judge(server))
    for stage in ("rate", "rate-keep"):
        assert books.rows(out, stage) == books.rows(once, stage)


def test_without_a_judge_the_teacher_judges_and_everything_says_so(
    run_synth: RunSynth, server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    teacher = f"openai:the-teacher@{server.url}"
    plan = estimate(prepare(Options(recipe=recipe, out=str(out), input=rows, teacher=teacher)))
    assert "rate: no judge is named" in plan.as_text()
    state = run_synth(out, recipe=recipe, input=rows, teacher=teacher)
    assert state.judged_by_teacher == ["rate"]
    run = open_run(out)
    assert "no judge was named" in status_text(run, stage_statuses(run), None)
    assert "Rated by the teacher `the-teacher`" in (out / "data" / "README.md").read_text("utf-8")


def test_the_recipe_curate_rates_only_where_a_judge_is_named(
    run_synth: RunSynth, server: Server, rows: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    rules = "filter.filters={outputs: {}}"
    run_synth(out, rules, recipe="curate", input=rows)
    assert books.rows(out, "decontaminate")
    assert not list(out.glob("stages/*-rate*"))
    assert server.counts().get("requests", 0) == 0
    with pytest.raises(RecipeError, match="rate is left out"):
        prepare(Options(recipe="curate", input=rows, settings=["rate.keep_at_least=4"]))
    later = tmp_path / "later"
    run_synth(later, rules, recipe="curate", made_from=str(out), judge=judge(server))
    assert len(books.rows(later, "rate")) == len(books.rows(out, "decontaminate"))
    assert books.stage_json(later, "rate")["usage"][0]["model"] == "the-judge"


def test_offline_rates_only_what_it_wrote(
    run_synth: RunSynth, rows: str, small_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="answers only rows that it wrote"):
        prepare(Options(recipe="curate", input=rows, judge="offline", out=str(tmp_path / "no")))
    state = run_synth(tmp_path / "run", recipe="curate", input=str(small_run), judge="offline")
    assert state.judge == "offline"
    assert books.rows(tmp_path / "run", "rate-keep")


def test_a_judge_without_a_price_is_refused_under_a_cap_in_dollars(
    server: Server, rows: str, recipe: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="the price of the-judge is not known"):
        execute(
            prepare(Options(recipe=recipe, input=rows, judge=judge(server),
                            out=str(tmp_path / "run"), settings=["budget.usd=1"])),
            lambda event: None,
        )  # fmt: skip


def test_a_judge_that_no_stage_asks_is_refused(rows: str, server: Server) -> None:
    with pytest.raises(RecipeError, match="no stage of this recipe rates"):
        prepare(Options(recipe="dedup", input=rows, judge=judge(server)))


def test_who_is_missing_is_called_by_its_role(
    run_synth: RunSynth, rows: str, recipe: str, tmp_path: Path
) -> None:
    given = {"recipe": recipe, "input": rows}
    with pytest.raises(RecipeError, match=r"name a judge with --judge\."):
        run_synth(tmp_path / "run", judge="offline", **given)
    with pytest.raises(RecipeError, match=r"name a judge with --judge\."):
        run_synth(tmp_path / "run", **given)
    quick = ("judge.attempts=1", "judge.outage_limit_s=0")
    with pytest.raises(InterruptedRunError, match="the judge cannot be reached"):
        run_synth(tmp_path / "run", *quick, judge="openai:j@http://127.0.0.1:9/v1", **given)
