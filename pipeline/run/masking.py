"""Mask personal data and secrets where text enters a run: rows that are read, and replies.

The one place where the recipe's `mask` is applied. Input rows and seed tasks are masked before they
are written anywhere, and a reply between the journal, which keeps it as it came, and whoever reads
it; so that nothing after these two, no shard, request, manifest or message, holds what was masked.
What any of them tells is gathered first (telling.py), and masked in all. Ids and the names of files
and fields are no texts, and stay.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from filters.masks import (
    MASK,
    masked,
    masked_texts,
    masks_in,
    may_be_masked,
    packages,
    told_by,
)
from filters.told import MOST, Told
from pipeline.errors import SynthError
from pipeline.run.events import Event, Listener, Message
from pipeline.schema import COLUMNS
from pipeline.seed_tasks import SeedFile, parse_task
from pipeline.stage import Reply, Row

COLUMN = "masked"
"""The kinds of the masks in a row's texts."""
NO_TEXTS = {
    *("row_id", "root_id", "parent_id", "origin", "teacher", "operation", "shown", "nearest_id"),
    *("preferred", "requests", "not_measured", COLUMN, "drop_reason", "drop_ref"),
}
"""Columns whose values are ids and names."""
EXTRA = "clean"


class Masking:
    """What masks a run's texts of the `kinds` that its recipe names; of none it does nothing.

    `told` are the values that it has learned: they are masked wherever they stand.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        """`kinds` are those of `filters.masks`."""
        self.kinds = tuple(kinds)
        self.told = Told()
        self._silent: set[bytes] = set()  # digests of texts that look as if they told something

    def __bool__(self) -> bool:
        """Whether anything is masked."""
        return bool(self.kinds)

    @property
    def missing(self) -> list[str]:
        """The packages that are needed and not installed."""
        return [name for name in packages(self.kinds) if find_spec(name) is None]

    def text(self, said: str) -> str:
        """One text."""
        return masked(said, self.kinds, self.told) if self.kinds else said

    def hides(self, said: str) -> bool:
        """Whether anything of a text is masked."""
        return self.text(said) != said

    def value(self, found: Any) -> Any:  # noqa: ANN401 - a cell of any column
        """All texts of a value: a text, or what a list or a mapping holds."""
        texts: list[str] = []
        gather(found, texts)
        new = masked_texts(texts, self.kinds, self.told) if self.kinds else texts
        return found if new == texts else _with_texts(found, iter(new))

    def row(self, row: Row) -> Row:
        """A row with masked texts, which says so: what one of them tells is masked in all."""
        if not self.kinds:
            return row
        texts = {name: value for name, value in row.items() if name not in NO_TEXTS}
        return self.marked(row | self.value(texts))

    def marked(self, row: Row) -> Row:
        """A row of texts that are masked already, which says so."""
        if not self.kinds:
            return row
        texts: list[str] = []
        for name, value in row.items():
            if name not in NO_TEXTS:
                gather(value, texts)
        return row | {COLUMN: masks_in(texts)}

    def learn(self, texts: pl.Series) -> None:
        """Note what each of these texts tells."""
        for text in texts.filter(may_be_masked(texts, self.kinds)):
            pieces = told_by([text], self.kinds)
            for piece, kind in pieces.items():
                self.told.add(kind, piece)
            if not pieces and len(self._silent) < MOST and not MASK.search(text):
                self._silent.add(_digest(text))

    def learn_table(self, table: pa.Table) -> None:
        """Note what the texts of rows tell."""
        self.learn(_texts_of(table)[0])

    def table(self, table: pa.Table) -> pa.Table:
        """Rows as columns, masked, which say so."""
        if not self.kinds:
            return table
        table = self.with_column(table)
        at = table.column_names.index(COLUMN)
        nothing = pa.array([[]] * table.num_rows, _TYPE)
        field = table.schema.field(at)
        hits = self._hits(table)
        rest = table.set_column(at, field, nothing).filter(pa.array(~hits))
        rows = [self.row(row) for row in table.filter(pa.array(hits)).to_pylist()]
        both = pa.concat_tables([rest, pa.Table.from_pylist(rows, table.schema)])
        order = np.concatenate([np.flatnonzero(~hits), np.flatnonzero(hits)])
        return both.take(np.argsort(order))

    def _hits(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows may have something to mask in a text, or have a mask."""
        hits = np.zeros(table.num_rows, np.bool_)
        texts, rows = _texts_of(table)
        may = may_be_masked(texts, self.kinds)
        if self._silent:
            places = may.arg_true()
            silent = [_digest(text) in self._silent for text in texts.gather(places)]
            may = may.scatter(places.filter(pl.Series(silent, dtype=pl.Boolean)), values=False)
        hits[rows[(may | self.told.may_hold(texts)).to_numpy()]] = True
        return hits

    def with_column(self, table: pa.Table) -> pa.Table:
        """Rows as columns, that which says what is masked among them."""
        if not self.kinds or COLUMN in table.column_names:
            return table
        return table.append_column(COLUMN, pa.nulls(table.num_rows, _TYPE))

    def seeds(self, seeds: SeedFile | None) -> SeedFile | None:
        """Seed tasks with masked texts, as a file that is its own masked copy."""
        if seeds is None or not self.kinds:
            return seeds
        found = [json.loads(line) for line in seeds.content.split(b"\n") if line.strip()]
        said: list[str] = []
        gather([{**task, "id": None} for task in found], said)
        self.learn(pl.Series("said", said, pl.String))
        lines = [json.dumps(self._task(task), ensure_ascii=False).encode() for task in found]
        content = b"".join(line + b"\n" for line in lines)
        tasks = tuple(parse_task(line) for line in lines)
        return SeedFile(seeds.path, tasks, content, hashlib.sha256(content).hexdigest())

    def _task(self, found: dict[str, Any]) -> dict[str, Any]:
        texts = {key: value for key, value in found.items() if key != "id"}
        return {**found, **self.value(texts)}

    def reply(self, reply: Reply) -> Reply:
        """A reply with masked text."""
        measured = reply.measured
        if measured is not None and measured.why:
            measured = dataclasses.replace(measured, why=self.text(measured.why))
        return dataclasses.replace(reply, text=self.text(reply.text), measured=measured)

    def error(self, error: SynthError) -> None:
        """Mask what an error says, which may quote a server."""
        if self.kinds:
            error.args = tuple(self.value(list(error.args)))

    def listener(self, listener: Listener) -> Listener:
        """One who is told nothing that is masked."""

        def tell(event: Event) -> None:
            listener(Message(self.text(event.text)) if isinstance(event, Message) else event)

        return tell if self.kinds else listener


