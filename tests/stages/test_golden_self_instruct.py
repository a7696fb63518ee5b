"""From a reply to a verdict for each of its items, as Self-Instruct's published code decides."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from filters.instances import instances
from filters.keywords import keywords
from filters.opening import opening
from filters.outputs import outputs
from filters.word_count import word_count
from pipeline.stages.instance_blocks import parse_input_first, parse_output_first
from pipeline.stages.numbered_list import split_items

GOLDEN = Path(__file__).parent.parent / "golden"


def read(name: str) -> list[Any]:
    cases = [json.loads(line) for line in (GOLDEN / name).read_text("utf-8").splitlines()]
    return [pytest.param(case, id=case["about"]) for case in cases]


@pytest.mark.parametrize("case", read("instruction_replies.jsonl"))
def test_items_of_a_reply(case: dict[str, Any]) -> None:
    items = split_items(case["text"], first=9)
    column = pl.Series("instruction", items)
    verdicts = [judge(column)["reason"] for judge in (word_count, keywords, opening)]
    reasons = pl.select(pl.coalesce(verdicts)).to_series().to_list()
    found = [reason if item else "empty" for item, reason in zip(items, reasons, strict=True)]
    assert found == case["reasons"]


@pytest.mark.parametrize("case", read("instance_replies.jsonl"))
def test_instances_of_a_reply(case: dict[str, Any]) -> None:
    parse = parse_input_first if case["kind"] == "input_first" else parse_output_first
    found = parse(case["text"], cut_off=case["finish_reason"] == "length").instances
    frame = pl.DataFrame(
        {
            "root_id": ["task"] * len(found),
            "row_id": [str(at) for at in range(len(found))],
            "instruction": ["Do it."] * len(found),
            "input": [each.input for each in found],
            "output": [each.output for each in found],
        },
        schema=dict.fromkeys(("root_id", "row_id", "instruction", "input", "output"), pl.String),
    )
    whole = frame.with_columns(outputs(frame["input"], frame["output"])["reason"])
    valid = whole.filter(pl.col("reason").is_null()).drop("reason")
    valid = valid.with_columns(instances(*valid.get_columns())["reason"])
    judged = pl.concat([whole.filter(pl.col("reason").is_not_null()), valid])
    rows = judged.sort(pl.col("row_id").cast(pl.Int64)).select("input", "output", "reason")
    assert rows.to_dicts() == case["instances"]
