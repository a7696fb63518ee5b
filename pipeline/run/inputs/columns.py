"""Rows of Parquet and Arrow as column batches, each small in memory whatever the file says.

Parquet texts are read as dictionaries, so that a text which stands in a file once, and in a million
rows, is in memory once until it is known how large those rows are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.run.inputs import arrow_file
from pipeline.run.inputs.files import InputFile
from pipeline.run.inputs.parquet_pages import check_pages, dictionary_bytes
from pipeline.run.inputs.text import Bounds, Record, too_large
from pipeline.stage import Drop
from pipeline.stages.read_input import Config

FOOTER_BYTES = 2**24
COLUMNS = 2000
BATCH_ROWS = 2048
BATCH_BYTES = 2**24
STRETCH = 2**20
"""So many entries of lists are looked at at once."""
MANY = 2**23
"""A list of more entries is larger than any row may be (`row_bytes`), whatever they are."""
MOST = 2**42
"""No entry is said to be larger than this, so that sums of sizes stay sums."""
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
TEXT_TYPES = (pa.types.is_string, pa.types.is_large_string)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as columns; `sizes` are the bytes of each, and those over the limit hold nulls."""

    columns: pa.Table
    sizes: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.sizes)

    def slice(self, first: int, n_rows: int | None = None) -> Batch:
        """So many rows from one on."""
        end = None if n_rows is None else first + n_rows
        return Batch(self.columns.slice(first, n_rows), self.sizes[first:end])

    @staticmethod
    def joined(batches: Sequence[Batch]) -> Batch:
        """Batches of the same columns as one."""
        tables = [batch.columns for batch in batches]
        return Batch(pa.concat_tables(tables), np.concatenate([batch.sizes for batch in batches]))

    def records(self, config: Config) -> Iterator[Record]:
        """The rows, one after the other; a `Drop` where one is too large or not Unicode."""
        try:
            found = self.columns.to_pylist()
        except UnicodeDecodeError:
            found = [self._row(at) for at in range(len(self.sizes))]
        for row, size in zip(found, self.sizes.tolist(), strict=True):
            yield row if size <= config.row_bytes else too_large(size, config)

    def _row(self, at: int) -> Record:
        try:
            return dict(self.columns.slice(at, 1).to_pylist()[0])
        except UnicodeDecodeError as error:
            return Drop("not_text", f"not valid Unicode: {error.reason}")


def field_names(file: InputFile) -> list[str]:
    """The columns of a file. Raises `InputError` where it is not what its name says."""
    if file.format == "parquet":
        with _parquet(file, ()) as found:
            return list(found.schema_arrow.names)
    with arrow_file.opened(file.path) as reader:
        return list(reader.schema.names)


def unreadable(file: InputFile) -> set[str]:
    """The columns of a file that hold what no row of ours can. Raises as `field_names` does."""
    if file.format == "parquet":
        with _parquet(file, ()) as found:
            return {one.name for one in found.schema_arrow if _plain_type(one.type) is None}
    with arrow_file.opened(file.path) as reader:
        return {one.name for one in reader.schema if _plain_type(one.type) is None}


def check(file: InputFile, config: Config, names: Sequence[str]) -> int:
    """The rows of a file.

    Raises `InputError` where reading these columns would take far more than the file is.
    """
    if file.format == "arrow":
        with arrow_file.opened(file.path) as reader:
            _check_types(file, reader.schema, names)
        rows = arrow_file.count(file.path)
        Bounds(file, config).add(4 * rows)  # rows of nothing take no room in a file
        return rows
    with _parquet(file, names) as parquet, file.path.open("rb") as raw:
        _check_types(file, parquet.schema_arrow, names)
        metadata = parquet.metadata
        values = 0
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                column = metadata.row_group(group).column(at)
                if column.path_in_schema.partition(".")[0] in names:
                    check_pages(raw, str(file.path), column, ratio=config.ratio)
                    if "." in column.path_in_schema:
                        values += column.num_values
        Bounds(file, config).add(4 * values)
        return int(metadata.num_rows)


def are_texts(file: InputFile, names: Sequence[str]) -> bool:
    """Whether these columns of a file hold texts and nothing else."""
    if file.format == "parquet":
        with _parquet(file, names) as found:
            schema = found.schema_arrow
    else:
        with arrow_file.opened(file.path) as reader:
            schema = reader.schema
    return all(_plain_type(schema.field(name).type) == pa.string() for name in names)


