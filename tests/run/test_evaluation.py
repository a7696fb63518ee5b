"""Seeds to results by `full`, rows by `evaluate`: what comes out, is refused, or left by a kill."""

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")
pytest.importorskip("sacrebleu", reason="the extra 'evaluate' is not installed")

from pipeline import recipe
from pipeline.errors import InputError, SynthError
from pipeline.run.estimate import estimate
from pipeline.run.evaluated import check_bases_fit
from pipeline.run.prepare import Options, prepare
from pipeline.run.roles import Model
from pipeline.run.settings import settings_of
from pipeline.teacher import uri
from pipeline.teacher.settings import TeacherSettings
from pipeline.train import tiny
from tests.run import books
from tests.security.command import environment, line, synth
from tests.soaked import soaked

QUICK = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
FEW = ("--set", "evaluate.max_tokens=6", "--set", "evaluate.batch=1")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("full") / "run"
    share = ("--set", "sft.validation=0.2", "--set", "export.validation=0.2")
    training = ("--set", "sft.max_steps=4", *share)
    command = ("run", "full", "--limit", "40", "--out", str(out), *training, *FEW)
    done = synth(*command, "--sizes", "0.3,1", timeout=300, variables=QUICK)
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    assert "The base is 'tiny'" in said
    assert f"results in {out / 'evaluation' / 'report.md'}" in said
    return out


