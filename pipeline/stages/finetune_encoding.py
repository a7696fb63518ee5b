r"""Prompt and completion as Self-Instruct wrote its rows out to fine-tune a base model.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.3, and what its published
`prepare_for_finetuning.py` does: one of seven layouts for a row with an input, of six for a row
without, drawn at random; a fixed one for comparison. Where a prompt ends in "Output:", its
completion begins with a space. There, half of the inputs are rewritten too (`rewrite_colon`), rows
that come out the same are removed, and all are shuffled; here the rewriting is off unless asked
for, every row stays, and their order too.
"""

from __future__ import annotations

import re

END = "<|endoftext|>"
FIELD_NAME = re.compile(r"(\w+):")

WITH_INPUT = (
    ("{instruction}\nInput: {input}\nOutput:", " "),
    ("{instruction}\n\nInput: {input}\n\nOutput:", " "),
    ("Task: {instruction}\nInput: {input}\nOutput:", " "),
    ("{instruction}\n\n{input}\n\nOutput:", " "),
    ("{instruction}\n\n{input}\n\n", ""),
    ("{instruction}\n{input}\n\n", ""),
    ("Task: {instruction}\n\n{input}\n\n", ""),
)
"""Each layout's prompt, and what its completion begins with."""
WITHOUT_INPUT = (
    ("{instruction} Output:", " "),
    ("{instruction}\nOutput:", " "),
    ("{instruction}\n\nOutput:", " "),
    ("{instruction}\n", ""),
    ("{instruction}\n\n", ""),
    ("Task: {instruction}\n\n", ""),
)
FIXED = ("{instruction}\n\n{input}\n\n", "")
"""The one layout for all rows; without an input its blank lines stay."""


def encode(
    instruction: str, given: str, output: str, *, layout: int | None, end: str = END
) -> tuple[str, str]:
    """Prompt and completion of a row; `given` is its input, `layout` null the fixed one.

    A number beyond the layouts that there are begins them again, so that any draw will do.
    """
    values = {"instruction": instruction.strip(), "input": given.strip()}
    layouts = WITH_INPUT if values["input"] else WITHOUT_INPUT
    prompt, before = FIXED if layout is None else layouts[layout % len(layouts)]
    # not str.format: the texts may hold braces, and what is inserted is not looked at again
    parts = re.split(r"(\{instruction\}|\{input\})", prompt)
    said = "".join(
        values.get(part.strip("{}"), part) if part[:1] == "{" else part for part in parts
    )
    return said, f"{before}{output.strip()}{end}"


def rewrite_colon(given: str) -> str:
    """An input without the name of its one field, and with single line breaks for double ones.

    What stands before the first colon goes where exactly one word is followed by one. That damages
    addresses and ratios:

    >>> rewrite_colon("Sentence: It rains."), rewrite_colon("Mix it 3:4 in all.")
    ('It rains.', '4 in all.')
    """
    names = set(FIELD_NAME.findall(given))
    text = given.split(":", 1)[1] if len(names) == 1 else given
    return text.strip().replace("\n\n", "\n")
