"""A judge's reply read as a rating from 0 to 5.

A real reply is

    4.5

    The answer is correct; one step of the proof is left out.

Only a first line that is a plain number is read, as in AlpaGasus' `get_scores.py`, which however
takes whatever Python's `float` does: 10, inf, nan, 4_5 and digits of other scripts. Those are no
rating here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median

from pipeline.stage import Form
from pipeline.stages.numbered_list import clean_reply

HIGHEST = 5.0
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
MOST = 1000
"""Characters of a reason that are kept; the whole reply is in the journal."""

FORM = Form(
    name="rating",
    schema={
        "type": "object",
        "properties": {
            "rating": {"type": "number", "enum": [half / 2 for half in range(11)]},
            "reason": {"type": "string"},
        },
        "required": ["rating", "reason"],
        "additionalProperties": False,
    },
    text=lambda found: f"{found['rating']}\n{found['reason']}",
)
"""The same as JSON; the number goes first, so that a reason that is cut off costs nothing."""


@dataclass(frozen=True, slots=True)
class Rating:
    """What one reply said: a number, or null and the `problem` with it; and its reason."""

    number: float | None
    reason: str = ""
    problem: str = ""


def read_rating(text: str) -> Rating:
    """Read a reply; a number is never made up."""
    cleaned = clean_reply(text)
    text = text if cleaned == text else cleaned.lstrip()
    first, _, rest = text.partition("\n")
    said, reason = first.strip(), rest.strip()[:MOST]
    if not said:
        return Rating(None, reason, "no_first_line")
    if NUMBER.fullmatch(said) is None:
        return Rating(None, text.strip()[:MOST], "no_number")
    number = float(said)
    if not 0 <= number <= HIGHEST:
        return Rating(None, f"{said[:40]}\n{reason}".strip(), "out_of_range")
    return Rating(number + 0.0, reason)


def middle(numbers: list[float]) -> float | None:
    """The median of the votes that were given; null where none was."""
    return median(numbers) if numbers else None
