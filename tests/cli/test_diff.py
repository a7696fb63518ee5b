"""`synth diff`: which rows a second run gained, lost and changed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.diff import difference
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from tests.cli.here import synth

RECIPE = (
    "name: small\nstages:\n  - stage: import\n"
    "  - {stage: filter, filters: {word_count: {at_least: 1, at_most: 12}}}\n"
)
Rows = Sequence[tuple[str, str] | dict[str, Any]]


def run_of(
    folder: Path, name: str, rows: Rows, most: int = 12, settings: Sequence[str] = ()
) -> Path:
    """A run that imports rows, or (instruction, output), and drops those of more than 12 words."""
    lines = [
        row if isinstance(row, dict) else {"instruction": row[0], "output": row[1]} for row in rows
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "small.yaml").write_text(RECIPE.replace("12", str(most)))
    options = Options(
        recipe=str(folder / "small.yaml"),
        out=str(folder / name),
        input=str(folder / f"{name}.jsonl"),
        settings=list(settings),
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
    assert found.same == 1
    assert changed == [("Name a lake.", "Como", "Name a lake.", "Garda")]
    # the third and the fourth row have other places now
    assert found.renamed.select("row_id", "new_row_id").rows() == [
        ("import-000002-00", "import-000005-00"),
        ("import-000003-00", "import-000002-00"),
    ]
    # their places have other rows now: an id alone is no reason to compare two
    assert found.lost["instruction"].to_list() == ["Name a large tree.", "Name a small bird now."]
    assert found.gained["instruction"].to_list() == ["Name a new fish please."]
    assert found.lost["stage"].to_list() == [None, None]
    assert found.changed_columns()["output"] == 1
    assert sum(found.changed_columns().values()) == 1
    assert found.same + found.changed.height + found.lost.height + found.renamed.height == 6


def test_a_lost_row_is_told_with_its_rule(tmp_path: Path) -> None:
    kept = run_of(tmp_path, "a", [(LONG, "none")], most=99)
    dropped = run_of(tmp_path, "b", [("Name a sea.", "Aral"), (LONG, "none")])
    found = difference(open_run(kept), open_run(dropped))
    assert found.lost.select("stage", "drop_reason").rows() == [("filter", "too_many_words")]
    assert found.lost_by() == {"filter: too_many_words": 1}


def test_a_conversation_is_compared_whole(tmp_path: Path) -> None:
    def talk(last: str) -> dict[str, Any]:
        turns = [("user", "Hi."), ("assistant", "Hello."), ("user", "And?"), ("assistant", last)]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    runs = [
        run_of(tmp_path, name, [talk("Nothing."), talk(last)])
        for name, last in (("a", "So long."), ("b", "Farewell."))
    ]
    found = difference(*map(open_run, runs))
    assert (found.same, found.changed.height) == (1, 1)
    assert {name: n for name, n in found.changed_columns().items() if n} == {"messages": 1}
    done = synth("diff", *runs, "--full")
    assert "    conversation user: Hi.\n\n                 assistant: Hello." in done.out.replace(
        " " * 17 + "\n", "\n"
    )
    assert "                 assistant: Farewell.\n" in done.out
    tree = json.loads(synth("diff", *runs, "--json").out)
    assert tree["rows"]["changed"][0]["new_messages"].endswith("assistant: Farewell.")


def test_a_short_answer_that_two_rows_share_does_not_make_them_one(tmp_path: Path) -> None:
    first = run_of(tmp_path, "a", [("Is it late?", "yes"), ("Name a sea.", "x" * 20)])
    second = run_of(tmp_path, "b", [("Is it cold?", "yes"), ("Name one sea.", "x" * 20)])
    found = difference(open_run(first), open_run(second))
    assert found.changed["instruction"].to_list() == ["Name a sea."]
    assert (found.lost.height, found.gained.height) == (1, 1)


def test_of_a_pair_both_answers_are_compared(tmp_path: Path) -> None:
    names = ("instruction", "output", "other_output")
    columns = f"import.columns={{{', '.join(f'{name}: {name}' for name in names)}}}"
    rows = [dict(zip(names, row, strict=True)) for row in (("Greet.", "Hi.", "Hey."),)]
    runs = [run_of(tmp_path, name, rows, settings=[columns]) for name in "ab"]
    rows[0]["other_output"] = "Ho."
    runs.append(run_of(tmp_path, "c", rows, settings=[columns]))
    assert difference(*map(open_run, runs[:2])).same == 1
    done = synth("diff", *runs[1:])
    assert "changed in other output 1\n" in done.out
    assert "    other output Hey.\n    is now       Ho.\n" in done.out


def test_it_is_printed_and_given_as_json(runs: tuple[Path, Path]) -> None:
    old, new = map(str, runs)
    done = synth("diff", old, new, "--limit", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        "1 row the same, 2 with the same texts under another id; 1 gained, 2 lost, 1 changed\n"
    )
    assert "lost to not made 2\n" in done.out
    assert "changed in output 1\n" in done.out
    assert "... 1 more lost" in done.out
    tree: dict[str, Any] = json.loads(synth("diff", old, new, "--json").out)
    assert (tree["same"], tree["gained"], tree["lost"], tree["changed"]) == (1, 1, 2, 1)
    assert len(tree["rows"]["lost"]) == 2
    assert synth("diff", old, old + "x").code == 2


def test_a_run_that_is_not_finished_is_said_to_be_none(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, name, OLD) for name in ("one", "two")]
    assert "not finished" not in synth("diff", *runs).err
    state = json.loads((runs[1] / "run.json").read_text())
    (runs[1] / "run.json").write_text(json.dumps(state | {"status": "stopped"}))
    done = synth("diff", *runs)
    assert done.code == 0
    assert done.err.count("not finished") == 1
    assert str(runs[1]) in done.err
