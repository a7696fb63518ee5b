"""What the offline teacher says: a text and why it ends, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass

REFUSAL = (
    "I'm sorry, but I can't help with that: "
    "the offline teacher only answers tasks from its own grammar."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its text, and "stop", "length" or "content_filter"."""

    text: str
    finish_reason: str
