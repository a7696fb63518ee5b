"""Rows that a run starts from: those of a finished run, or of files."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import manifest, schema, store
from pipeline.errors import InputError
from pipeline.manifest import RunManifest, StageManifest
from pipeline.review import books
from pipeline.run.inputs import text
from pipeline.run.inputs.columns import (
    COLUMNS,
    Batch,
    are_texts,
    batches,
    check,
    field_names,
    unreadable,
)
from pipeline.run.inputs.files import TEXT, InputFile, fingerprint, input_files, licence_beside
from pipeline.schema import DROP_COLUMNS, VERDICT_COLUMNS, in_order
from pipeline.stage import Drop, Row
from pipeline.stages import read_input
from pipeline.stages.input_shapes import OF_EVERY_SHAPE, Shape, of_every_shape, recognise
from pipeline.stages.read_input import Config, Reading

SORTS = 256
"""Rows with so many sets of fields are remembered, to say which fields are left out."""
Entries = list[Row | Drop]
"""What one row of a file makes: rows, or why it makes none."""


@dataclass(frozen=True)
class Source:
    """Where rows come from: a run's `shards`, or `files`; `fingerprint` stands for their content.

    `is_columns` says that the columns which are read hold texts alone, so that no row needs a dict,
    `taken_from` names the run, this one or the one it is made from, that has taken the shards in,
    `left_out` the fields of files that no row takes in, `verdicts` what people said of rows of a
    run.
    """

    path: Path
    columns: tuple[str, ...]
    fingerprint: str
    n_rows: int
    limit: int | None
    shards: tuple[Path, ...] = ()
    files: tuple[InputFile, ...] = ()
    file_rows: tuple[int, ...] = ()
    is_columns: bool = False
    given: Config | None = None
    how: Reading | None = None
    taken_from: Path | None = None
    left_out: tuple[str, ...] = ()
    verdicts: pl.DataFrame | None = field(default=None, compare=False, repr=False)

    def with_verdicts(self, table: pa.Table) -> pa.Table:
        """Rows of a run with what people said of them, where they said something."""
        if self.verdicts is None:
            return table
        ids = pl.DataFrame({"row_id": pl.Series(table["row_id"].to_pylist(), dtype=pl.String)})
        found = ids.join(self.verdicts, on="row_id", how="left", maintain_order="left")
        for name in VERDICT_COLUMNS:
            values = found[name].to_arrow().cast(schema.COLUMNS[name].type)
            if name in table.column_names:  # said in a run before
                values = pc.coalesce(values, table[name])
                table = table.drop_columns([name])
            table = table.append_column(name, values)
        return table

    @property
    def config(self) -> Config:
        """How the files are read."""
        assert self.given is not None
        return self.given

    @property
    def total(self) -> int:
        """The rows that are taken in."""
        return self.n_rows if self.limit is None else min(self.limit, self.n_rows)

    @property
    def parts(self) -> tuple[tuple[str | None, Source], ...]:
        """The data sets that it is made of, each with its name; one has none."""
        return ((None, self),)

    @property
    def places(self) -> dict[str, str]:
        """What `run.json` says of where the rows come from."""
        return {"path": str(self.path if self.taken_from else self.path.resolve())}

    def writers(self) -> set[str]:
        """Who wrote the rows: the teachers of a run's; a file's are by nobody that we know."""
        if not self.shards:
            name = self.path.resolve().name
            return {f"{name}/" if self.path.is_dir() else name}  # a folder may be called offline
        if "teacher" not in self.columns:
            return {str(self.path)}
        frame = store.read_frame(self.shards, ["teacher"])
        return {name or str(self.path) for name in frame["teacher"].unique()}

    def rows(self) -> Iterator[Row | Drop]:
        """Every row, or what is wrong with it."""
        if self.shards:
            return itertools.islice(store.read_rows(self.shards), self.limit)
        return itertools.chain.from_iterable(itertools.islice(self.entries(0), self.limit))

    def entries(self, start: int) -> Iterator[Entries]:
        """What each row of the files makes, from row `start` on."""
        if self.files[0].format in TEXT:
            lists = (text.records(file, self.config) for file in self.files)
            found = itertools.islice(itertools.chain.from_iterable(lists), start, None)
        else:
            parts = (batch.records(self.config) for batch in self.batches(start))
            found = itertools.islice(itertools.chain.from_iterable(parts), None)
        for number, record in enumerate(found, start=start):
            yield self.read(number, record)

    def read(self, number: int, record: text.Record) -> Entries:
        """What one row of the files makes."""
        assert self.how is not None
        if isinstance(record, Drop):
            row = read_input.row_of(number, 0, self.how)
            return [Drop(record.reason, record.detail, row=row)]
        how = self._how_of(record)
        if how is None:
            named = ", ".join(repr(name[:40]) for name in list(record)[:12]) or "none"
            row = read_input.row_of(number, 0, self.how)
            return [Drop("unknown_shape", f"fields {named}", row=row)]
        return read_input.read(number, record, how)

    def _how_of(self, record: dict[str, Any]) -> Reading | None:
        """How a row of text is read: by its own shape, as they may be mixed, where none is named.

        Fields that are null come second, as some files name all fields in every row. Null is where
        the fields have no shape, and are not some of those that the others have.
        """
        assert self.how is not None
        if self.files[0].format not in TEXT or not _is_told(self.config):
            return self.how
        said = tuple(name for name, value in record.items() if value is not None)
        own = _own_shape(said) or _own_shape(tuple(record))
        whole = self.how.shape.fields
        if self.how.labelled and not _says_what_to_do(self.how.shape):
            return self.how
        if own is None:
            return self.how if record.keys() <= set(whole.values()) else None
        shared = {target: whole[target] for target in OF_EVERY_SHAPE if target in whole}
        fields = {**own.fields, **shared}
        return self.how if fields == whole else replace(self.how, shape=Shape(fields))

    def batches(self, start: int) -> Iterator[Batch]:
        """The rows of Parquet or Arrow files as columns, from row `start` on."""
        for file, n_rows in zip(self.files, self.file_rows, strict=True):
            if start < n_rows:
                yield from batches(file, self.config, self.fields, start)
            start = max(start - n_rows, 0)

    @property
    def fields(self) -> list[str]:
        """The columns that are read of the files."""
        assert self.how is not None
        return list(dict.fromkeys((*self.how.shape.fields.values(), *_beside(self.config))))


def open_source(where: str, config: Config) -> Source:
    """Open `RUN`, `RUN:STAGE`, a file or a folder of files. Raises `InputError`."""
    try:
        Path(where).exists()
    except OSError as error:
        raise InputError(f"--input {where[:60]}: no such run or file: {error.strerror}.") from error
    folder, _, stage = where.rpartition(":")
    run = Path(folder) if folder and not Path(where).exists() else Path(where)
    if (run / "run.json").is_file():
        return _open_run(run, stage if run != Path(where) else None, config)
    path = Path(where)
    if not path.exists():
        raise InputError(f"--input {where}: there is no such run or file.")
    own = path.absolute()
    whole, name = own.parent.parent, own.name.partition("-")[2]
    if (path / "stage.json").is_file() and (whole / "run.json").is_file():
        raise InputError(
            f"--input {where} is the folder of a stage, with dropped rows too. Give the run and "
            f"the stage, for what it kept:  --input {whole}:{name}"
        )
    return _open_files(path, config)


def _open_files(path: Path, config: Config) -> Source:
    files = input_files(path, config)
    is_text = files[0].format in TEXT
    file_rows: tuple[int, ...] = ()
    if is_text:
        names, n_rows, sorts = _names_and_rows(files, config)
        shape = _shape(path, names, config)
        own = [_own_shape(one) for one in sorts] if _is_told(config) else []
        taken = {field for one in own if one is not None for field in one.fields.values()}
    else:
        names, taken = field_names(files[0]), set()
        shape = _shape(path, _usable(files[0], config), config)
        file_rows = tuple(_count(file, config, shape) for file in files)
        n_rows = sum(file_rows)
    taken |= {*shape.fields.values(), *_beside(config)}
    licence = config.license or licence_beside(path)
    found = Source(
        path,
        _written(shape, config),
        fingerprint(path, files, licence),
        n_rows,
        config.rows,
        given=config,
        files=tuple(files),
        file_rows=file_rows,
        how=Reading(
            shape,
            path.resolve().name,
            licence,
            config.turns,
            config.answers or (),
            config.fields or (),
            named=frozenset(config.columns),
        ),
        left_out=tuple(name for name in names if name not in taken),
    )
    is_measured = bool(shape.fields.keys() & {"reasoning", *read_input.MEASURES})
    is_flat = not is_text and shape.is_flat and not _beside(config) and not is_measured
    is_columns = is_flat and all(are_texts(file, found.fields) for file in files)
    return replace(found, is_columns=is_columns)


def _is_told(config: Config) -> bool:
    """Whether the shape of rows is told from their fields, and not named."""
    return config.shape == "auto" and not config.columns.keys() & {"instruction", "messages"}


@functools.lru_cache(maxsize=256)
def _own_shape(names: tuple[str, ...]) -> Shape | None:
    return recognise(names, columns={})


def _usable(file: InputFile, config: Config) -> list[str]:
    """The columns of a file, without measures that are none and that the recipe does not name."""
    left_out = (unreadable(file) & read_input.MEASURES.keys()) - set(config.columns.values())
    return [name for name in field_names(file) if name not in left_out]


def _written(shape: Shape, config: Config) -> tuple[str, ...]:
    """The columns of an import: some there are only where the data has them."""
    named = ["answers"] if config.answers is not None else []
    named += ["fields"] if config.fields is not None else []
    named += [name for name in read_input.BESIDE if name in shape.fields]
    return in_order((*read_input.STAGE.writes, *named))


def _beside(config: Config) -> tuple[str, ...]:
    """The fields that are read beside those of the shape."""
    return (*(config.answers or ()), *(config.fields or ()))


def _says_what_to_do(shape: Shape) -> bool:
    return bool(shape.fields.keys() & {"instruction", "messages"})


def _shape(path: Path, names: Sequence[str], config: Config) -> Shape:
    """What the rows look like; they are refused where nothing about them is known."""
    if not names:
        raise InputError(f"--input {path} has no rows.")
    wanted = None if config.shape == "auto" else config.shape
    shape = recognise(names, shape=wanted, columns=config.columns)
    named = ", ".join(repr(name[:40]) for name in names[:12])
    if absent := [f"{field!r}" for field in config.columns.values() if field not in names]:
        raise InputError(
            f"--input {path} has no field {' and no field '.join(absent)} (import.columns); it has "
            f"{named}."
        )
    if shape is None and config.fields is not None and wanted is None:
        shape = Shape(of_every_shape(names, columns=config.columns))
    if shape is None:
        raise InputError(
            f"--input {path}: its fields {named} have no shape that is known: name them with  "
            "--set 'import.columns={instruction: ..., output: ...}'."
        )
    for setting in ("answers", "fields"):
        if missing := [name for name in getattr(config, setting) or () if name not in names]:
            raise InputError(
                f"--input {path} has no field {missing[0]!r} (import.{setting}); it has {named}."
            )
    return shape


def _names_and_rows(
    files: Sequence[InputFile], config: Config
) -> tuple[list[str], int, set[tuple[str, ...]]]:
    """All names of fields in text files, in order, how many rows there are, and the names of rows.

    A file that cannot be used is refused by name and line.
    """
    names: dict[str, None] = {}
    sorts = set[tuple[str, ...]]()
    n_rows = 0
    for file in files:
        for record in text.records(file, config):
            n_rows += 1
            if not isinstance(record, Drop) and len(sorts) < SORTS:
                sorts.add(tuple(record))
            if not isinstance(record, Drop) and not record.keys() <= names.keys():
                names |= dict.fromkeys(record)
                if len(names) > COLUMNS:
                    raise InputError(
                        f"{file.path}: row {n_rows}: more than {COLUMNS} names of fields."
                    )
    return list(names), n_rows, sorts


def _count(file: InputFile, config: Config, shape: Shape) -> int:
    """The rows of a file of columns; one that cannot be used is refused by name."""
    wanted = dict.fromkeys((*shape.fields.values(), *_beside(config)))
    if missing := wanted.keys() - set(field_names(file)):
        raise InputError(f"{file.path} has no column {sorted(missing)[0]!r}, and others have.")
    return check(file, config, list(wanted))


def _open_run(run: Path, stage: str | None, config: Config) -> Source:
    state = manifest.read(RunManifest, run / "run.json")
    folders = [folder for folder in state.stages if not folder.endswith("-export")]
    names = [folder.split("-", 1)[1] for folder in folders]  # the complete ones
    if stage is None and state.status != "finished":
        raise InputError(
            f"{run} is not finished. Finish it with the command that made it, or say which of its "
            f"complete stages is meant: {' or '.join(f'{run}:{name}' for name in names) or 'none'}."
        )
    if stage is not None and stage not in names:
        raise InputError(
            f"{run} has no complete stage {stage!r} with rows; it has {', '.join(names) or 'none'}."
        )
    if not folders:
        raise InputError(f"{run} has no stage with rows.")
    folder = folders[-1 if stage is None else names.index(stage)]
    found = manifest.read(StageManifest, run / folder / "stage.json")
    shards = tuple(store.shards(run / folder, found))
    columns = tuple(name for name in found.columns if name not in DROP_COLUMNS)
    said = books.verdicts(run)
    if not said.height:
        return Source(run, columns, found.kept_digest, found.kept, config.rows, shards)
    columns = in_order((*columns, *VERDICT_COLUMNS))
    stands_for = f"{found.kept_digest} {books.digest(run)}"
    return Source(run, columns, stands_for, found.kept, config.rows, shards, verdicts=said)
