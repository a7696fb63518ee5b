"""The stage that scores rows by a classifier of the user's own labels."""

import json
from pathlib import Path

import polars as pl
import pytest

from pipeline import open_run
from pipeline.errors import RecipeError
from pipeline.run import prepare as preparing
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.stages import quality
from pipeline.stages.quality import Config
from pipeline.status import stage_statuses
from tests.run import books


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("sklearn")
    lines = [
        {"instruction": f"Name river {at}.", "output": f"{word} {at}", "label": label}
        for word, label in (("Surely", "good"), ("Whatever", "bad"))
        for at in range(25)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "labelled.jsonl").write_text(text, encoding="utf-8")
    made = [{"instruction": f"Name lake {at}.", "output": "Surely" if at % 2 else "Whatever"}
            for at in range(20)]  # fmt: skip
    pl.DataFrame(made).write_parquet(tmp_path / "rows.parquet")
    return tmp_path


def options(folder: Path, out: str, *settings: str, **given: object) -> Options:
    named = (f"quality.labelled={folder / 'labelled.jsonl'}", *settings)
    source = str(folder / "rows.parquet")
    return Options("quality", str(folder / out), source, settings=named, **given)  # type: ignore[arg-type]


def test_scores_come_first_and_a_threshold_in_a_new_run(folder: Path) -> None:
    execute(prepare(options(folder, "run")), print)
    run = open_run(folder / "run")
    books.check(folder / "run")
    assert run.manifest.kept == 20
    assert stage_statuses(run)[1].measures["cross_validated_auc"] == 1
    execute(
        prepare(options(folder, "new", "quality.at_least=0.5", made_from=str(folder / "run"))),
        print,
    )
    new = open_run(folder / "new")
    books.check(folder / "new")
    assert new.dropped("quality")["drop_reason"].to_list() == ["low_quality"] * 10
    assert set(new.kept("quality")["output"]) == {"Surely"}
    assert new.dropped("quality")["quality"].max() < 0.5  # type: ignore[operator]


def test_scores_do_not_depend_on_shards(folder: Path) -> None:
    found = []
    for size in (3, 100):
        execute(prepare(options(folder, f"run-{size}", f"shard_rows={size}")), print)
        found.append(open_run(folder / f"run-{size}").kept("quality"))
    assert found[0].equals(found[1])


def test_other_labels_are_another_run(folder: Path) -> None:
    execute(prepare(options(folder, "run")), print)
    labelled = folder / "labelled.jsonl"
    labelled.write_text(labelled.read_text() + labelled.read_text().splitlines()[0] + "\n")
    with pytest.raises(RecipeError, match=r"quality\.file\..*labelled\.jsonl was"):
        prepare(options(folder, "run"))


def test_labels_that_nothing_can_be_learned_from_are_refused_before_anything_runs(
    folder: Path,
) -> None:
    (folder / "labelled.jsonl").write_text('{"instruction": "a", "output": "b", "label": "good"}\n')
    with pytest.raises(RecipeError, match="has 1 good rows; 20 of each label are needed"):
        prepare(options(folder, "run"))
    assert not (folder / "run").exists()


def test_a_package_that_is_missing_is_said_with_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs sklearn: pip install '\.\[quality\]'"):
        prepare(options(folder, "run"))
    assert Config.model_validate({"labelled": False}).labelled is None


def test_without_labelled_rows_none_is_scored() -> None:
    frame = pl.DataFrame({"row_id": ["a"], "instruction": ["b"], "input": [""], "output": ["c"]})
    found = quality.judge(frame, Config())
    assert found["reason"].to_list() == found["quality"].to_list() == [None]
    assert quality.measure(frame, Config()) == {}
