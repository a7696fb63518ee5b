"""The same rows from every kind of file, and what is said of files that are none."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.run.inputs import columns
from pipeline.run.source import open_source
from pipeline.stage import Drop
from pipeline.stages.read_input import Config
from tests.conftest import RunSynth
from tests.run import books

ROWS: list[dict[str, Any]] = [
    {"instruction": f"Name river number {n} of Asia, “please”.", "input": "", "output": f"x,\n{n}"}
    for n in range(25)
]
TURNS = [
    {"messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": "Yes?"},
                  {"role": "user", "content": "Bye"}]}
    for n in range(25)
]  # fmt: skip
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def to_csv(path: Path) -> None:
    cells = [["instruction", "input", "output"], *([*row.values()] for row in ROWS)]
    quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in cells)
    path.write_text("\r\n".join(quoted) + "\r\n", encoding="utf-8-sig", newline="")


def to_parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)


def to_shards(path: Path) -> None:
    path.mkdir()
    to_parquet(path / "train-00000-of-00002.parquet", ROWS[:7])
    to_parquet(path / "train-00001-of-00002.parquet", ROWS[7:])
    (path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Rows\n", encoding="utf-8")


def to_shards_of_which_some_have_no_row(path: Path) -> None:
    path.mkdir()
    to_parquet(path / "b.parquet")
    none = pa.Table.from_pylist(ROWS).slice(0, 0)
    pq.write_table(none, path / "a.parquet", use_dictionary=False, compression="none")
    pq.write_table(none, path / "c.parquet")


def to_line_shards(path: Path) -> None:
    path.mkdir()
    (path / "a.jsonl").write_bytes(b"".join(LINES.splitlines(keepends=True)[:7]))
    (path / "b.jsonl").write_bytes(b"".join(LINES.splitlines(keepends=True)[7:]))


def to_zst(path: Path) -> None:
    path.write_bytes(pa.compress(LINES, codec="zstd", asbytes=True))


MAKERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(LINES),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "rows.jsonl.zst": to_zst,
    "rows.json": lambda path: path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8"),
    "lines.json": lambda path: path.write_bytes(LINES),
    "rows.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "rows.csv": to_csv,
    "rows.parquet": to_parquet,
    "shards": to_shards,
    "shards-without-rows": to_shards_of_which_some_have_no_row,
    "line-shards": to_line_shards,
}


def rows_of(path: Path, **given: Any) -> list[Any]:
    return list(open_source(str(path), Config.model_validate(given)).rows())


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_rows_come_from_every_kind_of_file(
    name: str, run_synth: RunSynth, tmp_path: Path
) -> None:
    MAKERS[name](tmp_path / name)
    run_synth(tmp_path / "run", "shard_rows=10", recipe="dedup", input=str(tmp_path / name))
    rows = books.rows(tmp_path / "run", "import")
    assert [{key: row[key] for key in ROWS[0]} for row in rows] == ROWS
    assert [row["row_id"] for row in rows] == [f"import-{n:06d}-00" for n in range(25)]
    assert {row["source"] for row in rows} == {name}
    assert {row["license"] for row in rows} == {"cc-by-4.0" if name == "shards" else None}
    assert len(books.stage_json(tmp_path / "run", "import")["parts"]) == 3


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "shards", "rows.json"])
def test_rows_read_as_columns_are_those_read_one_by_one(
    name: str, run_synth: RunSynth, tmp_path: Path
) -> None:
    MAKERS[name](tmp_path / name)
    run_synth(tmp_path / "run", "shard_rows=10", recipe="dedup", input=str(tmp_path / name))
    found = [{key: value for key, value in row.items() if value is not None}
             for row in books.rows(tmp_path / "run", "import")]  # fmt: skip
    assert found == [
        {key: value for key, value in row.items() if value is not None}
        for row in rows_of(tmp_path / name)
    ]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two splits as the `datasets` package saves them."""
    datasets = pytest.importorskip("datasets", reason="needs the extra data")
    both = datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS), test=datasets.Dataset.from_list(TURNS)
    )
    both.save_to_disk(tmp_path / "saved", num_shards={"train": 3, "test": 1})
    return tmp_path / "saved"


