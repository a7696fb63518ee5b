"""`synth diff`: which rows a second run gained, lost and changed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.diff import difference
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare

RECIPE = (
    "name: small\nstages:\n  - stage: import\n"
    "  - {stage: filter, filters: {word_count: {at_least: 1, at_most: 12}}}\n"
)
Rows = list[tuple[str, str]]


def run_of(folder: Path, name: str, rows: Rows) -> Path:
    """A run that imports rows (instruction, output) and drops those of more than 12 words."""
    lines = [{"instruction": instruction, "output": output} for instruction, output in rows]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "small.yaml").write_text(RECIPE)
    options = Options(
        recipe=str(folder / "small.yaml"),
        out=str(folder / name),
        input=str(folder / f"{name}.jsonl"),
    )
    execute(prepare(options), lambda event: None)
    return folder / name


LONG = "Name every river that flows through a town which has more than two bridges."
OLD: Rows = [
    ("Name a river.", "Ebro"),
    ("Name a lake.", "Como"),
    ("Name a hill in Wales.", "Snowdon"),
    ("Name a large tree.", "oak"),
    ("Name a large tree.", "oak"),
    ("Name a small bird now.", "wren"),
]
NEW: Rows = [
    ("Name a river.", "Ebro"),
    ("Name a lake.", "Garda"),
    ("Name a large tree.", "oak"),
    (LONG, "none"),
    ("Name a new fish please.", "carp"),
    ("Name a hill in Wales.", "Snowdon"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("diff")
    return run_of(folder, "old", OLD), run_of(folder, "new", NEW)


def synth(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from pipeline.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )


def test_a_run_differs_from_itself_in_nothing(small_run: Path) -> None:
    found = difference(open_run(small_run), open_run(small_run))
    assert found.same == open_run(small_run).kept().height
    assert all(one.is_empty() for one in (found.gained, found.lost, found.changed, found.renamed))


def test_every_row_of_both_is_told_of_once(runs: tuple[Path, Path]) -> None:
    old, new = map(open_run, runs)
    found = difference(old, new)
    changed = [
        (row["instruction"], row["output"], row["new_instruction"], row["new_output"])
        for row in found.changed.iter_rows(named=True)
    ]
    # rows keep their place as their id: of six, the first is the same
    assert found.same == 1
    assert changed == [
        ("Name a lake.", "Como", "Name a lake.", "Garda"),
        ("Name a hill in Wales.", "Snowdon", "Name a large tree.", "oak"),
        ("Name a large tree.", "oak", "Name a new fish please.", "carp"),
        ("Name a small bird now.", "wren", "Name a hill in Wales.", "Snowdon"),
    ]
    assert found.lost["instruction"].to_list() == ["Name a large tree."]
    assert found.lost.select("stage", "drop_reason").rows() == [("filter", "too_many_words")]
    assert found.changed_columns() == {"instruction": 3, "input": 0, "output": 4}
    assert found.same + found.changed.height + found.lost.height + found.renamed.height == 6


def test_the_same_texts_under_another_id_are_no_loss(tmp_path: Path) -> None:
    first = run_of(tmp_path, "a", [("Name a river.", "Po"), ("Name a sea.", "Aral")])
    second = run_of(tmp_path, "b", [(LONG, ""), ("Name a sea.", "Aral"), ("Name a river.", "Po")])
    found = difference(open_run(first), open_run(second))
    assert found.same == 1
    assert found.renamed["instruction"].to_list() == ["Name a river."]
    assert found.lost.is_empty()
    assert found.gained.is_empty()


def test_it_is_printed_and_given_as_json(runs: tuple[Path, Path]) -> None:
    old, new = map(str, runs)
    done = synth("diff", old, new, "--limit", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 row the same; 0 gained, 1 lost, 4 changed\n")
    assert "lost to filter: too_many_words 1" in done.stdout
    assert "changed in instruction 3, output 4" in done.stdout
    assert "... 3 more changed" in done.stdout
    tree: dict[str, Any] = json.loads(synth("diff", old, new, "--json").stdout)
    assert (tree["same"], tree["gained"], tree["lost"], tree["changed"]) == (1, 0, 1, 4)
    assert len(tree["rows"]["changed"]) == 4
    assert synth("diff", old, old + "x").returncode == 2
