"""Defects planted into real rows are found, and what else is flagged for them is mostly right.

`scripts/bench_planted.py` says what is planted where; the verdicts on other flags were read.
"""

import os
from pathlib import Path

import pytest

from scripts import bench_planted

pytest.importorskip("py3langid", reason="the rule for languages takes the extra clean")
pytest.importorskip("stdnum", reason="the rule for personal data takes the extra clean")


DATA = Path(os.environ.get("SYNTH_REFERENCE_DIR", "")) / "data"


@pytest.mark.skipif(
    "SYNTH_REFERENCE_DIR" not in os.environ or not DATA.is_dir(),
    reason="SYNTH_REFERENCE_DIR does not name the folder with data/",
)
def test_planted_defects_are_found_and_other_flags_are_mostly_right() -> None:
    data, prompts = DATA / "instructions_real.parquet", DATA / "benchmark_prompts.parquet"
    rows, pairs = bench_planted.planted(data, prompts, 0)
    found = {line.kind: line for line in bench_planted.lines(rows, pairs, prompts, 0)}
    by_rule = set(bench_planted.PLANTS) - set(bench_planted.SCORED)
    assert set(found) == by_rule
    for kind in by_rule - set(bench_planted.BESIDE):
        assert found[kind].planted.total() >= bench_planted.EACH
        assert found[kind].recall >= 0.95, kind
        assert found[kind].precision >= 0.9, kind
