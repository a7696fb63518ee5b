"""Tokens, scores and decisions of rouge_score, from the files of SYNTH_REFERENCE_DIR/conformance.

There is no exception: with the "published" settings everything is equal, floats to the last bit.
Where the default settings differ on purpose, a test says on which rows and that on no other.
"""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from filters.novelty import NoveltyIndex
from filters.novelty.index import Engine
from filters.rouge import f_measure, is_duplicate, tokens

REFERENCE = os.environ.get("SYNTH_REFERENCE_DIR")
pytestmark = pytest.mark.skipif(
    REFERENCE is None, reason="SYNTH_REFERENCE_DIR does not name the folder with conformance/"
)


def rows(name: str) -> list[dict[str, Any]]:
    content = (Path(REFERENCE or "") / "conformance" / name).read_bytes()
    if name.endswith(".gz"):
        content = gzip.decompress(content)
    return [json.loads(line) for line in content.splitlines()]


def test_published_tokens() -> None:
    for row in rows("rouge_tokenize.jsonl"):
        assert tokens(row["text"], kind="published") == row["tokens"], row["id"]


def test_default_tokens_differ_only_by_those_of_other_scripts() -> None:
    cases = rows("rouge_tokenize.jsonl")
    for row in cases:
        assert [t for t in tokens(row["text"]) if t.isascii()] == row["tokens"], row["id"]
    assert any(tokens(row["text"]) != row["tokens"] for row in cases)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_pairs(engine: Engine) -> None:
    for row in rows("rouge_pairs.jsonl.gz"):
        index = NoveltyIndex(tokens="published", rule="published", engine=engine)
        index.add([row["a"]])
        found = index.nearest(row["b"])
        assert found is not None
        expected = row["lcs"], row["n_tokens_b"], row["n_tokens_a"], row["fmeasure"]
        assert (found.lcs, found.n_tokens, found.entry_tokens, found.f) == expected, row["id"]
        lengths = found.lcs, found.n_tokens, found.entry_tokens
        published = is_duplicate(*lengths, rule="published")
        assert published is row["is_duplicate_at_0_7"], row["id"]
        assert index.filter([row["b"]]).accepted[0] != published, row["id"]
        # the default rule differs from the published one on exactly 0.7, and nowhere else
        if is_duplicate(*lengths) is not published:
            assert 20 * found.lcs == 7 * (found.n_tokens + found.entry_tokens), row["id"]


def test_the_table_of_ties() -> None:
    for row in rows("rouge_tie_table.jsonl"):
        lengths = row["lcs"], row["n_tokens_target"], row["n_tokens_prediction"]
        assert f_measure(*lengths) == row["fmeasure"], row["id"]
        assert is_duplicate(*lengths, rule="published") is row["rejected"], row["id"]
        assert is_duplicate(*lengths), row["id"]
