"""Measure how hard each answer is for a language model, given its instruction and alone.

Perplexity, and IFD in both published definitions: the ratio of the mean token losses (Li et al.
2023, "From Quantity to Quality", arXiv:2308.12032) and of the perplexities (Li et al. 2024,
"Superfiltering", arXiv:2402.00530). Every row is kept; `balance` decides. A row without an output,
or whose prompt fills the context, has null measures.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

import polars as pl

from pipeline.stage import Drop, LLMStage, Reply, Request, Row, StageConfig

TEXTS = ("instruction", "input", "output")
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Config(StageConfig):
    """`difficulty` has no settings: who measures is `scorer`."""


def ask(row: Row, config: Config, rng: Random) -> Request:
    """The row's three texts, as they are."""
    return Request("", {name: row[name] or "" for name in TEXTS})


def read(reply: Reply, row: Row, config: Config) -> list[Row | Drop]:
    """The measures of the row."""
    found = reply.measured
    assert found is not None
    columns: Row = {"scored_tokens": found.tokens, "cut_tokens": found.cut}
    if found.loss is None or found.alone is None:
        return [columns | {"perplexity": None, "ifd": None, "ifd_perplexity": None}]
    return [
        columns
        | {
            "perplexity": _exp(found.loss),
            "ifd": found.loss / found.alone if found.alone else None,
            "ifd_perplexity": _exp(found.loss - found.alone),
        }
    ]


def _exp(loss: float) -> float | None:
    """E to the loss; null where no float holds it."""
    return math.exp(loss) if loss < 700 else None


def measure(kept: pl.DataFrame) -> dict[str, Any]:
    """Quantiles of each measure, and how many rows have none or were cut."""
    found: dict[str, Any] = {
        name: {
            f"{quantile:g}": value
            for quantile in QUANTILES
            if (value := kept[name].quantile(quantile)) is not None
        }
        for name in ("perplexity", "ifd", "ifd_perplexity")
    }
    found["rows_not_measured"] = kept["perplexity"].null_count()
    found["rows_cut"] = int((kept["cut_tokens"] > 0).sum())
    return found


STAGE = LLMStage(
    name="difficulty",
    version=1,
    summary="measure perplexity and IFD of each answer (--scorer)",
    config=Config,
    prompts=(),
    ask=ask,
    read=read,
    reads=("row_id", *TEXTS),
    writes=("perplexity", "ifd", "ifd_perplexity", "scored_tokens", "cut_tokens", "requests"),
    role="scorer",
    endpoint="score",
    measure=measure,
)
