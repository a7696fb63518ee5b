"""Keep a number of rows that stand for all: by diversity, within strata.

Rows are compared by the vectors of `embed` where they have some, and otherwise by the words that
they share (`filters.diverse`). A row that is not selected says which of the selected rows is most
like it. Of a conversation all turns are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from filters.diverse import Alike, Directions, Method, MinHashes, diverse
from filters.shingles import row_texts
from filters.verdict import verdict
from pipeline.errors import InputError
from pipeline.stage import DECISION, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import TEXTS, with_all_turns

Text = Literal["instruction", "input", "output"]
Stratum = Literal[
    "source",
    "data_set",
    "license",
    "teacher",
    "operation",
    "is_classification",
    "domain",
    "task_type",
    "language",
    "round",
    "rating",
    "pair_rating",
    "agreement",
    "perplexity",
    "ifd",
    "ifd_perplexity",
    "scored_tokens",
]
NUMBERS = get_args(Stratum)[9:]


class Config(StageConfig):
    """Settings of `select`.

    `count` rows are kept; null keeps all. `method` is how: so that the mean distance of a row to
    the selected row nearest to it is small, or the longest one, or at random. Distances are taken
    `by` vectors or signatures; null is by vectors where rows have them. Signatures are of runs of
    `ngram` tokens of the texts in `columns`. `strata` are columns: each combination of their values
    gets a share of the count, equal or proportional to its rows; a number is put into one of `bins`
    of as many rows. `candidates` are the rows looked at for each that is added (null: as many as
    the method's paper says).
    """

    count: Annotated[int | None, Field(ge=1), DECISION] = None
    method: Annotated[Method, DECISION] = "facility_location"
    by: Annotated[Literal["vectors", "signatures"] | None, DECISION] = None
    columns: Annotated[tuple[Text, ...], Field(min_length=1), DECISION] = (
        "instruction",
        "input",
        "output",
    )
    ngram: Annotated[int, Field(ge=1, le=50), DECISION] = 1
    strata: Annotated[tuple[Stratum, ...], DECISION] = ()
    shares: Annotated[Literal["proportional", "equal"], DECISION] = "proportional"
    bins: Annotated[int, Field(ge=1, le=100), DECISION] = 5
    candidates: Annotated[int | None, Field(ge=1), DECISION] = None
    seed: Annotated[int, Field(ge=0), DECISION] = 0

    @field_validator("columns", "strata")
    @classmethod
    def _each_once(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(given)) < len(given):
            raise ValueError("a column stands twice")
        return given


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row. Raises `InputError` where the vectors are not all of one length."""
    return _judge(iter([frame]), config)


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows, of which 128 bytes a row are held, or the vector."""
    return _judge(parts(), config)


def _judge(frames: Iterator[pl.DataFrame], config: Config) -> pl.DataFrame:
    ids, strata = [], []
    vectors: list[pl.Series] = []
    signed: list[np.ndarray] = []
    for frame in frames:
        ids.append(frame["row_id"])
        strata.append(frame.select(config.strata))
        if config.count is None:
            continue
        if config.by == "vectors" or (config.by is None and "embedding" in frame.columns):
            vectors.append(frame["embedding"])
        else:
            texts = row_texts(with_all_turns(frame).select(config.columns))
            signed.append(MinHashes.of(texts, ngram=config.ngram).packed)
    row_id = pl.concat(ids)
    if config.count is None or not len(row_id):
        nothing: list[str | None] = [None] * len(row_id)
        return verdict(nothing, nothing, nothing, [None] * len(row_id))
    alike: Alike = _directions(pl.concat(vectors)) if vectors else MinHashes(np.concatenate(signed))
    return diverse(
        row_id,
        alike,
        count=config.count,
        stratum=_stratum(pl.concat(strata), config.bins),
        shares=config.shares,
        method=config.method,
        candidates=config.candidates,
        seed=config.seed,
    )


def _directions(vectors: pl.Series) -> Directions:
    lengths = vectors.list.len().drop_nulls().unique().sort().to_list()
    if len(lengths) > 1:
        raise InputError(
            f"the column 'embedding' holds vectors of {', '.join(map(str, lengths))} numbers, "
            "which cannot be compared: take them all from one model, or select by signatures "
            "(--set select.by=signatures)."
        )
    return Directions.of(vectors)


def _stratum(strata: pl.DataFrame, bins: int) -> pl.Series | None:
    """What each row's stratum is called, as `source alpaca, rating 3 to 4.5`; null without any."""
    if not strata.width:
        return None
    named = [
        _binned(strata[name], bins) if name in NUMBERS else strata[name].cast(pl.String)
        for name in strata.columns
    ]
    said = [pl.format(f"{one.name} {{}}", pl.col(one.name).fill_null("unknown")) for one in named]
    return pl.DataFrame(named).select(stratum=pl.concat_str(said, separator=", "))["stratum"]


def _binned(numbers: pl.Series, bins: int) -> pl.Series:
    """The bin of each number, by quantiles, so that equal numbers are never parted."""
    values = numbers.cast(pl.Float64).fill_nan(None)
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return values.cast(pl.String)
    inner = np.quantile(known, np.arange(1, bins) / bins, method="higher")
    found = np.searchsorted(inner, values.fill_null(0).to_numpy(), side="right")
    frame = pl.DataFrame({"value": values, "bin": found})
    low, high = pl.col("value").min().over("bin"), pl.col("value").max().over("bin")
    said = pl.format("{} to {}", low.round_sig_figs(4), high.round_sig_figs(4))
    is_known = pl.col("value").is_not_null()
    return frame.select(pl.when(is_known).then(said).alias(numbers.name)).to_series()


def reads(config: Config) -> tuple[str, ...]:
    """The texts, or the vectors where those are asked for, and the strata."""
    compared = ("embedding",) if config.by == "vectors" else TEXTS
    return ("row_id", *(compared if config.count else ()), *config.strata)


def idle(config: Config) -> str | None:
    """What is said where it keeps every row."""
    return None if config.count else "keeps every row: no count is given (--set select.count=N)."


def said(rows: int, config: Config) -> str | None:
    """What is said where no more rows come than are wanted."""
    if config.count is None or rows > config.count:
        return None
    return f"all {rows:,} rows are kept: no more came than the count of {config.count:,}."


STAGE = FilterStage(
    name="select",
    version=1,
    summary="keep a number of rows that stand for all, within strata",
    config=Config,
    judge=judge,
    reads=reads,
    may_read=("messages", "embedding"),
    judge_parts=judge_parts,
    idle=idle,
    said=said,
)