def results(run: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = pq.read_table(run / "evaluation" / "metrics.parquet").to_pylist()
    return {(row["model"], row["slice"], row["metric"]): row for row in rows}


def evaluated(run: Path, stage: str = "evaluate") -> list[dict[str, Any]]:
    return [row for row in books.rows(run, stage) if row["evaluations"] is not None]


def test_what_was_held_out_is_answered_and_nothing_else(full: Path) -> None:
    rows = books.rows(full, "evaluate")
    assert [row["row_id"] for row in rows] == [row["row_id"] for row in books.rows(full, "sft")]
    for row in rows:
        assert (row["evaluations"] is not None) is row["held_out"]
        assert row["not_evaluated"] == (None if row["held_out"] else "trained_on")
        for one in row["evaluations"] or ():
            assert one["tokens"] <= 6
            assert one["loss"] > 0
    assert {tuple(one["model"] for one in row["evaluations"]) for row in evaluated(full)} == {
        ("base", "adapter")
    }
    kept = books.stage_json(full, "export")["exported"]
    assert kept == len(rows), "all rows are exported, held out or not"
    held_out = {
        row["row_id"]
        for path in (full / "data").rglob("validation*.parquet")
        for row in pq.read_table(path, columns=["row_id"]).to_pylist()
    }
    assert held_out == {row["row_id"] for row in rows if row["held_out"]}
    assert not (full / "evaluation" / "work").exists()


def test_results_are_what_the_rows_come_to(full: Path) -> None:
    found, rows = results(full), evaluated(full)
    losses = [(one["evaluations"][1]["loss"], one["evaluations"][1]["loss_tokens"]) for one in rows]
    loss = sum(a * n for a, n in losses) / sum(n for _, n in losses)
    assert found["adapter", "all", "loss"]["value"] == pytest.approx(loss)
    assert found["adapter", "all", "loss"]["n"] == len(rows)
    judged = [row for row in evaluated(full, "win-rate") if row["preferred"] is not None]
    points = [{"adapter": 1.0, "base": 0.0, "tie": 0.5}[row["preferred"]] for row in judged]
    won = found["adapter against base", "all", "win_rate"]
    assert (won["value"], won["n"]) == (pytest.approx(sum(points) / len(points)), len(points))
    asked = {row["row_id"]: row["evaluations"] for row in evaluated(full, "win-rate")}
    silent = sum(not one["answer"].strip() for both in asked.values() for one in both)
    records = [one for one in books.records(full) if one["stage"] == "win-rate"]
    n_replies = sum(one["kind"] == "reply" for one in records)
    assert n_replies >= 2 * (len(asked) - silent)
    assert synth("verify", str(full)).returncode == 0


def test_the_curve_is_over_nested_shares_and_the_same_held_out_rows(full: Path) -> None:
    sizes = books.stage_json(full, "evaluate")["measures"]["sizes"]
    trained = sum(not row["held_out"] for row in books.rows(full, "sft"))
    assert [one["share"] for one in sizes] == [0.3, 1.0]
    assert [one["rows_trained"] for one in sizes] == [-(-3 * trained // 10), trained]
    assert {one["rows"] for one in sizes} == {len(evaluated(full))}
    found = results(full)
    assert found["adapter", "size=1", "loss"]["value"] == pytest.approx(
        found["adapter", "all", "loss"]["value"]
    )
    assert found["adapter", "size=0.3", "loss"]["value"] == sizes[0]["loss"] != sizes[1]["loss"]
    text = (full / "evaluation" / "report.md").read_text()
    assert "## Loss by the share of the training rows" in text
    assert f"| 0.3 | {sizes[0]['rows_trained']} |" in text
    status = synth("status", str(full)).stdout.decode()
    assert "evaluate: of 0.3 of the rows: rows trained" in status
    assert "win-rate: adapter against base: " in status


def test_a_row_that_is_purged_is_in_no_result_any_more(full: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(full, run)
    row = evaluated(run)[0]
    assert synth("purge", str(run), "--row", row["row_id"]).returncode == 0
    done = synth("verify", str(run))
    assert done.returncode == 0, done.stderr
    before, after = results(full), results(run)
    assert after["base", "all", "tokens"]["n"] == before["base", "all", "tokens"]["n"] - 1
    report = (run / "evaluation" / "report.md").read_text()
    assert f"| tokens |  {after['base', 'all', 'tokens']['value']:.4g}".replace("  ", " ") in report


def test_the_page_of_a_run_shows_what_it_came_to(full: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="the extra 'report' is not installed")
    from pipeline.inspect import open_run
    from pipeline.report import page

    text = page.render([open_run(full)])
    assert "<h2>Evaluation</h2>" in text
    for told in ("of 0.3 of the rows", "rougeL", "win rate length controlled", "rows trained"):
        assert f">{told}</t" in text


def test_a_plan_counts_both_orders_of_what_is_held_out(full: Path, tmp_path: Path) -> None:
    share = ["sft.validation=0.2", "export.validation=0.2"]
    options = Options("full", out=str(tmp_path / "none"), limit=100, settings=share)
    (asking,) = [one for one in estimate(prepare(options)).stages if one.stage == "win-rate"]
    assert asking.requests == 2 * 0.2 * 250  # an instance stage makes two and a half of a task
    judge = "openai:other@http://127.0.0.1:1/v1"
    options = Options("evaluate", out=str(tmp_path / "none"), input=f"{full}:sft", judge=judge)
    (asking,) = estimate(prepare(options)).stages
    assert 0 < asking.requests < 2 * len(books.rows(full, "sft"))
    assert asking.input_tokens > 50 * asking.requests


def test_results_that_were_changed_are_found(full: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(full, run)
    with (run / "evaluation" / "report.md").open("a") as file:
        file.write("And it is the best.\n")
    (run / "evaluation" / "metrics.parquet").unlink()
    done = synth("verify", str(run))
    assert done.returncode == 6
    said = done.stderr.decode()
    assert "evaluation/report.md: it is not what the run wrote" in said
    assert "evaluation/metrics.parquet" in said


@pytest.mark.parametrize("number", [signal.SIGKILL, soaked(signal.SIGTERM)])
def test_an_evaluation_that_is_ended_goes_on_to_the_same_answers(
    full: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    command = ("run", "evaluate", "--input", f"{full}:sft", "--out", str(out), *FEW)
    process = subprocess.Popen(
        line(*command),
        env=environment(**QUICK),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    first = out / "evaluation" / "work" / "base.answers.jsonl"
    until = time.monotonic() + 150
    while not (first.is_file() and first.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (75 if number == signal.SIGTERM else -number)
    assert not (out / "evaluation" / "report.md").exists()
    before = first.read_text().splitlines()[:1]
    done = synth(*command, timeout=180, variables=QUICK)
    assert done.returncode == 0, done.stderr
    assert json.loads(before[0])["ids"] is not None
    assert [row["evaluations"] for row in books.rows(out, "evaluate")] == [
        row["evaluations"] for row in books.rows(full, "evaluate")
    ]
    mine, theirs = results(out), results(full)
    assert mine["adapter", "all", "loss"] == theirs["adapter", "all", "loss"]
    done = synth(*command)
    assert b"nothing to do" in done.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    tokenizer = tiny.make_tokenizer(["What is asked, and what is said."], tiny.Size(300))
    tiny.save(folder, tiny.make_model(tokenizer, tiny.Size(300), 1), tokenizer)
    return folder


def refused(tmp_path: Path, source: Path | None, *settings: str, **more: Any) -> str:
    """What is said of a command that cannot run; nothing is begun."""
    options = Options(
        more.pop("recipe", "evaluate"),
        out=str(tmp_path / "run"),
        input=None if source is None else str(source),
        settings=settings,
        **more,
    )
    with pytest.raises(SynthError) as caught:
        prepare(options)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()
    return str(caught.value)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "Add.", "output": "2"}\n')
    return path


def test_what_cannot_be_evaluated_is_refused_before_anything_is_read(
    full: Path, base: Path, rows: Path, tmp_path: Path
) -> None:
    adapter = f"evaluate.adapter={full / 'model' / 'adapter'}"
    named = f"evaluate.base={base}"
    assert "none is named: --set evaluate.base=FOLDER" in refused(tmp_path, rows)
    assert "there is no folder nowhere" in refused(
        tmp_path, rows, named, "evaluate.adapter=nowhere"
    )
    said = refused(tmp_path, rows, named, f"evaluate.adapter={full}")
    assert f"is a run: name the adapter in it, {full}/model/adapter" in said
    assert "is no adapter" in refused(tmp_path, rows, named, f"evaluate.adapter={tmp_path}")
    said = refused(tmp_path, rows, named, adapter)
    assert "which is another model: --set evaluate.base=" in said
    said = refused(tmp_path, rows, f"evaluate.base={full / 'model' / 'adapter'}")
    assert "is an adapter" in said
    said = refused(tmp_path, rows, named, judge="openai:gpt-5-mini@http://127.0.0.1:1/v1")
    assert "win-rate compares two models, and evaluate has one" in said
    said = refused(tmp_path, rows, named, adapter, sizes="0.1,1")
    assert "evaluate.sizes trains on shares" in said
    for wrong in ("0.1,x", "", "0.5,0.5", "2", "0"):
        assert "share" in refused(tmp_path, full, sizes=wrong), wrong
    said = refused(tmp_path, None, named, recipe="full", limit=5)
    assert "evaluate.base: the recipe trains one itself (sft)" in said
    by_hand = "sft.distributed={by_hand: true}"
    said = refused(tmp_path, None, by_hand, recipe="full", limit=5, sizes="0.5,1")
    assert "sft.distributed.by_hand says that nothing is started: leave evaluate.sizes out" in said


def test_each_evaluation_of_a_recipe_has_models_of_its_own(base: Path, rows: Path,
                                                           tmp_path: Path) -> None:  # fmt: skip
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "name: mine\nstages:\n  - stage: import\n"
        f"  - {{stage: evaluate, name: first, base: {base}, adapter: {base}}}\n"
        f"  - {{stage: evaluate, name: second, base: {base}}}\n  - stage: win-rate\n"
    )
    said = refused(tmp_path, rows, recipe=str(mine), judge="openai:j@http://127.0.0.1:1/v1")
    assert "win-rate compares two models, and second has one" in said


@pytest.mark.parametrize(
    ("of", "is_refused"),
    [("org/one", False), ("ORG/One", False), ("org/one@main", False), ("org/two", True),
     ("/gone/folder", False)],
)  # fmt: skip
def test_an_adapter_over_another_model_of_the_hub_is_refused(
    base: Path, tmp_path: Path, of: str, is_refused: bool
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": of}))
    models = {
        f"evaluate.{name}": Model(replace(uri.parse(f"hf:{folder}"), **more), "", TeacherSettings())
        for name, folder, more in (("base", base, {"hub": "org/one"}), ("adapter", tmp_path, {}))
    }
    if is_refused:
        with pytest.raises(InputError, match="an adapter over org/two, and evaluate"):
            check_bases_fit(models)
    else:
        check_bases_fit(models)


def test_what_only_changes_how_fast_a_server_answers_is_no_identity(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    def identity(**options: int) -> dict[str, Any]:
        found = recipe.parse(
            recipe.builtin_text("evaluate"),
            where="evaluate",
            settings={"evaluate.base": str(base), "evaluate.vllm": {"options": options}},
        )
        return settings_of(found, {}).identity

    assert identity(max_num_seqs=8) == identity()
    assert identity(rope_theta=8) != identity()


@pytest.mark.parametrize(
    ("row", "told"),
    [({"instruction": "Add.", "output": ""}, "none of 1 rows has an output"),
     ({"instruction": "word " * 900, "output": "x"}, "of 1 rows none can be asked")],
)  # fmt: skip
def test_rows_that_say_nothing_of_a_model_end_the_run_before_it_is_loaded(
    base: Path, tmp_path: Path, row: dict[str, str], told: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps(row) + "\n")
    named = ("--set", f"evaluate.base={base}", "--out", str(tmp_path / "run"))
    done = synth("run", "evaluate", "--input", str(source), *named, timeout=120, variables=QUICK)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr.decode()


def test_a_judge_of_the_family_of_what_it_judges_is_told(
    full: Path, tmp_path: Path, base: Path
) -> None:
    from pipeline.run.evaluated import judge_family

    called = tmp_path / "Qwen3-tiny"
    shutil.copytree(base, called)
    for judge, kin in (("qwen-max", "qwen"), ("gpt-5-mini", None), ("llama-3", "llama")):
        prepared = prepare(
            Options(
                "evaluate",
                out=str(tmp_path / "run"),
                input=f"{full}:sft",
                judge=f"openai:{judge}@http://127.0.0.1:1/v1",
                settings=[f"evaluate.base={called}", f"evaluate.adapter={called}"],
            )
        )
        assert judge_family(prepared.recipe, prepared.models, prepared.evaluated) == kin
