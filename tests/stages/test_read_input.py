"""Rows from a file or a run."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.stage import Drop, Row
from pipeline.stages import read_input
from pipeline.stages.input_shapes import Shape, recognise
from pipeline.stages.read_input import TEXTS, Reading
from tests.conftest import RunSynth
from tests.run import books

ROWS = [{"instruction": f"Name river number {n} of Asia.", "input": "", "output": "x", "more": n}
        for n in range(25)]  # fmt: skip


def how(found: dict[str, object] | None = None, **given: Any) -> Reading:
    """How a file of such rows is read."""
    shape = recognise(list(found or TEXTS), columns=given.pop("columns", {}))
    assert shape is not None
    return Reading(shape, "a.jsonl", **given)


def rows_of(found: dict[str, object], **given: Any) -> list[Row | Drop]:
    return read_input.read(7, found, how(found, **given))


def test_a_row_of_a_file_is_called_after_its_number() -> None:
    (row,) = rows_of({"instruction": "Name it.", "output": "x", "more": 5})
    assert row == {
        "row_id": "import-000007-00", "origin": "import", "source": "a.jsonl", "license": None,
        "root_id": "import-000007-00", "instruction": "Name it.", "input": None, "output": "x",
        "other_output": None,
    }  # fmt: skip


ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
         {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Name a river."},
         {"role": "assistant", "content": "The Po."}]  # fmt: skip
SPOKEN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        ({"instruction": "a", "input": "b", "output": "c"}, ("a", "b", "c")),
        ({"instruction": "a", "context": "b", "response": "c"}, ("a", "b", "c")),
        ({"prompt": "a", "completion": "c"}, ("a", None, "c")),
        ({"prompt": "a", "response": "c"}, ("a", None, "c")),
        ({"conversations": SPOKEN}, ("Hi", None, "Hello")),
        ({"messages": ASKED}, ("Hi", None, "Hello")),
        ({"prompt": ASKED[:2], "completion": ASKED[2:3]}, ("Hi", None, "Hello")),
        ({"instruction": "a", "instances": [{"input": "b", "output": "c"}]}, ("a", "b", "c")),
    ],
)
def test_known_shapes_are_recognised(found: dict[str, object], texts: tuple[str, ...]) -> None:
    (row,) = rows_of(found)
    assert isinstance(row, dict)
    assert tuple(row.get(name) for name in TEXTS[:3]) == texts


ASK, GOOD, POOR = "Name a river.", "The Po.", "A river is wet."
QUESTION = [{"role": "user", "content": ASK}]
GOOD_TURN = [{"role": "assistant", "content": GOOD}]
POOR_TURN = [{"role": "assistant", "content": POOR}]


@pytest.mark.parametrize("prompt", [ASK, QUESTION])
@pytest.mark.parametrize("chosen", [GOOD, GOOD_TURN, QUESTION + GOOD_TURN])
@pytest.mark.parametrize("rejected", [POOR, POOR_TURN, QUESTION + POOR_TURN])
def test_a_rejected_answer_is_no_turn_whether_texts_or_turns_are_given(
    prompt: object, chosen: object, rejected: object
) -> None:
    (row,) = rows_of({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert isinstance(row, dict)
    assert [row[name] for name in TEXTS] == [ASK, None, GOOD, POOR]
    assert "messages" not in row


def test_a_system_prompt_stays_and_the_rejected_answer_is_beside_it() -> None:
    told = ASKED[:1] + QUESTION
    (row,) = rows_of({"prompt": told, "chosen": GOOD_TURN, "rejected": POOR_TURN})
    assert isinstance(row, dict)
    assert (row["output"], row["other_output"]) == (GOOD, POOR)
    assert row["messages"] == told + GOOD_TURN


def test_a_rejected_answer_to_a_later_turn_is_no_answer_to_the_first() -> None:
    (row,) = rows_of({"prompt": ASKED[:4], "chosen": GOOD_TURN, "rejected": POOR_TURN})
    assert isinstance(row, dict)
    assert (row["output"], row["other_output"]) == ("Hello", None)
    assert row["messages"] == ASKED[:4] + GOOD_TURN


@pytest.mark.parametrize(
    ("found", "reason", "detail"),
    [
        ({"prompt": QUESTION, "completion": 5}, "not_text", "output is a int"),
        ({"prompt": ASK, "chosen": ["a"]}, "not_text", "output is a list"),
        ({"prompt": QUESTION, "chosen": ["a"]}, "no_conversation", "output: turn 0 is a str"),
        ({"prompt": ASK, "chosen": QUESTION, "rejected": [{}]}, "unknown_role",
         "other_output: turn 0 is by 'None'"),
        ({"instruction": ASK, "input": "a", "output": GOOD_TURN}, "not_text",
         "input stands beside turns"),
    ],
)  # fmt: skip
def test_turns_that_cannot_be_read_name_their_field(
    found: dict[str, object], reason: str, detail: str
) -> None:
    (drop,) = rows_of(found)
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.detail) == (reason, detail)


def test_several_answers_may_be_turns() -> None:
    found = {"prompt": ASK, "a": GOOD_TURN, "b": QUESTION + POOR_TURN}
    (row,) = rows_of(found, answers=("a", "b"))
    assert isinstance(row, dict)
    said = [{"source": "a", "text": GOOD}, {"source": "b", "text": POOR}]
    assert row["answers"] == said
    (drop,) = rows_of(found | {"a": ASKED}, answers=("a", "b"))
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.detail) == ("not_one_answer", "a has 5 turns")


def test_other_fields_are_named_by_the_recipe() -> None:
    found: dict[str, object] = {"question": "a", "answer": "c", "by": "me", "instruction": "no"}
    columns = {"instruction": "question", "output": "answer", "source": "by"}
    (row,) = rows_of(found, columns=columns)
    assert isinstance(row, dict)
    assert [row[name] for name in (*TEXTS[:3], "source")] == ["a", None, "c", "me"]
    assert recognise(list(found), columns={"instruction": "nowhere"}) is None


@pytest.mark.parametrize(
    ("right", "taken"),
    [("15", "15"), (15, "15"), (1.5, "1.5"), (None, None), (["15"], None), (True, None)],
)
def test_the_right_answer_is_a_text_or_a_number(right: object, taken: str | None) -> None:
    (row,) = rows_of({"instruction": "a", "reference": right})
    assert isinstance(row, dict)
    assert row["reference"] == taken
    columns = {"instruction": "q", "reference": "ref"}
    (named,) = rows_of({"q": "a", "ref": right}, columns=columns, named=frozenset({"reference"}))
    if isinstance(named, Drop):
        assert (named.reason, named.row["row_id"]) == ("not_text", "import-000007-00")
        assert isinstance(right, list | bool)
    else:
        assert named["reference"] == taken


@pytest.mark.parametrize(
    ("target", "found", "taken"),
    [
        ("rating", 4, 4.0), ("rating", "4.5", 4.5), ("rating", "", None), ("rating", None, None),
        ("rating", True, Drop("not_number", "rating is a bool")),
        ("rating", "nan", Drop("not_number", "rating is a str")),
        ("rating", [4], Drop("not_number", "rating is a list")),
        ("rating", " 4 ", 4.0), ("rating", "-1e1", -10.0), ("rating", -1.5, -1.5),
        ("rating", "4_5", Drop("not_number", "rating is a str")),
        ("rating", "４.５", Drop("not_number", "rating is a str")),
        ("embedding", [1, 0.5], [1.0, 0.5]), ("embedding", None, None),
        ("embedding", [], Drop("no_vector", "embedding is a list, not a list of finite numbers")),
        ("embedding", [1e99],
         Drop("no_vector", "embedding is a list, not a list of finite numbers")),
        ("embedding", [10**400],
         Drop("no_vector", "embedding is a list, not a list of finite numbers")),
        ("embedding", "[1]", Drop("no_vector", "embedding is a str, not a list of finite numbers")),
    ],
)  # fmt: skip
def test_ratings_and_vectors_are_finite_numbers(target: str, found: object, taken: object) -> None:
    (row,) = rows_of({"instruction": "a", target: found})
    assert isinstance(row, dict)
    value = None if row[target] is None else pl.Series([row[target]]).to_list()[0]
    assert value == (None if isinstance(taken, Drop) else taken)
    columns = {"instruction": "q", target: "own"}
    (named,) = rows_of({"q": "a", "own": found}, columns=columns, named=frozenset({target}))
    assert isinstance(named, Drop) == isinstance(taken, Drop)
    if isinstance(named, Drop) and isinstance(taken, Drop):
        assert (named.reason, named.detail) == (taken.reason, taken.detail)


def test_every_instance_and_conversation_has_the_right_answer_of_its_row() -> None:
    instances = [{"input": "b", "output": "c"}, {"input": "d", "output": "e"}]
    for found in ({"instruction": "a", "instances": instances}, {"messages": ASKED}):
        rows = rows_of({**found, "reference": "15"})
        assert [row["reference"] for row in rows if isinstance(row, dict)] == ["15"] * len(rows)


def test_texts_without_an_instruction_are_taken_where_they_are_asked_for() -> None:
    assert recognise(["text"], columns={}) is None
    shape = recognise(["text", "id"], shape="text", columns={})
    assert shape is not None
    reading = Reading(shape, "a.jsonl")
    (row,) = read_input.read(0, {"text": "Garda is a lake.", "id": 7}, reading)
    assert not isinstance(row, Drop)
    assert (row["instruction"], row["input"], row["output"]) == (None, None, "Garda is a lake.")
    (empty,) = read_input.read(1, {"text": " "}, reading)
    assert isinstance(empty, Drop)
    assert empty.reason == "empty_output"


def test_a_field_of_another_name_can_be_the_text() -> None:
    config = read_input.Config(shape="text", columns={"output": "body"})
    shape = recognise(["body"], shape="text", columns=config.columns)
    assert shape is not None
    assert shape.fields == {"output": "body"}


def test_a_conversation_of_several_turns_is_kept_whole() -> None:
    (row,) = rows_of({"messages": ASKED})
    assert isinstance(row, dict)
    assert row["messages"] == ASKED
    (row,) = rows_of({"conversations": SPOKEN})
    assert isinstance(row, dict)
    assert "messages" not in row  # instruction and output say it all


def test_user_turns_can_serve_as_a_pool() -> None:
    rows = rows_of({"messages": ASKED}, turns="user")
    assert [(row["row_id"], row["instruction"], row["output"]) for row in rows
            if isinstance(row, dict)] == [
        ("import-000007-00", "Hi", None), ("import-000007-01", "Name a river.", None),
    ]  # fmt: skip
    assert {row["root_id"] for row in rows if isinstance(row, dict)} == {"import-000007-00"}


def test_a_row_says_where_it_is_from_and_under_which_licence() -> None:
    found: dict[str, object] = {"instruction": "a", "source": "dolly", "license": "CC-BY-SA-3.0"}
    for licence in (None, "MIT"):
        (row,) = rows_of(found, license=licence)
        assert isinstance(row, dict)
        assert (row["source"], row["license"]) == ("dolly", "CC-BY-SA-3.0")
    (row,) = rows_of({"instruction": "a", "source": " ", "license": None}, license="MIT")
    assert isinstance(row, dict)
    assert (row["source"], row["license"]) == ("a.jsonl", "MIT")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"messages": "hello"}, "no_conversation"),
        ({"messages": []}, "no_conversation"),
        ({"messages": ["hello"]}, "no_conversation"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no_user_turn"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": 5}]}, "not_text"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "not_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "not_text"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty_instruction"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "", "tool_calls": [{}]}]},
         "tool_call"),
        ({"instruction": "a", "instances": []}, "no_instance"),
        ({"instruction": "a", "instances": ["b"]}, "no_instance"),
        ({"instruction": 5, "instances": [{"input": "", "output": ""}]}, "not_text"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_dropped_by_name(found: dict[str, object], reason: str) -> None:
    (entry,) = rows_of(found)
    assert isinstance(entry, Drop)
    assert (entry.reason, entry.row["row_id"]) == (reason, "import-000007-00")


def test_parts_of_text_make_one_turn() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (row,) = rows_of({"messages": [{"role": "user", "content": parts}]})
    assert isinstance(row, dict)
    assert row["instruction"] == "a\nb"


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
    (entry,) = read_input.read(0, found, how())
    assert isinstance(entry, Drop)
    assert (entry.reason, entry.row["row_id"]) == (reason, "import-000000-00")


VALUES = st.none() | st.text() | st.integers() | st.lists(st.text())


@given(st.dictionaries(st.sampled_from(TEXTS), VALUES))
def test_any_row_is_a_row_or_a_named_drop(found: dict[str, object]) -> None:
    for entry in read_input.read(0, found, how()):
        if isinstance(entry, Drop):
            reasons = ("not_text", "empty_instruction", "no_conversation", "no_user_turn")
            assert entry.reason in reasons
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
    run_synth(tmp_path / "run", recipe="dedup", input=str(source))
    with pytest.raises(Exception, match="was null and is 12"):
        run_synth(tmp_path / "run", recipe="dedup", input=str(source), limit=12)


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
        ("a.jsonl", b'{"no": 1}\n', "its fields 'no' have no shape"),
        ("a.jsonl", b"5\n", "no rows"),
        ("a.jsonl", b'{"instruction": "x"}\n{\n', "line 2: not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("a.parquet", b"PAR1 not really", "not Parquet"),
        ("a.parquet", b"", "not Parquet"),
        ("a.csv", b"a,b\n", "has no rows"),
        ("a.xlsx", b"a,b\n", r"a file is \.parquet"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    run_synth: RunSynth, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        run_synth(tmp_path / "run", recipe="dedup", input=str(tmp_path / name))
    assert not (tmp_path / "run").exists()


def test_a_field_that_is_named_and_not_there_is_said(run_synth: RunSynth, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "x", "output": "y"}\n', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        run_synth(
            tmp_path / "run",
            "import.columns={instruction: question}",
            recipe="dedup",
            input=str(tmp_path / "a.jsonl"),
        )
    assert str(caught.value) == (
        f"--input {tmp_path / 'a.jsonl'} has no field 'question' (import.columns); it has "
        "'instruction', 'output'."
    )


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


LABELLED = {"text": "It rains.", "label": 0, "tags": ["B-X", "O"], "more": {"a": 1}}


def test_the_fields_of_labelled_data_are_texts_under_their_names() -> None:
    shape = recognise(["reference"], columns={})
    assert shape is None
    how_read = Reading(Shape({}), "a.jsonl", labelled=("text", "label", "tags", "none"))
    (row,) = read_input.read(7, LABELLED, how_read)
    assert isinstance(row, dict)
    assert row["fields"] == [
        {"name": "text", "text": "It rains."},
        {"name": "label", "text": "0"},
        {"name": "tags", "text": '["B-X", "O"]'},
        {"name": "none", "text": None},
    ]
    assert row["instruction"] is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"text": None}, "no_fields"),
        ({"text": ""}, "no_fields"),
        ({"text": {"a": 1}}, "not_text"),
        ({"text": [["a"]]}, "not_text"),
        ({"text": float("nan")}, "not_text"),
        ({"text": "\ud800"}, "not_text"),
        ({"text": ["\ud800"]}, "not_text"),
    ],
)
def test_a_row_whose_fields_hold_no_text_is_dropped(found: dict[str, object], reason: str) -> None:
    (drop,) = read_input.read(7, found, Reading(Shape({}), "a.jsonl", labelled=("text",)))
    assert isinstance(drop, Drop)
    assert drop.reason == reason


def test_a_chain_of_thought_is_taken_in_only_under_the_name_that_is_given() -> None:
    found: dict[str, object] = {"instruction": "Add 2 and 2.", "output": "4", "why": "Two and two."}
    (row,) = rows_of(found)
    assert "reasoning" not in row
    (row,) = rows_of(found, columns={"reasoning": "why"})
    assert isinstance(row, dict)
    assert row["reasoning"] == "Two and two."


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_labelled_data_is_taken_in_from_files(tmp_path: Path, name: str) -> None:
    rows = [{"text": "It rains.", "label": 0}, {"text": None, "label": None}]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    recipe = "name: a\nstages:\n  - stage: import\n    fields: [text, label]\n  - stage: clean\n"
    (tmp_path / "a.yaml").write_text(recipe)
    found = prepare(
        Options(str(tmp_path / "a.yaml"), input=str(tmp_path / name), out=str(tmp_path / "run"))
    )
    execute(found, lambda event: None)
    (kept,) = books.rows(tmp_path / "run", "import")
    assert [one["text"] for one in kept["fields"]] == ["It rains.", "0"]
    wrong = Options(
        str(tmp_path / "a.yaml"),
        input=str(tmp_path / name),
        out=str(tmp_path / "new"),
        settings=["import.fields=[text, stars]"],
    )
    with pytest.raises(InputError, match=r"no field 'stars' \(import.fields\); it has 'text'"):
        prepare(wrong)
