"""`estimate`: what a run would ask before anything is sent."""

import json
from pathlib import Path

import pytest

from pipeline import open_run, templates
from pipeline.run.estimate import estimate
from pipeline.run.execute import execute
from pipeline.run.plan import Estimate
from pipeline.run.prepare import Options, Prepared, prepare

PRICED = "prices={m: {input: 1, output: 10}}"
SERVER = "openai:m@http://127.0.0.1:9/v1"


def prepared(out: Path, *settings: str, recipe: str = "self-instruct", **options: str) -> Prepared:
    return prepare(Options(recipe=recipe, out=str(out), settings=settings, **options))  # type: ignore[arg-type]  # text options


def plan(out: Path, *settings: str, **options: str) -> Estimate:
    return estimate(prepared(out, *settings, **options))


def test_a_plan_has_an_entry_for_every_stage_that_asks(tmp_path: Path) -> None:
    found = plan(tmp_path / "run", "bootstrap.target=400", "bootstrap.expected_yield=5")
    assert [(one.stage, one.requests) for one in found.stages] == [
        ("bootstrap", 80),
        ("classify", 400),
        ("instances", 400),
    ]
    assert found.total.requests == 880
    assert not (tmp_path / "run").exists()


def test_no_server_is_asked(tmp_path: Path) -> None:
    assert plan(tmp_path / "run", teacher=SERVER).total.requests > 0  # nothing listens there


def test_a_model_that_is_served_here_costs_nothing_and_wants_no_price(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Add 1 and 2.", "output": "3"}) + "\n")
    options = Options(
        recipe="rate",
        input=str(rows),
        out=str(tmp_path / "run"),
        teacher=f"vllm:{model}",
        judge=f"vllm:{model}",
        needs_key=False,
    )
    found = estimate(prepare(options))
    assert found.total.cost_usd == "0.0000"
    said = "\n".join(found.assumptions)
    assert "a model on this machine costs nothing" in said
    assert "no price" not in said


def test_input_is_measured_on_real_prompts(tmp_path: Path) -> None:
    found = plan(tmp_path / "run", "bootstrap.target=400")
    classify = found.stages[1]
    template = templates.load("classify")
    prompt = template.render({"instruction": "Say whether the review is positive or negative."})
    assert classify.input_tokens / classify.requests == pytest.approx(len(prompt) / 4, rel=0.1)


def test_at_worst_every_reply_is_as_long_as_it_may_be(tmp_path: Path) -> None:
    found = plan(tmp_path / "run", "bootstrap.target=400")
    bootstrap = found.stages[0]
    assert bootstrap.worst_output_tokens == bootstrap.requests * 1024
    assert bootstrap.output_tokens < bootstrap.worst_output_tokens


def test_without_max_tokens_the_worst_is_not_known(tmp_path: Path) -> None:
    found = plan(tmp_path / "run", PRICED, "classify.sampling.max_tokens=null", teacher=SERVER)
    assert found.stages[1].worst_output_tokens is None
    assert found.stages[1].worst_cost_usd is None
    assert found.total.worst_output_tokens is None
    assert found.total.worst_cost_usd is None
    assert "?" in found.as_text()


def test_the_cost_is_tokens_times_the_price_in_the_recipe(tmp_path: Path) -> None:
    found = plan(tmp_path / "run", PRICED, teacher=SERVER)
    for one in (*found.stages, found.total):
        expected = (one.input_tokens + 10 * one.output_tokens) / 1e6
        assert float(one.cost_usd or "nan") == pytest.approx(expected, abs=0.02)
        assert float(one.worst_cost_usd or "nan") >= float(one.cost_usd or "nan")


def test_without_a_price_the_cost_is_not_known_and_the_plan_says_how_to_give_one(
    tmp_path: Path,
) -> None:
    found = plan(tmp_path / "run", teacher=SERVER)
    assert found.total.cost_usd is None
    assert "prices: {m: {input:" in found.as_text()


def test_the_offline_teacher_costs_nothing(tmp_path: Path) -> None:
    assert float(plan(tmp_path / "run").total.cost_usd or "nan") == 0


def test_what_a_finished_run_has_asked_is_not_asked_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    execute(prepared(run, "bootstrap.target=60"), lambda event: None)
    found = plan(run, "bootstrap.target=60")
    assert found.total.requests == 0
    assert found.total.already_asked == sum(
        usage.replies for state in open_run(run).stage_manifests for usage in state.usage
    )


def test_a_raised_target_asks_for_the_rest_only(tmp_path: Path) -> None:
    run = tmp_path / "run"
    execute(prepared(run, "bootstrap.target=60"), lambda event: None)
    kept = open_run(run).stage("bootstrap").kept
    found = plan(run, "bootstrap.target=160")
    classify = found.stages[1]
    assert classify.already_asked == kept
    assert classify.requests == 160 - kept
    assert 0 < found.stages[0].requests < 40


def test_a_recipe_from_data_asks_once_a_row(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"instruction": f"Name {n}."}) + "\n" for n in range(7)))
    found = plan(
        tmp_path / "run",
        recipe="classify",
        input=str(rows),
        teacher="openai:a-model@http://127.0.0.1:9/v1",
    )
    assert [(one.stage, one.requests) for one in found.stages] == [("classify", 7)]
    assert found.stages[0].input_tokens > 7


def test_a_recipe_that_asks_nobody_says_so(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Name a river."}\n')
    found = plan(tmp_path / "run", recipe="dedup", input=str(rows))
    assert found.stages == ()
    assert "No stage of this recipe asks" in found.as_text()


def test_the_plan_as_data_and_as_text_hold_the_same_numbers(tmp_path: Path) -> None:
    found = plan(tmp_path / "run", PRICED, teacher=SERVER)
    tree = json.loads(json.dumps(found.as_dict()))
    assert tree["total"]["requests"] == sum(stage["requests"] for stage in tree["stages"])
    text = found.as_text()
    for stage in (*tree["stages"], tree["total"]):
        row = next(line for line in text.splitlines() if line.startswith(stage["stage"]))
        assert f"{stage['input_tokens']:,}" in row
        assert f"${stage['cost_usd']}" in row
    assert "4 bytes a token" in text
    assert "expected_yield" in text