def test_a_saved_data_set_is_read_by_its_split(
    saved: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"import\.split=NAME  of train, test"):
        open_source(str(saved), Config.model_validate({}))
    run_synth(tmp_path / "run", "import.split=train", recipe="dedup", input=str(saved))
    rows = books.rows(tmp_path / "run", "import")
    assert [{key: row[key] for key in ROWS[0]} for row in rows] == ROWS
    run_synth(tmp_path / "turns", "import.split=test", recipe="dedup", input=str(saved))
    rows = books.rows(tmp_path / "turns", "import")
    assert [row["messages"] for row in rows] == [row["messages"] for row in TURNS]
    assert rows[3]["instruction"] == "Hi 3"
    assert len(rows_of(saved / "train")) == 25


def test_a_saved_data_set_cannot_name_files_outside_it(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "other.arrow").write_bytes(next((saved / "train").glob("*.arrow")).read_bytes())
    listed = {"_data_files": [{"filename": "../../other.arrow"}]}
    (saved / "train" / "state.json").write_text(json.dumps(listed), encoding="utf-8")
    with pytest.raises(InputError, match="is no name of a file below it"):
        rows_of(saved, split="train")
    (saved / "dataset_dict.json").write_text('{"splits": ["../.."]}', encoding="utf-8")
    with pytest.raises(InputError, match="is no name of a file below it"):
        rows_of(saved)


def test_a_packed_arrow_file_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(tmp_path / "rows.arrow", table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="packed"):
        rows_of(tmp_path / "rows.arrow")


def test_an_arrow_file_that_was_cut_or_changed_never_crashes(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    whole = (tmp_path / "rows.arrow").read_bytes()
    refused = 0
    for at in range(0, len(whole), 97):
        for changed in (whole[:at], whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]):
            (tmp_path / "rows.arrow").write_bytes(changed)
            try:
                rows = rows_of(tmp_path / "rows.arrow")
            except InputError:
                refused += 1
            else:
                assert len(rows) <= 25
    assert refused > 5


def test_conversations_are_read_where_a_writer_gave_its_dictionary_up(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"{n} {n % 7}" * 50},
                          {"role": "assistant", "content": str(n) * (n % 90)}] * 2}
            for n in range(3000)]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "rows.parquet", dictionary_pagesize_limit=20_000,
                   data_page_size=5000, row_group_size=1700)  # fmt: skip
    assert [row["messages"] for row in rows_of(tmp_path / "rows.parquet")] == [
        row["messages"] for row in rows
    ]


def test_a_split_chooses_the_shards_of_a_folder(tmp_path: Path) -> None:
    to_shards(tmp_path / "shards")
    to_parquet(tmp_path / "shards" / "test-00000-of-00001.parquet", ROWS[:3])
    assert len(rows_of(tmp_path / "shards", split="test")) == 3
    assert len(rows_of(tmp_path / "shards", split="train")) == 25
    with pytest.raises(InputError, match="of split 'tes'"):
        rows_of(tmp_path / "shards", split="tes")


def test_a_licence_that_is_set_goes_before_that_of_the_card(tmp_path: Path) -> None:
    to_shards(tmp_path / "shards")
    assert {row["license"] for row in rows_of(tmp_path / "shards", license="MIT")} == {"MIT"}
    card = tmp_path / "shards" / "README.md"
    card.write_text("---\nlicense:\n- mit\n- apache-2.0\nsize: 5\n---\n", encoding="utf-8")
    assert {row["license"] for row in rows_of(tmp_path / "shards")} == {"mit, apache-2.0"}


def test_another_licence_is_another_input(tmp_path: Path) -> None:
    to_shards(tmp_path / "shards")
    one = open_source(str(tmp_path / "shards"), Config.model_validate({}))
    (tmp_path / "shards" / "README.md").unlink()
    other = open_source(str(tmp_path / "shards"), Config.model_validate({}))
    assert one.fingerprint != other.fingerprint


def test_bad_rows_are_dropped_and_the_others_stay(run_synth: RunSynth, tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in ROWS]
    lines[3], lines[5], lines[7] = '["a"]', '{"output": "no instruction"}', '{"instruction": 5}'
    lines[9] = json.dumps({"instruction": "a" * 5000})
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    source = str(tmp_path / "rows.jsonl")
    run_synth(tmp_path / "run", "import.row_bytes=4000", recipe="dedup", input=source)
    assert {(row["row_id"], row["drop_reason"])
            for row in books.rows(tmp_path / "run", "import", "dropped")} == {
        ("import-000003-00", "no_object"), ("import-000005-00", "empty_instruction"),
        ("import-000007-00", "not_text"), ("import-000009-00", "row_too_large"),
    }  # fmt: skip
    assert len(books.rows(tmp_path / "run", "import")) == 21


