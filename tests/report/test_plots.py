"""A run in a notebook: its charts, its rows as `datasets`, itself as a table."""

import json
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.errors import InputError

go = pytest.importorskip("plotly.graph_objects", reason="the extra 'report' is not installed")


def test_every_chart_that_a_run_has_is_a_figure(small_run: Path) -> None:
    plot = open_run(small_run).plot
    for draw in (plot.funnel, plot.tokens, plot.seconds, plot.distribution, plot.roots, plot.part,
                 plot.labels):  # fmt: skip
        figure = draw()
        assert isinstance(figure, go.Figure)
        assert figure.data


def test_the_curve_of_a_training_is_drawn_as_far_as_it_is_written(small_copy: Path) -> None:
    with pytest.raises(InputError, match="no fine-tuned model"):
        open_run(small_copy).plot.curve()
    (small_copy / "model").mkdir()
    lines = [{"step": 1, "loss": 3.0}, {"step": 10, "loss": 2.0}, {"step": 10, "eval_loss": 2.5}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (small_copy / "model" / "metrics.jsonl").write_text(text + '{"step": 2')
    trained, held_out = open_run(small_copy).plot.curve().data
    assert (list(trained.x), list(trained.y)) == ([1, 10], [3.0, 2.0])
    assert (list(held_out.x), list(held_out.y)) == ([10], [2.5])


def test_what_there_is_not_is_said(small_run: Path) -> None:
    plot = open_run(small_run).plot
    with pytest.raises(InputError, match="has no rating to draw"):
        plot.distribution("rating")
    with pytest.raises(InputError, match="no measure 'length'; there are instruction words"):
        plot.distribution("length")
    with pytest.raises(InputError, match="no part 'colour'"):
        plot.part("colour")


@pytest.mark.filterwarnings("ignore")
def test_exported_splits_come_as_datasets(small_run: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra 'data' is not installed")
    run = open_run(small_run)
    found = run.to_datasets()
    rows = {
        Path(entry.path).stem: entry.rows for entry in run.manifest.data if "messages" in entry.path
    }
    assert {f"{split}-00000": len(one) for split, one in found.items()} == rows
    assert found["train"][0]["messages"][0]["role"] == "user"
    assert "instruction" in run.to_datasets("alpaca")["train"].column_names
    assert isinstance(found, datasets.DatasetDict)
    with pytest.raises(InputError, match="no config 'chat'"):
        run.to_datasets("chat")


@pytest.mark.filterwarnings("ignore")
def test_a_run_without_an_export_gives_what_it_kept(hostile: Path) -> None:
    pytest.importorskip("datasets", reason="the extra 'data' is not installed")
    run = open_run(hostile)
    assert run.to_datasets()["train"]["row_id"][:] == run.kept()["row_id"].to_list()
    shown = run._repr_html_()
    assert "<img" not in shown
    assert "<script" not in shown
    assert shown.count("<tr>") == 3
