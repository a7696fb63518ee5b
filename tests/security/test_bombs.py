"""Hostile files: refused or streamed, in a process whose memory is measured."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.run import books
from tests.security.command import ROOT, environment

MIB = 2**20
MOST_MIB = 256
SMALL_BYTES = 4 * MIB
"""A bomb takes no more room than this on the disk of whoever is given it."""


@dataclass
class Import:
    """How an import of a hostile file ended."""

    code: int
    said: str
    rise: float
    run: Path


def take_in(path: Path, tmp_path: Path, *settings: str) -> Import:
    """Import a file, and hold its memory against that of a small import in the same process."""
    small = tmp_path / "small.parquet"
    rows = [{"instruction": f"Name river {n}.", "output": "x"} for n in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), small)
    line = [sys.executable, "-m", "tests.security.rise", str(small), str(path)]
    done = subprocess.run(
        [*line, str(tmp_path / "out"), *settings],
        env=environment(), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rise"] < MOST_MIB, found
    return Import(found["code"], found["said"], found["rise"], tmp_path / "out" / "run")


def on_disk(path: Path) -> int:
    files = [path] if path.is_file() else list(path.iterdir())
    return sum(file.stat().st_blocks * 512 for file in files)


def repeated(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))


def one_text_in_a_million_rows(path: Path) -> None:
    table = pa.table({"instruction": repeated("x" * 20_000, 100_000)})
    pq.write_table(table, path, compression="zstd", row_group_size=100_000, store_schema=False)


def one_conversation_in_a_million_rows(path: Path) -> None:
    one = pa.array([0, 2], pa.int32())
    turns = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"]), pa.array(["x" * 20_000] * 2)], ["role", "content"]
    )
    rows = pa.ListArray.from_arrays(one, turns)
    with pq.ParquetWriter(path, pa.schema([("messages", rows.type)]), compression="zstd") as file:
        for _ in range(50):
            part = pa.chunked_array([pa.concat_arrays([rows] * 1000)])
            file.write_table(pa.table({"messages": part}))


def a_page_of_a_gibibyte(path: Path) -> None:
    table = pa.table({"instruction": ["x" * MIB] * 150})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, data_page_size=2**30,
                   write_statistics=False, write_batch_size=2**20)  # fmt: skip


def ten_thousand_columns(path: Path) -> None:
    table = pa.table({"instruction": ["Name it."]} | {f"c{n}": [n] for n in range(10_000)})
    pq.write_table(table, path)


def packed_lines(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(300):
            file.write((b'{"instruction": "' + b"x" * 9980 + b'"}\n') * 100)


def packed_zeros(path: Path) -> None:
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as file:
        for _ in range(1024):
            file.write(bytes(MIB))


def a_packed_array(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(b"[")
        for _ in range(300):
            file.write((b'{"instruction": "' + b"x" * 9980 + b'"},\n') * 100)


def a_line_of_ten_gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"instruction": "')
        os.truncate(file.fileno(), 10 * 10**9)


def an_array_of_ten_gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'[{"instruction": "a"}, {"instruction": "')
        os.truncate(file.fileno(), 10 * 10**9)


def a_cell_of_ten_gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'instruction\n"')
        os.truncate(file.fileno(), 10 * 10**9)


def deep(path: Path) -> None:
    path.write_bytes(b'{"instruction": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}\n")


def deep_array(path: Path) -> None:
    path.write_bytes(b'[{"instruction": ' + b'{"a":' * 500_000)


def many_names(path: Path) -> None:
    with path.open("wb") as file:
        for first in range(0, 10_000, 100):
            names = {f"c{n}": 1 for n in range(first, first + 100)}
            file.write(json.dumps({"instruction": "a"} | names).encode() + b"\n")


def deep_columns(path: Path) -> None:
    kind = pa.string()
    for _ in range(200):
        kind = pa.struct([("a", kind)])
    table = pa.schema([("instruction", pa.string()), ("more", kind)]).empty_table()
    pq.write_table(table, path)


def a_text_of_a_gigabyte(path: Path) -> None:
    """An Arrow stream whose first text is a hole in the file."""
    size = 10**9
    schema = pa.schema([("instruction", pa.large_string())])
    hole = path.with_suffix(".hole")
    with hole.open("wb") as file:
        os.truncate(file.fileno(), size + 64)
    with pa.memory_map(str(hole)) as mapped:
        offsets = pa.py_buffer(b"".join(n.to_bytes(8, "little") for n in (0, size, size + 13)))
        texts = pa.Array.from_buffers(
            pa.large_string(), 2, [None, offsets, mapped.read_buffer(size + 13)]
        )
        batch = pa.RecordBatch.from_arrays([texts], schema=schema)
        with pa.ipc.new_stream(path, schema) as writer:
            writer.write_batch(batch)
    hole.unlink()


def write_arrow(path: Path, name: str, column: pa.Array) -> None:
    schema = pa.schema([(name, column.type)])
    with pa.ipc.new_stream(path, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([column], schema=schema))


def one_list(entries: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(entries)], pa.int32()), entries)


def empty_texts(number: int) -> pa.Array:
    offsets = pa.py_buffer(bytes(4 * (number + 1)))
    return pa.Array.from_buffers(pa.string(), number, [None, offsets, pa.py_buffer(b"")])


def a_billion_rows_of_nothing(path: Path) -> None:
    write_arrow(path, "instruction", pa.nulls(10**9))


def a_list_of_nothing(path: Path) -> None:
    write_arrow(path, "messages", one_list(pa.nulls(2**31 - 1)))


def a_fixed_list_of_nothing(path: Path) -> None:
    size = 2**31 - 1
    write_arrow(path, "messages", pa.FixedSizeListArray.from_arrays(pa.nulls(size), size))


def a_list_of_turns_of_nothing(path: Path) -> None:
    kind = pa.struct([("role", pa.null()), ("content", pa.null())])
    size = 2**31 - 1
    children = [pa.nulls(size), pa.nulls(size)]
    write_arrow(
        path, "messages", one_list(pa.Array.from_buffers(kind, size, [None], children=children))
    )


def a_list_of_empty_texts(path: Path) -> None:
    table = pa.table({"messages": one_list(empty_texts(15_000_000))})
    pq.write_table(table, path, compression="zstd")


REFUSED: list[tuple[str, Callable[[Path], None], str]] = [
    ("a.parquet", one_text_in_a_million_rows, "looks like a bomb"),
    ("b.parquet", one_conversation_in_a_million_rows, "looks like a bomb"),
    ("c.parquet", a_page_of_a_gibibyte, "looks like a bomb"),
    ("d.parquet", ten_thousand_columns, "10001 columns; 2000 are read"),
    ("e.parquet", deep_columns, "deeply nested"),
    ("a.jsonl.gz", packed_lines, "looks like a bomb"),
    ("b.jsonl.zst", packed_zeros, "looks like a bomb"),
    ("c.json.gz", a_packed_array, "looks like a bomb"),
    ("d.jsonl", a_line_of_ten_gigabytes, "line 1: more than"),
    ("e.json", an_array_of_ten_gigabytes, "line 1: not JSON"),
    ("f.csv", a_cell_of_ten_gigabytes, "line 2: more than"),
    ("g.jsonl", deep, "line 1: not JSON"),
    ("h.json", deep_array, "line 1: not JSON"),
    ("i.jsonl", many_names, "more than 2000 names of fields"),
    ("j.arrow", a_billion_rows_of_nothing, "looks like a bomb"),
    ("k.arrow", a_list_of_nothing, "looks like a bomb"),
    ("l.arrow", a_fixed_list_of_nothing, "looks like a bomb"),
    ("m.arrow", a_list_of_turns_of_nothing, "looks like a bomb"),
    ("n.parquet", a_list_of_empty_texts, "looks like a bomb"),
]


@pytest.mark.parametrize(
    ("name", "make", "says"), REFUSED, ids=lambda one: getattr(one, "__name__", None)
)
def test_it_is_refused_by_name_and_little_is_held(
    name: str, make: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    assert on_disk(tmp_path / name) < SMALL_BYTES
    ended = take_in(tmp_path / name, tmp_path)
    assert ended.code == 2
    assert name in ended.said
    assert says in ended.said
    kept = ended.run.glob("stages/*/*/*.parquet")  # what came before a limit was passed
    assert sum(path.stat().st_size for path in kept) < SMALL_BYTES


def rows_of(ended: Import) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    assert ended.code == 0, ended.said
    books.check(ended.run)
    return books.rows(ended.run, "import"), books.rows(ended.run, "import", "dropped")


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_a_row_that_is_too_large_is_dropped_and_the_next_is_read(
    compression: str, tmp_path: Path
) -> None:
    table = pa.table({"instruction": ["x" * 30 * MIB, "Name a river."]})
    pq.write_table(table, tmp_path / "a.parquet", compression=compression)
    kept, dropped = rows_of(take_in(tmp_path / "a.parquet", tmp_path, "import.ratio=1e9"))
    assert [row["instruction"] for row in kept] == ["Name a river."]
    assert [row["drop_reason"] for row in dropped] == ["row_too_large"]


def test_a_line_that_is_too_long_is_dropped_and_the_next_is_read(tmp_path: Path) -> None:
    lines = [json.dumps({"instruction": text}) for text in ("x" * 30 * MIB, "Name a river.")]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    kept, dropped = rows_of(take_in(tmp_path / "a.jsonl", tmp_path))
    assert [row["instruction"] for row in kept] == ["Name a river."]
    assert [row["drop_reason"] for row in dropped] == ["row_too_large"]


def test_what_unpacks_to_much_is_streamed_where_it_may(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for n in range(100):
            file.write(json.dumps({"instruction": f"{n} " + "x" * 4_000_000}).encode() + b"\n")
    assert on_disk(path) < SMALL_BYTES
    kept, _ = rows_of(take_in(path, tmp_path, "import.ratio=1000"))
    assert len(kept) == 100


def test_a_gigabyte_that_is_mapped_is_not_looked_at(tmp_path: Path) -> None:
    a_text_of_a_gigabyte(tmp_path / "a.arrow")
    kept, dropped = rows_of(take_in(tmp_path / "a.arrow", tmp_path))
    assert [row["drop_reason"] for row in dropped] == ["row_too_large"]
    assert len(kept) == 1


def test_a_list_of_more_entries_than_a_row_may_hold_is_not_looked_at(tmp_path: Path) -> None:
    write_arrow(tmp_path / "a.arrow", "messages", one_list(empty_texts(60_000_000)))
    kept, dropped = rows_of(take_in(tmp_path / "a.arrow", tmp_path))
    assert [row["drop_reason"] for row in dropped] == ["row_too_large"]
    assert not kept