@pytest.mark.parametrize("bad", [b"a\xff", b"\xed\xa0\x80"])
def test_a_text_that_is_not_unicode_costs_its_row_alone(
    bad: bytes, run_synth: RunSynth, tmp_path: Path
) -> None:
    texts = [b"Name a river.", bad, b"Name a lake.", b"", b"x" * 5000]
    binary = pa.array(texts, pa.binary())
    wrong = pa.Array.from_buffers(pa.string(), len(texts), binary.buffers())
    table = pa.table({"instruction": wrong, "input": [""] * 5, "output": ["x"] * 5})
    pq.write_table(table, tmp_path / "rows.parquet")
    source = str(tmp_path / "rows.parquet")
    run_synth(tmp_path / "run", "import.row_bytes=4000", recipe="dedup", input=source)
    dropped = books.rows(tmp_path / "run", "import", "dropped")
    assert [(row["row_id"], row["drop_reason"]) for row in dropped] == [
        ("import-000001-00", "not_text"), ("import-000003-00", "empty_instruction"),
        ("import-000004-00", "row_too_large"),
    ]  # fmt: skip
    assert len(books.rows(tmp_path / "run", "import")) == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'[{"instruction": "x"},\n\n {"instruction": }]', "line 3: not JSON"),
        ("a.json", b'[{"instruction": "x"},\n', "line 2: not JSON"),
        ("a.json", b'[{"instruction": "\xff"}]', "line 1: not UTF-8"),
        ("a.json", b"[" * 100_000, "line 1: not JSON"),
        ("a.json", b'{\n "data": []}', "Rows are an array of objects, or one object a line."),
        ("a.json", b"[]", "no rows"),
        ("a.csv", b'instruction\na\n"b" c\n', "line 3: not CSV"),
        ("a.csv", b'instruction\na\n"b\n', "line 3: not CSV"),
        ("a.csv", b"instruction\na\n\xff\n", "line 3: not UTF-8"),
        ("a.jsonl", b'{"instruction": "x"}\n{"instruction": "\xff"}\n', "line 2: not JSON"),
        ("a.jsonl.gz", b"no gzip", "cannot be unpacked"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-9], "cannot be unpacked"),
        ("a.jsonl.zst", b"no zstd", "cannot be unpacked"),
        ("a.jsonl.zst", pa.compress(LINES, codec="zstd", asbytes=True)[:-9], "cannot be unpacked"),
        ("a.arrow", b"ARROW1 or not", "not an Arrow stream"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_name_and_line(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        rows_of(tmp_path / name)
    assert name.split(".")[0] in str(caught.value)


def test_a_csv_row_with_more_cells_than_names_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,output\na,b\nc,d,e\nf\n", encoding="utf-8")
    one, two, three = rows_of(tmp_path / "a.csv")
    assert (one["instruction"], one["output"]) == ("a", "b")
    assert isinstance(two, Drop)
    assert two.reason == "too_many_fields"
    assert (three["instruction"], three["output"]) == ("f", None)


def test_a_field_that_only_later_rows_have_is_read(tmp_path: Path) -> None:
    lines = '{"instruction": "a"}\n{"instruction": "b", "output": "c"}\n'
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    assert [row["output"] for row in rows_of(tmp_path / "a.jsonl")] == [None, "c"]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_a_part_ends_where_its_texts_are_many(
    name: str, run_synth: RunSynth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.run.importing.PART_BYTES", 200)
    MAKERS[name](tmp_path / name)
    run_synth(tmp_path / "run", recipe="dedup", input=str(tmp_path / name))
    assert len(books.stage_json(tmp_path / "run", "import")["parts"]) > 3
    assert [row["output"] for row in books.rows(tmp_path / "run", "import")] == [
        row["output"] for row in ROWS
    ]


def test_batches_hold_few_bytes_and_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "BATCH_BYTES", 300)
    to_parquet(tmp_path / "rows.parquet", TURNS)
    source = open_source(str(tmp_path / "rows.parquet"), Config.model_validate({}))
    found = list(source.batches(4))
    assert all(batch.rows == 1 or batch.sizes.sum() <= 300 for batch in found)
    assert len(found) > 3
    assert [row for batch in found for row in batch.columns.to_pylist()] == TURNS[4:]


def test_rows_of_several_shapes_are_each_read_by_their_own(
    run_synth: RunSynth, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    spoken = [{"from": "human", "value": "Hi there"}, {"from": "gpt", "value": "Hello"}]
    files = {
        "a": [{"instruction": "Name a river.", "output": "The Po.", "license": "MIT"},
              {"instruction": "Name a lake.", "response": "Garda.", "source": "me"},
              {"instruction": None, "messages": None, "prompt": "Name a sea.", "output": "Red."}],
        "b": [{"conversations": spoken}, {"id": 7, "body": "Sea."}, {"output": "Of none."}],
        "c": [{"instruction": "Name a bay.", "instances": [{"input": "", "output": "Baffin."}]}],
    }  # fmt: skip
    for name, rows in files.items():
        text = "\n".join(json.dumps(row) for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    run_synth(tmp_path / "run", recipe="dedup", input=str(folder))
    kept = books.rows(tmp_path / "run", "import")
    assert [(row["row_id"], row["instruction"], row["output"]) for row in kept] == [
        ("import-000000-00", "Name a river.", "The Po."),
        ("import-000001-00", "Name a lake.", "Garda."),
        ("import-000002-00", "Name a sea.", "Red."),
        ("import-000003-00", "Hi there", "Hello"),
        ("import-000006-00", "Name a bay.", "Baffin."),
    ]
    assert [row["license"] for row in kept] == ["MIT", None, None, None, None]
    assert [row["source"] for row in kept] == ["rows", "me", "rows", "rows", "rows"]
    dropped = books.rows(tmp_path / "run", "import", "dropped")
    assert [(row["row_id"], row["drop_reason"], row["drop_detail"]) for row in dropped] == [
        ("import-000004-00", "unknown_shape", "fields 'id', 'body'"),
        ("import-000005-00", "unknown_shape", "fields 'output'"),
    ]


def size_of(found: object, kind: pa.DataType) -> int:
    """The bytes of an entry, one value after the other."""
    if pa.types.is_dictionary(kind):
        return size_of(found, kind.value_type)
    if isinstance(found, str):
        return len(found.encode())
    if isinstance(found, dict):
        return 8 + sum(size_of(found[kind.field(at).name], kind.field(at).type)
                       for at in range(kind.num_fields))  # fmt: skip
    if isinstance(found, list):
        inner = kind.value_type
        texts = 0 if pa.types.is_nested(inner) or pa.types.is_integer(inner) else 8
        return 8 + sum(size_of(one, inner) + texts for one in found)
    return 8


TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
LONG = [{"role": "user", "content": "ä" * n} for n in range(40)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(TURN), [LONG[:3], [], LONG[3:30], LONG[30:]]),
        (pa.list_(pa.list_(TURN)), [[LONG[:2], []], [], [LONG[2:9], LONG[9:]]]),
        (pa.list_(pa.string()), [["a", "", "bc"], [], ["ä"] * 20]),
        (pa.list_(pa.int32()), [[1, 2], [], [3] * 25]),
        (pa.list_(TURN, 2), [LONG[:2], LONG[2:4], LONG[38:]]),
        (pa.list_(pa.int64(), 3), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (pa.struct([("a", pa.int8()), ("b", pa.bool_())]), [{"a": 1, "b": True}] * 3),
        (pa.struct([("a", pa.list_(pa.string()))]), [{"a": ["x"]}, {"a": []}, {"a": ["yy"]}]),
        (pa.string(), ["a", "", "ä"]),
    ],
    ids=str,
)
def test_a_row_is_as_large_as_what_it_holds(
    kind: pa.DataType, values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "STRETCH", 7)
    whole = pa.array([values[-1], *values, values[0]], kind)
    for array in (whole, whole.slice(1), whole.slice(1, len(values)), whole.slice(2, 1)):
        sizes = [size_of(one, kind) for one in array.to_pylist()]
        assert columns._sizes(array).tolist() == sizes
    monkeypatch.setattr(columns, "MANY", 10)  # of a longer list it is enough that it is too large
    found = columns._sizes(whole).tolist()
    sizes = [size_of(one, kind) for one in whole.to_pylist()]
    assert all(a == b or a >= 8 * 10 for a, b in zip(found, sizes, strict=True))


def test_a_line_with_a_number_that_python_does_not_read_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ('{"instruction": "a", "n": 1}', '{"instruction": "b", "n": %s}' % ("9" * 5000))
    path.write_text("\n".join([*lines, '{"instruction": "c", "n": 2}']))
    assert [getattr(row, "reason", None) for row in rows_of(path)] == [
        None,
        "number_too_long",
        None,
    ]
