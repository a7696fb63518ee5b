"""Rows from a file or a run."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.stage import Drop
from pipeline.stages import read_input
from tests.conftest import RunSynth
from tests.run import books

ROWS = [{"instruction": f"Name river number {n} of Asia.", "input": "", "output": "x", "more": n}
        for n in range(25)]  # fmt: skip


def test_a_row_of_a_file_is_called_after_its_line() -> None:
    row = read_input.read(7, {"instruction": "Name it.", "output": "x", "more": 5}, "a.jsonl")
    assert row == {
        "row_id": "import-000007-00", "origin": "import", "source": "a.jsonl",
        "root_id": "import-000007-00", "instruction": "Name it.", "input": None, "output": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"instruction": 5}, "not_text"),
        ({"instruction": "x", "output": ["a"]}, "not_text"),
        ({"instruction": ""}, "empty_instruction"),
        ({"instruction": " \n"}, "empty_instruction"),
        ({"instruction": None}, "empty_instruction"),
        ({}, "empty_instruction"),
    ],
)
def test_what_is_no_row_is_dropped_by_name(found: dict[str, object], reason: str) -> None:
    entry = read_input.read(0, found, "a")
    assert isinstance(entry, Drop)
    assert (entry.reason, entry.row["row_id"]) == (reason, "import-000000-00")


VALUES = st.none() | st.text() | st.integers() | st.lists(st.text())


@given(st.dictionaries(st.sampled_from(read_input.TEXTS), VALUES))
def test_any_row_is_a_row_or_a_named_drop(found: dict[str, object]) -> None:
    entry = read_input.read(0, found, "a")
    if isinstance(entry, Drop):
        assert entry.reason in ("not_text", "empty_instruction")
    else:
        assert {name: entry[name] for name in found} == found


@pytest.fixture(params=["jsonl", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"rows.{request.param}"
    if request.param == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def test_a_file_is_read_whole_and_in_order(
    run_synth: RunSynth, source: Path, tmp_path: Path
) -> None:
    run_synth(tmp_path / "run", "shard_rows=10", recipe="dedup", input=str(source))
    rows = books.rows(tmp_path / "run", "import")
    assert [row["instruction"] for row in rows] == [row["instruction"] for row in ROWS]
    assert {row["source"] for row in rows} == {source.name}
    assert len(books.stage_json(tmp_path / "run", "import")["parts"]) == 3


def test_a_limit_is_the_rows_read_and_may_be_raised(
    run_synth: RunSynth, source: Path, tmp_path: Path
) -> None:
    for limit in (7, 12):
        run_synth(tmp_path / "run", recipe="dedup", input=str(source), limit=limit)
        assert len(books.rows(tmp_path / "run", "dedup")) == limit
    with pytest.raises(Exception, match="was 12 and is 3"):
        run_synth(tmp_path / "run", recipe="dedup", input=str(source), limit=3)


def test_a_run_is_an_input(run_synth: RunSynth, small_run: Path, tmp_path: Path) -> None:
    run_synth(tmp_path / "run", recipe="dedup", input=str(small_run))
    old, new = books.rows(small_run, "dedup"), books.rows(tmp_path / "run", "dedup")
    assert new == old
    run_synth(tmp_path / "tasks", recipe="classify", input=f"{small_run}:bootstrap")
    tasks = books.rows(tmp_path / "tasks", "classify")
    assert [row["row_id"] for row in tasks] == [
        r["row_id"] for r in books.rows(small_run, "bootstrap")
    ]


def test_a_stage_that_needs_what_the_data_lacks_is_refused(
    run_synth: RunSynth, small_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="reads column 'output'"):
        run_synth(tmp_path / "run", recipe="dedup", input=f"{small_run}:bootstrap")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"instruction": "x"}\n{"no": 1}\n', "line 2: no object with 'instruction'"),
        ("a.jsonl", b'{"instruction": "x"}\n{\n', "line 2: not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("a.parquet", b"PAR1 not really", "not Parquet"),
        ("a.parquet", b"", "not Parquet"),
        ("a.csv", b"a,b\n", "is .parquet or .jsonl"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    run_synth: RunSynth, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        run_synth(tmp_path / "run", recipe="dedup", input=str(tmp_path / name))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", ["nowhere.jsonl", "nowhere", "x" * 300])
def test_an_input_that_is_not_there_is_refused(
    run_synth: RunSynth, tmp_path: Path, where: str
) -> None:
    with pytest.raises(InputError, match="no such run or file"):
        run_synth(tmp_path / "run", recipe="dedup", input=where)


def test_half_a_character_in_a_row_costs_that_row_alone(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in ROWS[:5]]
    lines[2] = '{"instruction": "Name \\ud800 rivers.", "input": "", "output": "x"}'
    path.write_text("\n".join(lines), encoding="utf-8")
    run_synth(tmp_path / "run", recipe="dedup", input=str(path))
    assert len(books.rows(tmp_path / "run", "dedup")) == 4
    (dropped,) = books.rows(tmp_path / "run", "import", "dropped")
    assert dropped["drop_reason"] == "not_text"
