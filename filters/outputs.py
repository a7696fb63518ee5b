"""Instances that say nothing: no output, the input again, or a text that breaks off at a colon.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `prepare_for_finetuning.py`
(`filter_invalid_instances`). The verdicts are the published ones; where input and output are both
empty we say `empty_output`, there the pair counts as equal.
"""

from __future__ import annotations

import polars as pl

from filters.verdict import verdict


def outputs(input: pl.Series, output: pl.Series) -> pl.DataFrame:
    """Drop rows with an empty output, an output equal to the input, or an ASCII colon at the end.

    Whitespace around both is left out of account; a null is empty. Returns one row an entry, in
    order: `reason` (String, null where the row is kept) and `detail` (String: which of the two
    texts, or how long they are; null where the row is kept).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    for given, answer in zip(input.to_list(), output.to_list(), strict=True):
        reason, detail = _judge((given or "").strip(), (answer or "").strip())
        reasons.append(reason)
        details.append(detail)
    return verdict(reasons, details)


def _judge(given: str, answer: str) -> tuple[str | None, str | None]:
    if not answer:
        return "empty_output", None
    if answer == given:
        return "output_equals_input", f"{len(answer)} characters"
    if given.endswith(":"):
        return "trailing_colon", f"input: {given[-60:]}"
    if answer.endswith(":"):
        return "trailing_colon", f"output: {answer[-60:]}"
    return None, None
