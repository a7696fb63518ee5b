"""Rewritten instructions that speak of the prompt they were rewritten with.

Source: Xu et al. 2023, "WizardLM" (arXiv:2304.12244), section 3.2, the fourth elimination rule:
"given prompt", "rewritten prompt", "created prompt", in any case, with or without marks round them.
"""

from __future__ import annotations

import re

import polars as pl

from filters.verdict import verdict

LEAK = re.compile(
    r"(?:given|rewritten|created)\s+prompt|(?:给定|改写后|重写后|创建)的?(?:提示|指令)",
    re.IGNORECASE,
)


def prompt_leak(instruction: pl.Series) -> pl.DataFrame:
    """Drop instructions that hold a phrase of the prompt.

    A null holds none. Returns one row an entry, in order: `reason` (String, null where the row is
    kept) and `detail` (String, the phrase; null where the row is kept).
    """
    found = [judge(text or "") for text in instruction.to_list()]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def judge(text: str) -> tuple[str | None, str | None]:
    """Reason and detail for one instruction; two nulls where nothing leaked."""
    met = LEAK.search(text)
    return (None, None) if met is None else ("prompt_leak", met[0])