def _check_types(file: InputFile, schema: pa.Schema, names: Sequence[str]) -> None:
    for name in names:
        if _plain_type(schema.field(name).type) is None:
            raise InputError(
                f"{file.path}: column {name} is of type {str(schema.field(name).type)[:80]}, which "
                "holds no texts: name another with  --set 'import.columns={...}'."
            )


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """The type with texts in place of dictionaries of them; null where a row may hold anything."""
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if any(is_list(kind) for is_list in LISTS):
        inner = _plain_type(kind.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(kind):
        fields = {
            kind.field(at).name: _plain_type(kind.field(at).type) for at in range(kind.num_fields)
        }
        return None if None in fields.values() else pa.struct(list(fields.items()))
    if any(is_text(kind) for is_text in TEXT_TYPES):
        return pa.string()
    is_small = pa.types.is_primitive(kind) or pa.types.is_null(kind) or pa.types.is_binary(kind)
    return kind if is_small else None


def batches(file: InputFile, config: Config, names: Sequence[str], start: int) -> Iterator[Batch]:
    """These columns of the rows from `start` on, a few MiB at a time."""
    bounds = Bounds(file, config)
    for columns in _raw_batches(file, names):
        if start >= columns.num_rows:
            start -= columns.num_rows
            continue
        columns, start = columns.slice(start), 0
        try:
            sizes = sum(
                (_sizes(columns.column(at)) for at in range(columns.num_columns)),
                np.zeros(columns.num_rows, np.int64),
            )
        except IndexError as error:
            raise InputError(f"{file.path} is damaged: a row points outside it.") from error
        bounds.add(int(sizes.sum()))
        fits = sizes <= config.row_bytes
        for part in _parts(np.where(fits, sizes, 0)):
            yield Batch(
                _plain(file, columns.slice(part.start, part.stop - part.start), fits[part]),
                sizes[part],
            )


def _parts(sizes: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Stretches of rows of at most `BATCH_BYTES`, or of one row."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = ends[first - 1] if first else 0
        stop = max(int(np.searchsorted(ends, before + BATCH_BYTES, "right")), first + 1)
        yield slice(first, stop)
        first = stop


def _plain(file: InputFile, columns: pa.RecordBatch, fits: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows with texts as texts; nulls where a row is too large to be held."""
    if not fits.all():
        keep = pa.array(np.where(fits, np.arange(len(fits)), 0), mask=~fits)
        columns = columns.take(keep)
    if file.format == "arrow":  # what it says of its texts may point anywhere
        try:
            columns.validate(full=True)
        except pa.ArrowInvalid as error:
            raise InputError(f"{file.path} is damaged: {error}.") from error
    plain = pa.schema(
        [(name, _plain_type(columns.schema.field(name).type)) for name in columns.schema.names]
    )
    return pa.Table.from_batches([columns]).cast(plain)


def _width(kind: pa.DataType) -> int | None:
    """The bytes of every entry of a type, where all have the same."""
    if pa.types.is_dictionary(kind):
        return _width(kind.value_type)
    if pa.types.is_struct(kind):
        widths = [_width(kind.field(at).type) for at in range(kind.num_fields)]
        known = [width for width in widths if width is not None]
        return min(8 + sum(known), MOST) if len(known) == len(widths) else None
    if pa.types.is_fixed_size_list(kind):
        inner = _width(kind.value_type)
        return None if inner is None else min(8 + kind.list_size * inner, MOST)
    return 8 if pa.types.is_primitive(kind) or pa.types.is_null(kind) else None


def _sizes(array: pa.Array) -> npt.NDArray[np.int64]:
    """The bytes that each entry takes when it stands for itself.

    What a list holds is looked at only where its entries differ, and a stretch at a time: entries
    of nothing take no room in a file, however many it says there are.
    """
    kind = array.type
    if (width := _width(kind)) is not None:
        return np.full(len(array), width, np.int64)
    if pa.types.is_dictionary(kind):
        sizes = np.append(_sizes(array.dictionary), 0)
        indices = pc.fill_null(array.indices.cast(pa.int64()), len(sizes) - 1)
        taken: npt.NDArray[np.int64] = sizes[_sound(indices.to_numpy(zero_copy_only=False))]
        return taken
    if pa.types.is_struct(kind):
        fields = (_sizes(array.field(at)) for at in range(kind.num_fields))
        return sum(fields, np.full(len(array), 8, np.int64))
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        return _of_lists(array.values, np.arange(len(array) + 1) * size + array.offset * size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = array.offsets.to_numpy().astype(np.int64)
        _sound(np.diff(offsets, prepend=0))
        return _of_lists(array.values, offsets)
    return _sound(np.asarray(pc.fill_null(pc.binary_length(array), 0), np.int64))


def _of_lists(values: pa.Array, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bytes of lists whose entries stand in `values`, each from one of `offsets` to the next.

    A text among them takes 8 bytes more than its own: so does the empty one.
    """
    counts = np.diff(offsets)
    if width := _width(values.type):
        return np.minimum(counts, MOST // width) * width + 8
    is_nested = pa.types.is_nested(values.type)
    found = np.where(is_nested & (counts <= MANY), 0, counts * 8) + 8
    for first in range(int(offsets[0]), int(offsets[-1]), STRETCH):
        rows = slice(*np.searchsorted(offsets, (first, first + STRETCH)))
        if not rows.stop - rows.start and counts[rows.start - 1] > MANY:
            continue  # one list that no row may hold, whatever its entries are
        inner = _sizes(values.slice(first, min(STRETCH, int(offsets[-1]) - first)))
        ends = np.append(0, np.cumsum(inner))
        places = np.clip(offsets - first, 0, len(inner))
        found = np.minimum(found + ends[places[1:]] - ends[places[:-1]], MOST)
    return found


def _sound(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Lengths or places as they are. Raises `IndexError` where one is below zero."""
    if len(numbers) and numbers.min() < 0:
        raise IndexError
    return numbers


def _raw_batches(file: InputFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    if file.format == "parquet":
        with _parquet(file, names) as found:
            for group in range(found.metadata.num_row_groups):
                yield from _group_batches(file, found, group, names)
        return
    with arrow_file.opened(file.path, names) as reader:
        for batch in reader:
            for first in range(0, batch.num_rows, BATCH_ROWS):
                part = batch.slice(first, BATCH_ROWS)
                part.validate()
                yield part


def _group_batches(
    file: InputFile, found: pq.ParquetFile, group: int, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """One row group's rows.

    Arrow reads no nested texts as dictionaries where a writer gave its dictionary up half-way, as
    it does past 1 MiB. Then few rows at a time are read, as many as the dictionary could fill.
    """
    done = 0
    try:
        for batch in found.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(names)):
            done += batch.num_rows
            yield batch
    except pa.ArrowNotImplementedError:
        with pq.ParquetFile(file.path, metadata=found.metadata, buffer_size=2**20) as plain:
            size = _rows_at_once(file, found.metadata.row_group(group), names)
            for batch in plain.iter_batches(size, row_groups=[group], columns=list(names)):
                if done < batch.num_rows:
                    yield batch.slice(done)
                done = max(done - batch.num_rows, 0)


def _rows_at_once(file: InputFile, group: pq.RowGroupMetaData, names: Sequence[str]) -> int:
    """So many rows that texts from the largest dictionary would fill `BATCH_BYTES`."""
    largest = 1
    with file.path.open("rb") as raw:
        for at in range(group.num_columns):
            column = group.column(at)
            if column.path_in_schema.partition(".")[0] in names:
                n_bytes = dictionary_bytes(raw, str(file.path), column)
                largest = max(largest, n_bytes * column.num_values // max(group.num_rows, 1))
    return min(max(BATCH_BYTES // largest, 1), BATCH_ROWS)


@contextmanager
def _parquet(file: InputFile, names: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose texts below `names` are read as dictionaries."""
    limits = {"thrift_string_size_limit": FOOTER_BYTES, "thrift_container_size_limit": 10**6}
    try:
        _check_footer(file)
        metadata = pq.ParquetFile(file.path, **limits).metadata
        if metadata.num_columns > COLUMNS:
            raise InputError(f"{file.path} has {metadata.num_columns} columns; {COLUMNS} are read.")
        paths = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
        texts = [path for path in paths if path.partition(".")[0] in names]
        with pq.ParquetFile(
            file.path, metadata=metadata, read_dictionary=texts, buffer_size=2**20, **limits
        ) as found:
            yield found
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file.path} is not Parquet that can be read: {error}.") from error


def _check_footer(file: InputFile) -> None:
    """Refuse a footer that would take hundreds of MiB once it is parsed."""
    with file.path.open("rb") as raw:
        raw.seek(-8, os.SEEK_END)
        size, mark = int.from_bytes(raw.read(4), "little"), raw.read(4)
    if mark != b"PAR1":
        raise InputError(f"{file.path} is not Parquet: its last bytes are {mark!r}.")
    if size > FOOTER_BYTES:
        raise InputError(
            f"{file.path}: its footer says it has {size} bytes; {FOOTER_BYTES} are read."
        )
