"""What a row is about, what it asks for and in which language: by lists of words, or a model.

The lists are data (`filters/words/domain`, `filters/words/task`), English and Chinese in each. They
tell what a row says of itself, not what it means: see `scripts/README.md` for how often they are
right. A row that no list meets is `general`, or `other`.
"""

from __future__ import annotations

import re
from typing import Literal

import polars as pl

from filters.language import LETTER, LETTERS, by_signs, told, words_of
from filters.word_lists import one_of

DOMAINS = (
    "code",
    "math",
    "medicine",
    "law",
    "science",
    "business",
    "writing",
    "language",
    "society",
    "daily_life",
)
"""In the order that decides between as many matches."""
GENERAL = "general"
TASKS = (
    "translation",
    "summary",
    "code",
    "classification",
    "extraction",
    "rewriting",
    "math",
    "brainstorming",
    "writing",
)
"""In the order in which they are looked for: the first that meets an instruction names it."""
CLASSIFICATION, CLOSED, OPEN, OTHER = "classification", "closed_question", "open_question", "other"
TASK_TYPES = (*TASKS, CLOSED, OPEN, OTHER)
HEAD = 600  # characters of a text that are looked at
IN_INSTRUCTION = 2  # what a match there counts; one in the input or the output counts once
ENGLISH = re.compile(
    r"\b(?:the|and|what|who|when|where|how|which|why|does|should|with|without|from|about|this|that|"
    r"your|you|write|give|tell|name|suggest|describe|explain|create|generate|find|make|list|identify|"
    r"following|between|is|are|of)\b",
    re.IGNORECASE,
)
LEAST = 6  # letters of a text whose language is told


def domain(instruction: pl.Series, input: pl.Series, output: pl.Series) -> pl.Series:
    """The field of each row (String, one of `DOMAINS` or `general`), in order; a null is empty.

    It is that of the list with the most matches, those in the instruction counted twice; with fewer
    than two in all it is `general`.
    """
    frame = pl.DataFrame(
        {"instruction": instruction, "rest": input.fill_null("") + "\n" + output.fill_null("")}
    ).select(pl.all().cast(pl.String).fill_null("").str.slice(0, HEAD))
    counts = frame.select(
        (
            IN_INSTRUCTION * _matches("instruction", f"domain/{name}").cast(pl.Int64)
            + _matches("rest", f"domain/{name}")
        ).alias(name)
        for name in DOMAINS
    )
    most = pl.max_horizontal(DOMAINS)
    named = pl.coalesce(pl.when(pl.col(name) == most).then(pl.lit(name)) for name in DOMAINS)
    return counts.select(
        domain=pl.when(most >= IN_INSTRUCTION).then(named).otherwise(pl.lit(GENERAL))
    ).to_series()


def task_type(
    instruction: pl.Series, input: pl.Series, is_classification: pl.Series | None = None
) -> pl.Series:
    """What each row asks for (String, one of `TASK_TYPES`), in order; a null is empty.

    It is the first of `TASKS` whose list meets the instruction; else a question, closed where there
    is an input to answer it from; else `other`. A row that is known to be a classification is one.
    """
    known = pl.lit(None, pl.Boolean) if is_classification is None else is_classification
    frame = pl.DataFrame({"instruction": instruction, "input": input}).select(
        pl.all().cast(pl.String).fill_null("").str.slice(0, HEAD), known=known
    )
    is_asked = _matches("instruction", "task/question") > 0
    is_closed = pl.col("input").str.strip_chars() != ""
    known_one = (CLASSIFICATION, pl.col("known").fill_null(False))
    of_lists = [(name, _matches("instruction", f"task/{name}") > 0) for name in TASKS]
    of_questions = [(CLOSED, is_asked & is_closed), (OPEN, is_asked)]
    rules = [known_one, *of_lists, *of_questions]
    first = pl.coalesce(*(pl.when(is_met).then(pl.lit(name)) for name, is_met in rules))
    return frame.select(task_type=first.fill_null(OTHER)).to_series()


def _matches(column: str, words: str) -> pl.Expr:
    # ASCII boundaries: a Latin word beside Han begins one too, and they are ten times as quick
    pattern = one_of(words).pattern.replace(r"\b", r"(?-u:\b)")
    return pl.col(column).str.count_matches("(?i)" + pattern)


def language_of(instruction: pl.Series, *, by: Literal["script", "model"] = "script") -> pl.Series:
    """The language of each text (String, ISO 639-1), in order; null where it cannot be told.

    By `script` Han is zh, kana ja, hangul ko, and what is written in unaccented letters with a
    frequent English word among them en; all else is not told. By `model` (extra `clean`) letters
    are told apart by py3langid (`filters.language`).
    """
    found = [_language(text or "", by) for text in instruction.to_list()]
    return pl.Series("language", found, dtype=pl.String)


def _language(text: str, by: str) -> str | None:
    words = words_of(text)
    signs = by_signs(words, LEAST)
    if signs is None or signs != LETTERS:
        return None if signs is None else signs[0]
    if by == "model":
        found = told(text, LEAST)
        return None if found is None else found[0]
    letters = LETTER.findall(words)
    return "en" if "".join(letters).isascii() and ENGLISH.search(words) else None
