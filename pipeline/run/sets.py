"""Several data sets as one source: each under a name, which its rows and their ids say.

Ids of two sets may be the same (two runs of one recipe, two files): in a run that takes in several,
`NAME:` stands before the ids of a row, its own and those of its root, its parent and the tasks that
it was shown. A name holds no colon, so that no two rows of different sets can be called the same.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from filters import mixture
from pipeline import store
from pipeline.errors import InputError, Problems, RecipeError, SynthError
from pipeline.manifest import StageManifest
from pipeline.recipe import Recipe
from pipeline.run.source import Source, open_source
from pipeline.schema import COLUMNS, in_order
from pipeline.stage import Drop, Row
from pipeline.stages import mix
from pipeline.stages.read_input import Config, InputSet

IDS = ("row_id", "root_id", "parent_id", "nearest_id")
SAID = "data_set {}"
"""How `run.json` calls the path of a set, beside `path`, which says them all."""


@dataclass(frozen=True)
class Sets(Source):
    """The rows of several sources, one after the other."""

    named: tuple[tuple[str, Source], ...] = ()

    @property
    def parts(self) -> tuple[tuple[str | None, Source], ...]:
        """Each set with its name, in order."""
        return self.named

    def writers(self) -> set[str]:
        """Who wrote the rows of all."""
        return set().union(*(source.writers() for _, source in self.named))

    def rows(self) -> Iterator[Row | Drop]:
        """Every row under the name of its set, or what is wrong with it."""
        found = (
            renamed(row, name) if not isinstance(row, Drop) else row
            for name, source in self.named
            for row in source.rows()
        )
        return itertools.islice(found, self.limit)

    @property
    def places(self) -> dict[str, str]:
        """What `run.json` says of where the rows come from."""
        paths = {SAID.format(name): str(source.path.resolve()) for name, source in self.named}
        return {"path": str(self.path), **paths}


def sets_of(said: dict[str, str] | None) -> dict[str, str]:
    """The paths of the sets of a run by name, as `run.json` says them; none of one source."""
    head = SAID.format("")
    return {
        key.removeprefix(head): path for key, path in (said or {}).items() if key.startswith(head)
    }


def open_sets(config: Config) -> Sets:
    """Open every set. Raises one `SynthError` that says what is wrong with all of them."""
    problems, named = Problems(), []
    for name, given in config.sets.items():
        one = given if isinstance(given, InputSet) else InputSet(path=given)
        own = one.model_dump(exclude_none=True, exclude={"path"})
        try:
            read = config.model_copy(update={**own, "path": one.path, "sets": {}, "rows": None})
            named.append((name, open_source(one.path, read)))
        except SynthError as error:
            problems.add(error)
    problems.raise_if_any()
    content = [[name, source.fingerprint, _own(config.sets[name])] for name, source in named]
    return Sets(
        Path(", ".join(name for name, _ in named)),
        in_order(["data_set", *(column for _, source in named for column in source.columns)]),
        hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        sum(source.n_rows for _, source in named),
        config.rows,
        left_out=tuple(dict.fromkeys(field for _, source in named for field in source.left_out)),
        named=tuple(named),
    )


def check_weights(found: Recipe, problems: Problems) -> None:
    """The weights of `mix` have to be those of the sets that are named, before anything is spent.

    Sets that another column tells apart are known once the rows are there.
    """
    first = found.steps[0].config
    for step in found.steps:
        config = step.config
        if not (isinstance(first, Config) and first.sets and isinstance(config, mix.Config)):
            continue
        if config.method == "weights" and config.by == "data_set":
            try:
                mixture.check_weights(config.weights or {}, first.sets)
            except ValueError as error:
                problems.add(RecipeError(f"{step.name}.weights: {error}."))


def check_left(run: Path, done: Sequence[StageManifest], config: mix.Config) -> None:
    """Raise `InputError` for a set with a weight of which the stages before left no row."""
    if config.method != "weights" or not done[-1].kept:
        return
    wanted = {name for name, weight in (config.weights or {}).items() if weight}
    wrong = []
    for name in sorted(wanted - _counted(run, done[-1], "kept", config.by).keys()):
        for state in reversed(done):
            if n := _counted(run, state, "dropped", config.by).get(name):
                wrong.append(
                    f"no row of {name} is left, {state.name} dropped the last {n:,} of them "
                    f"(synth show {run} {state.name} --dropped)"
                )
                break
    if wrong:
        raise InputError(
            f"mix, by {config.by}: {'; '.join(wrong)}. Give such a set the weight 0 in a new run "
            f"(--from {run} --out NEW --set ...), or let the stage keep its rows."
        )


def _counted(run: Path, state: StageManifest, half: str, column: str) -> Counter[str]:
    """The rows of each set in a half of a stage's rows."""
    if column not in state.columns:
        return Counter()
    paths = store.shards(run / state.folder, state, half)
    if not paths:
        return Counter()
    names = store.read_frame(paths, [column])[column].cast(pl.String).fill_null(mixture.NO_SET)
    return Counter(names.to_list())


def _own(given: str | InputSet) -> dict[str, object]:
    """How a set is read otherwise than the others, which its content alone does not say."""
    if isinstance(given, str):
        return {}
    return given.model_dump(mode="json", exclude_none=True, exclude={"path"})


def renamed(row: Row, name: str) -> Row:
    """A row of the set of that name."""
    found = row | {"data_set": name}
    for column in IDS:
        if found.get(column) is not None:
            found[column] = f"{name}:{found[column]}"
    if found.get("shown") is not None:
        found["shown"] = [f"{name}:{one}" for one in found["shown"]]
    return found


def renamed_table(table: pa.Table, name: str | None, schema: pa.Schema) -> pa.Table:
    """The rows of a set with its name and all columns of `schema`; as they are without a name."""
    if name is not None:
        for column in (*IDS, "shown"):
            if column in table.column_names:
                at = table.column_names.index(column)
                table = table.set_column(at, column, _prefixed(table[column], name))
        for column in schema.names:
            if column not in table.column_names:
                nothing = pa.nulls(table.num_rows, COLUMNS[column].type)
                table = table.append_column(column, nothing)
        at = table.column_names.index("data_set")
        table = table.set_column(at, "data_set", pa.repeat(name, table.num_rows))
    return table.select(schema.names).cast(schema).combine_chunks()


def _prefixed(ids: pa.ChunkedArray, name: str) -> pa.Array:
    if pa.types.is_list(ids.type):
        lists = [
            None if one is None else [f"{name}:{each}" for each in one] for one in ids.to_pylist()
        ]
        return pa.array(lists, ids.type)
    return pc.binary_join_element_wise(f"{name}:", ids.cast(pa.string()), "")
