"""What differs between two runs, row by row: gained, lost, changed, by id and by text.

Compared are the rows that the last stage of each kept, by all their texts: instruction, input,
output, reasoning, the other output of a pair, and a conversation whole. A row of the one is in the
other where that has its id, with the same texts (`same`); or where it has its texts under another
id (`renamed`); or where it has its id and still its instruction, or another text of some length
(`changed`). An id says a place, in the input or among the requests: where no text is the same,
another row has come to that place. All others are `gained` or `lost`; of a lost one it is told
which stage of the second run dropped the row of its texts, or the one that it was changed to, by
which rule.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.inspect import Run
from pipeline.rows import talk

CONVERSATION = "messages"
TEXTS = ("instruction", "input", "output", "reasoning", "other_output", CONVERSATION)
"""The columns that are compared; a conversation as JSON, a turn a line."""
NEW = "new_"
LEAST = 20
"""Characters of a text, other than an instruction, that two rows do not share by chance."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that differ, in the order of their run.

    `gained` and `lost` have row_id and `TEXTS`, `lost` also `stage`, `drop_reason` and
    `drop_detail` of where it went in the second run, null where it was never there; `changed` has
    each text as it was (`instruction`) and as it is (`new_instruction`); `renamed` has row_id and
    new_row_id.
    """

    same: int
    gained: pl.DataFrame
    lost: pl.DataFrame
    changed: pl.DataFrame
    renamed: pl.DataFrame

    def lost_by(self) -> dict[str, int]:
        """How many rows were lost to which rule of which stage, most first."""
        counted = Counter(
            "not made" if stage is None else f"{stage}: {reason}"
            for stage, reason in self.lost.select("stage", "drop_reason").iter_rows()
        )
        return dict(counted.most_common())

    def changed_columns(self) -> dict[str, int]:
        """In how many changed rows each text is another."""
        return {
            name: int(
                self.changed.select(pl.col(name).ne_missing(pl.col(f"{NEW}{name}")).sum()).item()
            )
            for name in TEXTS
        }


def difference(first: Run, second: Run) -> Difference:
    """Compare what two runs kept. Raises as `Run.scan` does."""
    old, new = _kept(first), _kept(second)
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{NEW}{name}")) for name in TEXTS)
    same = _by_id(old, new).filter(is_same)
    old, new = _without(old, same["row_id"]), _without(new, same["row_id"])
    renamed = _numbered(old).join(
        _numbered(new).rename({"row_id": "new_row_id"}),
        on=[*TEXTS, "nth"],
        how="inner",
        nulls_equal=True,
        maintain_order="left",
    )
    old, new = _without(old, renamed["row_id"]), _without(new, renamed["new_row_id"])
    changed = _by_id(old, new).filter(_is_still_the_row())
    lost = _without(old, changed["row_id"])
    return Difference(
        same=same.height,
        gained=_without(new, changed["row_id"]),
        lost=_with_reasons(lost, second),
        changed=changed,
        renamed=renamed.select("row_id", "new_row_id", *TEXTS),
    )


def _kept(run: Run) -> pl.DataFrame:
    """Id and texts of the rows that a run kept in the end."""
    return _texts(run.scan(None, "kept")).collect()


def _texts(scan: pl.LazyFrame) -> pl.LazyFrame:
    there = scan.collect_schema().names()
    lines = pl.col(CONVERSATION).list.eval(pl.element().struct.json_encode()).list.join("\n")
    return scan.select(
        "row_id",
        *(
            pl.lit(None, pl.String).alias(name)
            if name not in there
            else lines
            if name == CONVERSATION
            else pl.col(name)
            for name in TEXTS
        ),
    )


def _by_id(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """The rows of both that have the same id, in the order of the old; the new texts as `new_`."""
    named = new.rename({name: f"{NEW}{name}" for name in TEXTS})
    return old.join(named, on="row_id", how="inner", maintain_order="left")


def _is_still_the_row() -> pl.Expr:
    """Whether the old row and the new, of one id, still share a text that tells them."""
    return pl.any_horizontal(
        (pl.col(name) == pl.col(f"{NEW}{name}")).fill_null(value=False)
        & (pl.col(name).str.len_chars() >= (1 if name == "instruction" else LEAST))
        for name in TEXTS
    )


def _without(frame: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    return frame.filter(~pl.col("row_id").is_in(ids.implode()))


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Equal texts numbered, so that each row finds one other at most."""
    return frame.with_columns(nth=pl.int_range(pl.len()).over(TEXTS))


def _with_reasons(lost: pl.DataFrame, run: Run) -> pl.DataFrame:
    """Where each row went in a run: by its texts there, else by its id and some of them."""
    dropped = list(_dropped(run))
    empty = {name: pl.lit(None, pl.String).alias(name) for name in WENT}
    if lost.is_empty() or not dropped:
        return lost.with_columns(**empty)
    there = pl.concat(dropped)
    by_text = there.unique([*TEXTS], keep="first", maintain_order=True)
    by_id = there.unique("row_id", keep="first", maintain_order=True)
    found = lost.join(
        by_text.drop("row_id"), on=[*TEXTS], how="left", nulls_equal=True, maintain_order="left"
    ).join(
        by_id.rename({name: f"{NEW}{name}" for name in TEXTS}),
        on="row_id",
        how="left",
        suffix="_by_id",
        maintain_order="left",
    )
    return found.select(
        *lost.columns,
        *(
            pl.when(pl.col("stage").is_not_null())
            .then(pl.col(name))
            .when(_is_still_the_row())
            .then(pl.col(f"{name}_by_id"))
            .alias(name)
            for name in WENT
        ),
    )


WENT = ("stage", "drop_reason", "drop_detail")


def _dropped(run: Run) -> Iterator[pl.DataFrame]:
    for state in run.stage_manifests:
        if state.dropped and state.exported is None:
            scan = run.scan(state.name, "dropped")
            reasons = scan.select("drop_reason", "drop_detail").collect()
            yield _texts(scan).collect().hstack(reasons).with_columns(stage=pl.lit(state.name))


def as_shown(text: str | None, column: str) -> str | None:
    """A compared text as people read it: a conversation turn by turn, under its roles.

    >>> as_shown('{"role":"user","content":"Hello."}', "messages")
    'user: Hello.'
    """
    if text is None or column != CONVERSATION:
        return text
    return talk([json.loads(line) for line in text.split("\n")] if text else [])


def as_tree(found: Difference, limit: int | None = None) -> dict[str, Any]:
    """As plain data; `limit` rows of each kind at most."""
    frames = {"gained": found.gained, "lost": found.lost, "changed": found.changed,
              "renamed": found.renamed}  # fmt: skip
    return {
        "same": found.same,
        **{name: frame.height for name, frame in frames.items()},
        "lost_by": found.lost_by(),
        "changed_columns": found.changed_columns(),
        "rows": {
            name: [
                _plain(row) for row in (frame if limit is None else frame.head(limit)).to_dicts()
            ]
            for name, frame in frames.items()
        },
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: as_shown(value, name.removeprefix(NEW)) for name, value in row.items()}
