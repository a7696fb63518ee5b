"""A stage that waits for a setting, as `synth status` and a finished run see it."""

from pathlib import Path

import polars as pl

from pipeline import open_run
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.status import stage_statuses


def test_a_stage_that_is_left_out_is_in_no_book_and_comes_in_a_new_run(tmp_path: Path) -> None:
    rows = [{"instruction": f"Tell of the river {at} of Asia.", "output": f"It is {at}."}
            for at in range(40)]  # fmt: skip
    source = tmp_path / "rows.parquet"
    pl.DataFrame(rows).write_parquet(source)
    named = ["dedup.near=false"]
    out = tmp_path / "run"
    execute(prepare(Options("curate", str(out), str(source), settings=named)), print)
    names = [stage.name for stage in stage_statuses(open_run(out))]
    assert not {"mix", "select", "order"} & set(names)
    more = [*named, "select.count=9", "order.by=length"]
    new = Options("curate", str(tmp_path / "new"), settings=more, made_from=str(out))
    execute(prepare(new), print)
    run = open_run(tmp_path / "new")
    assert run.manifest.kept == 9
    names = [stage.name for stage in stage_statuses(run)]
    assert names[-4:] == ["select", "format", "order", "export"]
    assert sorted(run.kept("order")["curriculum"]) == list(range(9))
