"""What differs between two runs, row by row: gained, lost, changed, by id and by text.

Compared are the rows that the last stage of each kept. A row of the one is in the other where that
has its id, with the same texts (`same`) or with others (`changed`); or where it has its texts under
another id (`renamed`). All others are `gained` or `lost`; of a lost one it is told which stage of
the second run dropped the row of its id, or of its texts, by which rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.inspect import Run

TEXTS = ("instruction", "input", "output")


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that differ, in the order of their run.

    `gained` and `lost` have row_id and the texts, `lost` also `stage`, `drop_reason` and
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
                self.changed.select(pl.col(name).ne_missing(pl.col(f"new_{name}")).sum()).item()
            )
            for name in TEXTS
        }


def difference(first: Run, second: Run) -> Difference:
    """Compare what two runs kept. Raises as `Run.scan` does."""
    old, new = _kept(first), _kept(second)
    both = old.join(new, on="row_id", how="inner", suffix="_of_new", maintain_order="left")
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_of_new")) for name in TEXTS)
    changed = both.filter(~is_same).rename({f"{name}_of_new": f"new_{name}" for name in TEXTS})
    only_old = old.join(new, on="row_id", how="anti", maintain_order="left")
    only_new = new.join(old, on="row_id", how="anti", maintain_order="left")
    renamed = _numbered(only_old).join(
        _numbered(only_new).rename({"row_id": "new_row_id"}),
        on=[*TEXTS, "nth"],
        how="inner",
        nulls_equal=True,
        maintain_order="left",
    )
    gained = only_new.filter(~pl.col("row_id").is_in(renamed["new_row_id"].implode()))
    lost = only_old.filter(~pl.col("row_id").is_in(renamed["row_id"].implode()))
    return Difference(
        same=both.height - changed.height,
        gained=gained,
        lost=_with_reasons(lost, second),
        changed=changed,
        renamed=renamed.select("row_id", "new_row_id", *TEXTS),
    )


def _kept(run: Run) -> pl.DataFrame:
    """Id and texts of the rows that a run kept in the end."""
    return _texts(run.scan(None, "kept")).collect()


def _texts(scan: pl.LazyFrame) -> pl.LazyFrame:
    there = scan.collect_schema().names()
    return scan.select(
        "row_id",
        *(
            (pl.col(name) if name in there else pl.lit(None, pl.String).alias(name))
            for name in TEXTS
        ),
    )


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Equal texts numbered, so that each row finds one other at most."""
    return frame.with_columns(nth=pl.int_range(pl.len()).over(TEXTS))


def _with_reasons(lost: pl.DataFrame, run: Run) -> pl.DataFrame:
    """Where each row went in a run, by its id there or, first, by its texts."""
    dropped = list(_dropped(run))
    empty = {name: pl.lit(None, pl.String).alias(name) for name in WENT}
    if lost.is_empty() or not dropped:
        return lost.with_columns(**empty)
    there = pl.concat(dropped)
    by_text = there.unique([*TEXTS], keep="first", maintain_order=True)
    by_id = there.unique("row_id", keep="first", maintain_order=True)
    found = lost.join(
        by_text.drop("row_id"), on=[*TEXTS], how="left", nulls_equal=True, maintain_order="left"
    ).join(by_id.drop(TEXTS), on="row_id", how="left", suffix="_by_id", maintain_order="left")
    return found.select(
        *lost.columns,
        *(
            pl.when(pl.col("stage").is_not_null())
            .then(pl.col(name))
            .otherwise(pl.col(f"{name}_by_id"))
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
            name: (frame if limit is None else frame.head(limit)).to_dicts()
            for name, frame in frames.items()
        },
    }
