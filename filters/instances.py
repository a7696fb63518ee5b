"""Instances of one task against each other: contradictions and repetitions.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `prepare_for_finetuning.py`
(`filter_duplicate_instances`). The paper speaks of dropping the instances that contradict each
other; the code then drops all of the task. `drop` says which. Run it on rows that `outputs` kept,
as published: a contradiction with an empty output is none.

Where we differ: of identical instances the first is kept; the code takes them from a `set`, in an
order that changes from run to run.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from filters.verdict import verdict

Verdict = tuple[str | None, str | None, str | None]


def instances(
    root_id: pl.Series,
    row_id: pl.Series,
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    drop: Literal["task", "instances"] = "task",
) -> pl.DataFrame:
    """Drop instances that give one non-empty input two outputs, and later identical ones.

    Rows belong to one task if they share `root_id` and `instruction`; a row without a root is
    its own. With `drop` "task" a contradiction costs the task all its instances, with "instances"
    those that take part. Whitespace around the texts is left out of account; a null is empty.
    Returns one row an entry, in order: `reason` (String, null where the row is kept), `detail`
    (String: how many outputs there are; null for a copy) and `ref` (String: the `row_id` of a row
    that contradicts, or of the first copy).
    """
    ids = row_id.to_list()
    roots = [
        own if root is None else root for root, own in zip(root_id.to_list(), ids, strict=True)
    ]
    tasks = list(zip(roots, instruction.to_list(), strict=True))
    inputs = [(text or "").strip() for text in input.to_list()]
    answers = [(text or "").strip() for text in output.to_list()]

    # Rows whose hash no other row has are in order; the rest are compared.
    pairs = pl.Series([hash(pair) for pair in zip(tasks, inputs, strict=True)], dtype=pl.Int64)
    suspects = pairs.is_duplicated().arg_true().to_list()
    first: dict[object, int] = {}  # the row where each instance comes first
    rivals: dict[tuple[object, str], list[int]] = {}  # such rows of one input, an output each
    for row in suspects:
        pair = (tasks[row], inputs[row])
        if first.setdefault((pair, answers[row]), row) == row and inputs[row]:
            rivals.setdefault(pair, []).append(row)
    clashes = {pair: rows for pair, rows in rivals.items() if len(rows) > 1}

    verdicts: list[Verdict] = [(None, None, None)] * len(ids)
    if drop == "task" and clashes:
        spoilt = {task: rows for (task, _), rows in reversed(clashes.items())}
        for row, task in enumerate(tasks):
            if rows := spoilt.get(task):
                detail = f"{len(rows)} outputs for another input of the task"
                verdicts[row] = "conflicting_outputs", detail, ids[rows[0]]
    for row in suspects:
        pair = (tasks[row], inputs[row])
        at = first[pair, answers[row]]
        if rows := clashes.get(pair):
            other = rows[1] if at == rows[0] else rows[0]
            verdicts[row] = "conflicting_outputs", f"{len(rows)} outputs for one input", ids[other]
        elif at != row and verdicts[row][0] is None:
            verdicts[row] = "repeated_instance", None, ids[at]
    reasons, details, refs = ([one[at] for one in verdicts] for at in range(3))
    return verdict(reasons, details, refs)
