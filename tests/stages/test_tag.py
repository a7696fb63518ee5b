"""The stage that tags rows by rules."""

from pathlib import Path

import polars as pl
import pytest

from pipeline import open_run
from pipeline.errors import RecipeError
from pipeline.run import prepare as preparing
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.stages import tag
from pipeline.stages.tag import Config
from pipeline.status import stage_statuses
from tests.run import books

ROWS = pl.DataFrame(
    {
        "instruction": ["Write a poem about rain.", "计算三加四。", "Who wrote the law?"],
        "input": [None, None, "It was the king."],
        "output": ["Rain falls.", "七", "The king."],
    }
)


def tagged(frame: pl.DataFrame, **chosen: object) -> pl.DataFrame:
    named = frame.with_columns(row_id=pl.int_range(pl.len()).cast(pl.String))
    found = tag.judge(named, Config.model_validate(chosen))
    assert found["reason"].null_count() == frame.height
    return found.select(tag.TAGS)


def test_every_row_is_kept_and_gets_its_tags() -> None:
    assert tagged(ROWS).rows() == [
        ("writing", "writing", "en"), ("math", "math", "zh"), ("law", "closed_question", "en")
    ]  # fmt: skip


def test_a_tag_that_is_off_is_null() -> None:
    found = tagged(ROWS, domain=False, language=False)
    assert found["domain"].null_count() == found["language"].null_count() == 3
    assert found["task_type"].null_count() == 0


def test_what_a_row_has_already_stays_unless_it_is_to_be_overwritten() -> None:
    own = ROWS.with_columns(domain=pl.Series(["weather", None, None]))
    assert tagged(own)["domain"].to_list() == ["weather", "math", "law"]
    assert tagged(own, domain=False)["domain"].to_list() == ["weather", None, None]
    assert tagged(own, overwrite=True)["domain"].to_list() == ["writing", "math", "law"]


def test_what_is_known_to_be_a_classification_is_one() -> None:
    known = ROWS.with_columns(is_classification=pl.Series([True, None, False]))
    assert tagged(known)["task_type"].to_list() == ["classification", "math", "closed_question"]


def test_a_model_that_is_not_installed_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ROWS.write_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(preparing, "find_spec", lambda name: None)
    options = Options(
        "tag",
        out=str(tmp_path / "run"),
        input=str(tmp_path / "rows.parquet"),
        settings=["tag.language=model"],
    )
    with pytest.raises(RecipeError, match=r"language needs py3langid: pip install '\.\[clean\]'"):
        prepare(options)


def test_tags_are_counted_and_the_same_for_any_shards(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    pl.concat([ROWS] * 5).write_parquet(source)
    found = []
    for size in (4, 100):
        out = tmp_path / f"run-{size}"
        execute(
            prepare(Options("tag", str(out), str(source), settings=[f"shard_rows={size}"])), print
        )
        books.check(out)
        run = open_run(out)
        found.append(run.kept("tag"))
        assert stage_statuses(run)[1].rows_by["domain"] == {"law": 5, "math": 5, "writing": 5}
        assert stage_statuses(run)[1].rows_by["language"] == {"en": 10, "zh": 5}
    assert found[0].equals(found[1])
