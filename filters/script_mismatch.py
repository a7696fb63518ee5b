"""Answers in letters to what was asked in Han, kana or hangul, or the other way round.

The part of `filters.language` that takes no package: the signs themselves tell.
"""

from __future__ import annotations

import re

import polars as pl

from filters.bounds import Some
from filters.language import LETTERS, QUOTED, SIGNED, by_signs, is_or_asks_for_code, words_of
from filters.verdict import verdict
from filters.word_lists import one_of

SIGNS_IN_PASSING = 2  # in an instruction from which on it may be about them
FEW = 20  # letters to a sign from which on the sign is a name or a quotation
SENTENCE = re.compile(r"(?:\b[a-zß-öø-ÿ'’-]+,? ){4}")  # words, which lists of names are not


def script_mismatch(
    instruction: pl.Series, input: pl.Series, output: pl.Series, *, letters: Some = 20
) -> pl.DataFrame:
    """Drop answers in another script than instruction and input, where none was asked for.

    Kept are answers of fewer than `letters` letters (of Han, kana or hangul a third as many) beside
    code, links and numbers, those to instructions of fewer than half of that, and those to
    instructions that name a language or hold some of the other script; in letters, also what is
    code or was asked for as code. A null is empty. Returns one row an entry, in order: `reason`
    (String, null where the row is kept) and `detail` (String: both scripts; null where the row is
    kept).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    texts = zip(instruction.to_list(), input.to_list(), output.to_list(), strict=True)
    for task, given, answer in texts:
        detail = _judge(task or "", given or "", answer or "", letters)
        reasons.append(None if detail is None else "script_mismatch")
        details.append(detail)
    return verdict(reasons, details)


def _judge(task: str, given: str, answer: str, letters: int) -> str | None:
    if task.isascii() and answer.isascii():
        return None
    asked, said = by_signs(words_of(task), letters // 2), by_signs(words_of(answer), letters)
    if asked is None or said is None or (asked == LETTERS) is (said == LETTERS):
        return None
    if one_of("names_a_language").search(task):
        return None
    both = f"{task}\n{given}"
    if said == LETTERS:
        words = words_of(answer)
        if SENTENCE.search(words) is None or FEW * len(SIGNED.findall(words)) > len(words):
            return None
        shares_script = by_signs(words_of(SIGNED.sub(" ", both)), letters) == LETTERS
        if shares_script or QUOTED.search(both) or is_or_asks_for_code(task, answer):
            return None
        return f"asked in {asked[0]} signs, answered in letters"
    if len(SIGNED.findall(both)) >= SIGNS_IN_PASSING:
        return None
    return f"asked in letters, answered in {said[0]} signs"
