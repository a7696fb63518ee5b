"""Answers that are none: empty, or the instruction or the input said once more.

`filters.outputs` has the published rule, of Self-Instruct, for the input. What differs in case,
punctuation or whitespace alone is kept: to put these in order is what many tasks ask for.
"""

from __future__ import annotations

import polars as pl

from filters.verdict import verdict


def copied(instruction: pl.Series, input: pl.Series, output: pl.Series) -> pl.DataFrame:
    """Drop empty answers (`empty_output`), and those that are the instruction or the input.

    `copied_input`: the answer is the input. `copied_instruction`: it is the instruction, alone or
    with the input after it. Whitespace around texts, and between the two, is left out of account.
    What a task leaves as it is may be the right answer (a sentence without faults that was to be
    corrected), and is dropped too. A null is empty. Returns one row an entry, in order: `reason`
    (String, null where the row is kept) and `detail` (String: how long the answer is; null where it
    is empty or the row is kept).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    texts = zip(instruction.to_list(), input.to_list(), output.to_list(), strict=True)
    for task, given, answer in texts:
        reason = _judge((task or "").strip(), (given or "").strip(), (answer or "").strip())
        reasons.append(reason)
        is_copy = reason is not None and reason.startswith("copied")
        details.append(f"{len(answer)} characters" if is_copy else None)
    return verdict(reasons, details)


def _judge(task: str, given: str, answer: str) -> str | None:
    if not answer:
        return "empty_output"
    if answer == given:
        return "copied_input"
    if answer.startswith(task) and answer[len(task) :].strip() in ("", given):
        return "copied_instruction"
    return None
