"""Whole streams: the published filter's verdicts, and real rows against a plain filter.

The streams and rows are in SYNTH_REFERENCE_DIR. There is no exception: with the "published"
settings, decision, nearest entry and score are those of the reference on every row.
"""

import gzip
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rapidfuzz.distance import LCSseq

from filters.novelty import NoveltyIndex
from filters.novelty.index import Engine
from filters.rouge import Rule, Tokens, f_measure, is_duplicate, tokens

REFERENCE = os.environ.get("SYNTH_REFERENCE_DIR")
pytestmark = pytest.mark.skipif(
    REFERENCE is None,
    reason="SYNTH_REFERENCE_DIR does not name the folder with conformance/ and data/",
)
ENGINES: list[Engine] = ["numpy", "numba", "auto"]
STREAMS = ["r9k", "mixed", "mixed_noseed"]


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(Path(REFERENCE or "") / "conformance" / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def seeds() -> list[str]:
    pool = {row["pid"]: row["text"] for row in rows("instructions_pool.jsonl.gz")}
    numbers = sorted(int(pid.split(":")[1]) for pid in pool if pid.startswith("seed:"))
    return [pool[f"seed:{number}"] for number in numbers]


@pytest.mark.parametrize("nearest", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stream", STREAMS)
def test_the_published_stream(stream: str, engine: Engine, nearest: bool) -> None:
    expected = rows(f"novelty_stream_{stream}_first3000.jsonl.gz")
    index = NoveltyIndex(tokens="published", rule="published", engine=engine)
    if not stream.endswith("noseed"):
        index.add(seeds())
    sizes, parts = [], []
    for start in range(0, len(expected), 500):
        sizes.append(len(index))
        texts = [row["text"] for row in expected[start : start + 500]]
        parts.append(index.filter(texts, nearest=nearest))
    assert sizes == [row["pool_size_before"] for row in expected[::500]]
    found = [
        (bool(accepted), part.nearest(at))
        for part in parts
        for at, accepted in enumerate(part.accepted)
    ]
    for row, (accepted, met) in zip(expected, found, strict=True):
        assert accepted is row["accepted"], row["pos"]
        if row["most_similar_pool_index"] is None or (accepted and not nearest):
            assert met is None, row["pos"]
            continue
        reference = row["most_similar_pool_index"], row["max_fmeasure"]
        assert met is not None, row["pos"]
        assert (met.entry, met.f) == reference, row["pos"]


def plain_filter(texts: list[str], kind: Tokens, rule: Rule) -> list[tuple[bool, int, int]]:
    """Accepted, nearest entry and LCS of every text, by comparing it with every entry."""
    numbers: dict[str, int] = {}
    pool: list[str] = []
    verdicts = []
    for text in texts:
        row = "".join(chr(numbers.setdefault(t, len(numbers))) for t in tokens(text, kind=kind))
        m, best, met = len(row), -1.0, (-1, 0, 0)
        for entry, other in enumerate(pool):
            lcs, n = LCSseq.similarity(row, other), len(other)
            # a quotient of integers this small is exact enough to order the fractions
            score = f_measure(lcs, m, n) if rule == "published" else lcs / max(1, m + n)
            if score > best:
                best, met = score, (entry, lcs, n)
        entry, lcs, n = met
        duplicate = is_duplicate(lcs, m, n, rule=rule)
        if rule == "strict":
            assert duplicate is (lcs > 0 and Fraction(2 * lcs, m + n) >= Fraction(7, 10))
        if not duplicate:
            pool.append(row)
        verdicts.append((not duplicate, entry, lcs))
    return verdicts


@pytest.mark.parametrize("rule", ["strict", "published"])
@pytest.mark.parametrize("kind", ["unicode", "published"])
def test_3000_real_rows(kind: Tokens, rule: Rule) -> None:
    path = Path(REFERENCE or "") / "data" / "instructions_real.parquet"
    texts = pl.read_parquet(path, columns=["instruction"], n_rows=3000)["instruction"].to_list()
    expected = plain_filter(texts, kind, rule)
    for engine in ENGINES:
        verdicts = NoveltyIndex(tokens=kind, rule=rule, engine=engine).filter(texts)
        columns = verdicts.accepted, verdicts.entry, verdicts.lcs
        found = list(zip(*(column.tolist() for column in columns), strict=True))
        assert found == expected, engine
