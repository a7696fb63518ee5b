"""The charts of runs."""

import sys
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.cli.commands import run as run_command
from pipeline.errors import RecipeError
from pipeline.report import facts, figures, page
from tests.report.runs import made_run

pytest.importorskip("plotly", reason="the extra 'report' is not installed")


def test_labels_that_begin_alike_have_a_bar_each(tmp_path: Path) -> None:
    names = ["x" * 70 + end for end in "abc"]
    rows = [{"row_id": f"a-{at}", "is_classification": True, "output": names[at % 3],
             "source": names[at % 3]} for at in range(9)]  # fmt: skip
    found = facts.of_run(open_run(made_run(tmp_path / "run", {"import": (rows, [])})))
    for figure in (figures.labels(found), figures.part([found], "source")):
        assert figure is not None
        (bar, *_) = figure.data
        assert len(set(bar.y)) == 3
        assert list(bar.x) == [3, 3, 3]


def test_runs_beside_each_other_share_bins_and_lines(tmp_path: Path) -> None:
    first = [{"row_id": f"a-{n}", "rating": n / 10, "source": f"s{n % 30:02}"} for n in range(60)]
    second = [{"row_id": f"a-{n}", "rating": 50 + n / 10, "source": "s29"} for n in range(3)]
    runs = [facts.of_run(open_run(made_run(tmp_path / str(at), {"import": (rows, [])})))
            for at, rows in enumerate((first, second))]  # fmt: skip
    drawn = figures.distribution(runs, "rating")
    assert drawn is not None
    assert drawn.data[0].x == drawn.data[1].x
    assert [sum(bar.y) for bar in drawn.data] == [60, 3]
    parts = figures.part(runs, "source")
    assert parts is not None
    counts = [dict(zip(bar.y, bar.x, strict=True)) for bar in parts.data]
    assert [one["s29"] for one in counts] == [2, 3]  # the most frequent of both
    assert [one["18 others"] for one in counts] == [36, 0]
    assert [sum(one.values()) for one in counts] == [60, 3]


def test_the_state_of_a_stage_stands_at_its_bar(tmp_path: Path) -> None:
    rows = [{"row_id": "a-1"}]
    run = made_run(tmp_path / "run", {"import": (rows, []), "filter": (rows, [])}, complete=1)
    figure = figures.funnel(facts.of_run(open_run(run)))
    assert figure is not None
    assert list(figure.data[0].y) == ["import", "filter (open)"]


def test_without_plotly_the_line_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made_run(tmp_path / "run", {"import": ([{"row_id": "a-1"}], [])})
    for name in [name for name in sys.modules if name.partition(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    said = r"plotly, which is not installed: pip install '\.\[report\]'"
    with pytest.raises(RecipeError, match=said):
        page.render([open_run(path)])
    with pytest.raises(RecipeError, match=said):
        open_run(path).plot.funnel()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["synth", "report", str(path)])
    assert run_command() == 2
    assert "pip install '.[report]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))
