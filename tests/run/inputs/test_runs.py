"""A run as the input of another: a finished one, or one of its complete stages by name."""

from pathlib import Path

import pytest

from pipeline.errors import BudgetError, InputError
from pipeline.run.prepare import Options, prepare
from tests.conftest import RunSynth
from tests.run import books


@pytest.fixture
def stopped(run_synth: RunSynth, tmp_path: Path) -> Path:
    """A run that its budget ended in the second of its stages."""
    out = tmp_path / "stopped"
    with pytest.raises(BudgetError):
        run_synth(out, "bootstrap.target=20", "budget.requests=20")
    assert {path.name for path in out.glob("stages/*")} >= {"01-bootstrap", "02-classify"}
    return out


def refused(given: str, tmp_path: Path) -> str:
    with pytest.raises(InputError) as error:
        prepare(Options("dedup", str(tmp_path / "run"), input=given), {})
    return str(error.value)


def test_a_run_that_is_not_finished_is_no_input_unless_a_stage_is_named(
    stopped: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    said = refused(str(stopped), tmp_path)
    assert "is not finished" in said
    assert f"{stopped}:bootstrap" in said
    recipe = {"recipe": "novelty", "input": f"{stopped}:bootstrap"}
    run_synth(tmp_path / "run", **recipe)
    assert len(books.rows(tmp_path / "run", "import")) == len(books.rows(stopped, "bootstrap"))


@pytest.mark.parametrize("stage", ["classify", "instances", "nothing"])
def test_a_stage_that_is_not_complete_is_no_input(
    stopped: Path, tmp_path: Path, stage: str
) -> None:
    said = refused(f"{stopped}:{stage}", tmp_path)
    assert f"no complete stage '{stage}'" in said
    assert "it has bootstrap." in said