_TYPE = COLUMNS[COLUMN].type


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _texts_of(table: pa.Table) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """The texts of all columns that have some, and the row of each."""
    texts = [pl.Series("said", [], pl.String)]
    rows = [np.zeros(0, np.int64)]
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name in NO_TEXTS:
            continue
        if pa.types.is_string(field.type):
            texts.append(pl.Series("said", pl.from_arrow(column), dtype=pl.String))
            rows.append(np.arange(table.num_rows))
        elif pa.types.is_nested(field.type) and not _is_of_numbers(field.type):
            said: list[str] = []
            counts = []
            for value in column.to_pylist():
                before = len(said)
                gather(value, said)
                counts.append(len(said) - before)
            texts.append(pl.Series("said", said, pl.String))
            rows.append(np.repeat(np.arange(table.num_rows), np.array(counts, np.int64)))
    return pl.concat(texts), np.concatenate(rows)


def _is_of_numbers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_primitive(kind.value_type))


def _with_texts(found: Any, texts: Iterator[str]) -> Any:  # noqa: ANN401 - a cell of any column
    """The value with other texts, in the order in which `gather` finds them."""
    if isinstance(found, str):
        return next(texts)
    if isinstance(found, dict):
        return {key: _with_texts(value, texts) for key, value in found.items()}
    return [_with_texts(one, texts) for one in found] if isinstance(found, list) else found


def gather(value: object, texts: list[str]) -> None:
    """All texts in a value, put to `texts`."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for one in value.values():
            gather(one, texts)
    elif isinstance(value, list):
        for one in value:
            gather(one, texts)
