"""The notebook runs from top to bottom, and shows what it says."""

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from tests.conftest import RunSynth

nbformat = pytest.importorskip("nbformat", reason="the extra 'notebook' is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra 'notebook' is not installed")
pytest.importorskip("plotly", reason="the extra 'report' is not installed")
pytest.importorskip("datasets", reason="the extra 'data' is not installed")
ROOT = Path(__file__).parents[2]
FIGURE = "application/vnd.plotly.v1+json"


@pytest.fixture(scope="module")
def cells(small_run: Path) -> list[Any]:
    """The notebook's code cells, with what they showed of a finished run."""
    notebook = nbformat.read(ROOT / "scripts" / "inspect_run.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    before = os.environ.get("SYNTH_RUN")
    os.environ["SYNTH_RUN"] = str(small_run)
    try:
        client = nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
        )
        client.execute()
    finally:
        os.environ.pop("SYNTH_RUN")
        if before is not None:
            os.environ["SYNTH_RUN"] = before
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.filterwarnings("ignore")
def test_every_cell_shows_something_and_none_fails(cells: list[Any]) -> None:
    for cell in cells:
        kinds = {output.output_type for output in cell.outputs}
        assert "error" not in kinds
        assert kinds & {"execute_result", "stream", "display_data"}, cell.source


@pytest.mark.filterwarnings("ignore")
def test_its_figures_are_drawn_of_the_run(cells: list[Any], small_run: Path) -> None:
    from pipeline import open_run

    figures = [
        output.data[FIGURE]
        for cell in cells
        for output in cell.outputs
        if FIGURE in output.get("data", {})
    ]
    assert len(figures) == sum("shown(run.plot" in cell.source for cell in cells) == 5
    kept = next(bar for bar in figures[0]["data"] if bar["name"] == "kept")
    assert list(kept["x"]) == open_run(small_run).funnel()["kept"].to_list()
    before, after = figures[1]["data"]
    assert sum(after["y"]) == open_run(small_run).kept().height < sum(before["y"])
    assert figures[3]["data"][0]["type"] == "sunburst"


@pytest.mark.filterwarnings("ignore")
def test_a_run_shows_itself_as_a_table(cells: list[Any]) -> None:
    shown = cells[0].outputs[-1].data["text/html"]
    assert "<td>bootstrap</td>" in shown
    assert "not_novel" in shown


def seen(source: str, names: dict[str, Any]) -> object:
    """What the last line of a cell gives, run in this process: quicker than a kernel."""
    tree = ast.parse(source)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), source
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


CONVERSATION = {
    "messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ho."}]
}
FINISHED = {
    "curate": ("curate", [{"instruction": "Name a sea.", "output": "Aral"}]),
    "no export, a conversation": ("dedup", [CONVERSATION, CONVERSATION]),
    "no verb, an unknown word": ("dedup", [{"instruction": "Lapis?", "output": "Lapis."}]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("named", FINISHED)
def test_it_runs_on_any_finished_run_and_says_what_is_not_there(
    run_synth: RunSynth,
    tmp_path: Path,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, rows = FINISHED[named]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_synth(tmp_path / "run", recipe=recipe, input=str(tmp_path / "rows.jsonl"))
    monkeypatch.setenv("SYNTH_RUN", str(tmp_path / "run"))
    notebook = nbformat.read(ROOT / "scripts" / "inspect_run.ipynb", as_version=4)
    names: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            value = seen(cell.source, names)
            assert value is not None or capsys.readouterr().out, cell.source
    assert names["splits"]["train"].num_rows == 1
    with pytest.raises(InputError):
        names["run"].plot.labels()
