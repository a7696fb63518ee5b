"""A run whose every text, rule and name would do harm where a page read it as more than text."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from tests.report.payloads import PAYLOADS

RULE = '''
import polars as pl

def odd(instruction: pl.Series) -> pl.DataFrame:
    """Drop every third row; its own text is the rule, and what was measured."""
    frame = pl.DataFrame({"said": instruction}).with_row_index("at")
    said = pl.when(pl.col("at") % 3 == 0).then(pl.col("said"))
    return frame.select(reason=said, detail=said)
'''
NAME = "<img src=x onerror=window.hit=1>"


def hostile_run(folder: Path) -> Path:
    """A run of 150 rows, a third of them dropped."""
    rows = folder / f"{NAME}.jsonl"
    lines = [{"instruction": text, "input": text, "output": f"{text} {n}"} for n, text in
             enumerate(PAYLOADS)]  # fmt: skip
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rule = folder / "odd.py"
    rule.write_text(RULE)
    recipe = folder / "hostile.yaml"
    recipe.write_text(
        "name: hostile\nstages:\n  - stage: import\n"
        f"  - {{stage: filter, filters: {{{json.dumps(f'{rule}:odd')}: {{}}}}}}\n"
    )
    out = folder / NAME
    execute(prepare(Options(recipe=str(recipe), out=str(out), input=str(rows))), lambda _: None)
    return out
